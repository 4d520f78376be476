//! What the agent may do in the cluster.

use serde_json::{Value, json};

use crate::{bundles, one};

/// The rules of `system:node-proxier`, which every cluster has (`bootstrappolicy` of Kubernetes).
fn node_proxier() -> Value {
    json!([
        {"apiGroups": [""], "resources": ["endpoints", "services"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        {"apiGroups": ["networking.k8s.io"], "resources": ["servicecidrs"], "verbs": ["list", "watch"]},
    ])
}

#[test]
fn the_rights_are_those_of_kube_proxy() {
    for (bundle, objects) in bundles() {
        assert_eq!(one(&objects, "ClusterRole")["rules"], node_proxier(), "{bundle}");
    }
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
