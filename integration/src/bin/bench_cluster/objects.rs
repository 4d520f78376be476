//! Services and slices as a cluster has them: with what clients and controllers write besides.

use std::net::Ipv4Addr;

use portolan_integration::numbered;
use serde_json::{Value, json};

/// How many slices the large Service has, and endpoints each of them.
pub const LARGE_SLICES: u32 = 100;
const IN_SLICE: u32 = 100;

const TIME: &str = "2026-01-02T03:04:05Z";

/// A Service as `helm` leaves it, and its slice as the controller does.
pub fn service(number: u32, endpoints: impl IntoIterator<Item = u8>) -> [Value; 2] {
    let [mut service, slice] = numbered(number, endpoints);
    let name = format!("many-{number}");
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
    [service, by_controller(slice, &name, number)]
}

/// A Service with 10,000 endpoints.
pub fn large() -> Vec<Value> {
    let [mut service, _] = service(0xf_ffff, []);
    service["metadata"]["name"] = "large".into();
    let ip = json!("10.96.255.254");
    service["spec"]["clusterIPs"] = json!([ip]);
    service["spec"]["clusterIP"] = ip;
    (0..LARGE_SLICES).map(|number| large_slice(number, 0)).chain([service]).collect()
}

/// One of its slices; one of the endpoints is another one each time.
pub fn large_slice(number: u32, turn: u32) -> Value {
    let [_, mut slice] = numbered(0, []);
    slice["metadata"]["name"] = format!("large-{number}").into();
    slice["metadata"]["labels"]["kubernetes.io/service-name"] = "large".into();
    let endpoint = |n: u32| {
        // No two slices have an address in common, at any time.
        let host = if n == 0 { 20_000 + turn * LARGE_SLICES + number } else { number * IN_SLICE + n };
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 180, 0, 0)) + host);
        json!({
            "addresses": [address],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": "node-b",
            "targetRef": {"kind": "Pod", "name": format!("large-{host}"), "namespace": "default"},
        })
    };
    slice["endpoints"] = (0..IN_SLICE).map(endpoint).collect();
    by_controller(slice, "large", number)
}

/// With what the controller of slices writes.
fn by_controller(mut slice: Value, service: &str, number: u32) -> Value {
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
        endpoint["zone"] = "zone-a".into();
    }
    slice
}

fn uid(kind: u32, number: u32) -> String {
    format!("{number:08x}-{kind:04x}-4000-8000-000000000000")
}
