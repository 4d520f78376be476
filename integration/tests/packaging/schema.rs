//! Strict decoding: a document is read into the API's type and written again, and nothing may be missing.

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    batch::v1::{CronJob, Job},
    core::v1::{ConfigMap, Namespace, Pod, Service, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Returns the fields of this object that the API's type does not know, or why the object is invalid.
pub fn problems(object: &Value) -> Vec<String> {
    let kind = (object["apiVersion"].as_str().unwrap_or(""), object["kind"].as_str().unwrap_or(""));
    let rewritten = match kind {
        ("v1", "ConfigMap") => rewrite::<ConfigMap>(object),
        ("v1", "Namespace") => rewrite::<Namespace>(object),
        ("v1", "Pod") => rewrite::<Pod>(object),
        ("v1", "Service") => rewrite::<Service>(object),
        ("v1", "ServiceAccount") => rewrite::<ServiceAccount>(object),
        ("apps/v1", "DaemonSet") => rewrite::<DaemonSet>(object),
        ("batch/v1", "CronJob") => rewrite::<CronJob>(object),
        ("batch/v1", "Job") => rewrite::<Job>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => rewrite::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => rewrite::<ClusterRoleBinding>(object),
        ("rbac.authorization.k8s.io/v1", "Role") => rewrite::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => rewrite::<RoleBinding>(object),
        // The types of the Prometheus operator are not part of the API; `monitoring` checks them.
        ("monitoring.coreos.com/v1", "PodMonitor" | "PrometheusRule") => Ok(object.clone()),
        (version, kind) => Err(format!("{version} {kind} is not expected here")),
    };
    match rewritten {
        Ok(rewritten) => {
            let mut lost = Vec::new();
            compare(object, &rewritten, "", &mut lost);
            lost
        }
        Err(problem) => vec![problem],
    }
}

fn rewrite<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

/// Adds to `lost` what `before` has and `after` lacks. Null is the same as absent, as in the API.
fn compare(before: &Value, after: &Value, path: &str, lost: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before.iter().filter(|(_, value)| !value.is_null()) {
                compare(value, after.get(key).unwrap_or(&Value::Null), &format!("{path}.{key}"), lost);
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                compare(before, after, &format!("{path}[{index}]"), lost);
            }
        }
        _ if before == after => {}
        _ => lost.push(format!("{path}: {before} is not in the API's type")),
    }
}

#[test]
fn what_the_type_does_not_know_is_found() {
    let pod = |container: Value| {
        problems(&json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]}}))
    };
    assert_eq!(pod(json!({"name": "a", "args": ["b"], "env": null})), [""; 0]);
    assert_eq!(
        pod(json!({"name": "a", "securityContext": {"readonlyRootFilesystem": true}})),
        [".spec.containers[0].securityContext.readonlyRootFilesystem: true is not in the API's type"]
    );
    assert_eq!(pod(json!({"name": "a", "command": "b"})).len(), 1, "of the wrong type");
    assert_eq!(problems(&json!({"apiVersion": "v2", "kind": "Pod"})), ["v2 Pod is not expected here"]);
}
