//! The agent's rights in the cluster.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{bundles, one};

/// Returns the rules of `system:node-proxier`, which every cluster has and which kubeadm's kube-proxy pods use
/// (`bootstrappolicy` of Kubernetes).
fn node_proxier() -> Value {
    json!([
        {"apiGroups": [""], "resources": ["endpoints", "services"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        {"apiGroups": ["networking.k8s.io"], "resources": ["servicecidrs"], "verbs": ["list", "watch"]},
    ])
}

/// Returns each right that these rules grant: group, resource, verb.
pub fn granted(rules: &Value) -> BTreeSet<[String; 3]> {
    let words = |rule: &Value, key: &str| -> Vec<String> {
        rule[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut granted = BTreeSet::new();
    for rule in rules.as_array().unwrap() {
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                let verbs = words(rule, "verbs").into_iter();
                granted.extend(verbs.map(|verb| [group.clone(), resource.clone(), verb]));
            }
        }
    }
    granted
}

#[test]
fn kube_proxy_has_these_rights_and_more() {
    for (bundle, objects) in bundles() {
        let granted_here = granted(&one(&objects, "ClusterRole")["rules"]);
        let allowed = granted(&node_proxier()).into_iter().chain(of_flags(&objects)).collect();
        assert!(granted_here.is_subset(&allowed), "{bundle}: {granted_here:?}");
    }
}

/// Returns the right that kube-proxy does not have: to patch nodes, if the agent removes a taint.
pub fn of_flags(objects: &[Value]) -> Option<[String; 3]> {
    let agent = &one(objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0];
    let mut flags = agent["command"].as_array().unwrap().iter().filter_map(Value::as_str);
    flags.any(|flag| flag.starts_with("--remove-taint=")).then(|| ["", "nodes", "patch"].map(str::to_owned))
}

#[test]
fn the_right_to_patch_nodes_comes_with_the_component_that_uses_it() {
    let objects = crate::kustomize::build_with("kustomize/base", "kustomize/components/startup-taint");
    let role = one(&objects, "ClusterRole");
    assert_eq!(crate::schema::problems(role), [""; 0]);
    let right = of_flags(&objects).expect("the agent removes the taint");
    assert!(granted(&role["rules"]).contains(&right));
    let agent = &one(&objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0];
    let last = agent["command"].as_array().unwrap().last().unwrap();
    assert_eq!(last, "--remove-taint=portolan.io/not-ready");
}

#[test]
fn the_pods_have_these_rights() {
    for (bundle, objects) in bundles() {
        let account = &one(&objects, "ServiceAccount")["metadata"];
        let binding = one(&objects, "ClusterRoleBinding");
        let role = json!({
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": one(&objects, "ClusterRole")["metadata"]["name"],
        });
        assert_eq!(binding["roleRef"], role, "{bundle}");
        let subject =
            json!({"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]});
        assert_eq!(binding["subjects"], json!([subject]), "{bundle}");
        let workload = one(&objects, "DaemonSet");
        assert_eq!(workload["spec"]["template"]["spec"]["serviceAccountName"], account["name"], "{bundle}");
        assert_eq!(workload["metadata"]["namespace"], account["namespace"], "{bundle}");
        assert_eq!(account["namespace"], "kube-system", "{bundle}");
    }
}
