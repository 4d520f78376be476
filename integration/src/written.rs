//! Objects as in a cluster, with the fields that clients and controllers add.

use serde_json::{Value, json};

const TIME: &str = "2026-01-02T03:04:05Z";

/// A Service with this name and number, as `helm` writes it.
pub fn by_helm(mut service: Value, name: &str, number: u32) -> Value {
    let metadata = &mut service["metadata"];
    metadata["uid"] = uid(0, number).into();
    metadata["labels"] = json!({
        "app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "many-1.2.3",
    });
    metadata["annotations"] =
        json!({"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": "default"});
    metadata["managedFields"] = json!([{
        "manager": "helm", "operation": "Update", "apiVersion": "v1", "time": TIME, "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:metadata": {
                "f:annotations": {".": {}, "f:meta.helm.sh/release-name": {}, "f:meta.helm.sh/release-namespace": {}},
                "f:labels": {
                    ".": {}, "f:app.kubernetes.io/managed-by": {}, "f:app.kubernetes.io/name": {}, "f:helm.sh/chart": {},
                },
            },
            "f:spec": {
                "f:internalTrafficPolicy": {},
                "f:ports": {
                    ".": {},
                    "k:{\"port\":80,\"protocol\":\"TCP\"}": {
                        ".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {},
                    },
                },
                "f:selector": {}, "f:sessionAffinity": {}, "f:type": {},
            },
        },
    }]);
    let spec = &mut service["spec"];
    spec["selector"] = json!({"app.kubernetes.io/name": name});
    for (field, value) in [
        ("sessionAffinity", json!("None")),
        ("ipFamilies", json!(["IPv4"])),
        ("ipFamilyPolicy", json!("SingleStack")),
        ("internalTrafficPolicy", json!("Cluster")),
    ] {
        spec[field] = value;
    }
    service["status"] = json!({"loadBalancer": {}});
    service
}

/// A slice of the Service with this name and number, as the EndpointSlice controller writes it.
pub fn by_controller(mut slice: Value, service: &str, number: u32) -> Value {
    let metadata = &mut slice["metadata"];
    let owner = uid(0, number);
    metadata["generateName"] = format!("{service}-").into();
    metadata["uid"] = uid(1, number).into();
    metadata["generation"] = 7.into();
    metadata["labels"]["endpointslice.kubernetes.io/managed-by"] = "endpointslice-controller.k8s.io".into();
    metadata["annotations"] = json!({"endpoints.kubernetes.io/last-change-trigger-time": TIME});
    metadata["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "Service", "name": service, "uid": owner, "controller": true,
        "blockOwnerDeletion": true,
    }]);
    let owner_key = format!("k:{{\"uid\":\"{owner}\"}}");
    metadata["managedFields"] = json!([{
        "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "discovery.k8s.io/v1",
        "time": TIME, "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:addressType": {},
            "f:endpoints": {},
            "f:metadata": {
                "f:annotations": {".": {}, "f:endpoints.kubernetes.io/last-change-trigger-time": {}},
                "f:generateName": {},
                "f:labels": {
                    ".": {}, "f:endpointslice.kubernetes.io/managed-by": {}, "f:kubernetes.io/service-name": {},
                },
                "f:ownerReferences": {".": {}, owner_key: {}},
            },
            "f:ports": {},
        },
    }]);
    for (n, endpoint) in (0..).zip(slice["endpoints"].as_array_mut().into_iter().flatten()) {
        endpoint["targetRef"]["uid"] = uid(2 + n, number).into();
        if endpoint["zone"].is_null() {
            endpoint["zone"] = "zone-a".into();
        }
    }
    slice
}

fn uid(kind: u32, number: u32) -> String {
    format!("{number:08x}-{kind:04x}-4000-8000-000000000000")
}
