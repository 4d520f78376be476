//! Finds settings that have no effect, or not the effect that they seem to have.

use super::outcome::{Check, or_ok};
use crate::config::{
    options::CLUSTER_CIDR,
    settings::{DetectLocal, RunSettings},
};

const NAME: &str = "configuration";

pub fn check(settings: &RunSettings) -> Vec<Check> {
    let mut checks: Vec<Check> = settings
        .warnings
        .iter()
        .map(|warning| Check::warning(NAME, warning.to_string(), "the field is ignored"))
        .collect();
    if !settings.without_effect.is_empty() {
        let message = format!("without effect here: {}", settings.without_effect.join(", "));
        checks.push(Check::warning(NAME, message, "docs/configuration.md says what takes their place"));
    }
    if matches!(&settings.node.detect_local, DetectLocal::ClusterCidr(networks) if networks.is_empty()) {
        let missing = settings.origin.short_name(&CLUSTER_CIDR);
        checks.push(Check::warning(
            NAME,
            format!(
                "{missing} is not set: connections to a ClusterIP from outside the Pods are not masqueraded"
            ),
            "set it to the networks of the cluster's Pods, or choose another detectLocalMode",
        ));
    }
    or_ok(checks, NAME, "all of it has an effect")
}
