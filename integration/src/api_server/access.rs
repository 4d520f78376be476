//! Reviews of the client's own permissions (`SelfSubjectAccessReview`).

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// The path where reviews are created.
pub(super) const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Denied pairs of verb and resource.
pub(super) type Denied = BTreeSet<(String, String)>;

/// Answers a review.
pub(super) fn review(denied: &Denied, mut review: Value) -> Value {
    let attributes = &review["spec"]["resourceAttributes"];
    let text = |key: &str| attributes[key].as_str().unwrap_or_default().to_owned();
    let is_denied = denied.contains(&(text("verb"), text("resource")));
    review["status"] = json!({"allowed": !is_denied});
    review
}
