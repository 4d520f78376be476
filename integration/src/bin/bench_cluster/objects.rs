//! Services and slices as in a cluster, with the fields that clients and controllers add.

use std::net::Ipv4Addr;

use portolan_integration::{by_controller, by_helm, numbered};
use serde_json::{Value, json};

/// How many slices the large Service has, and how many endpoints each slice has.
pub const LARGE_SLICES: u32 = 100;
const IN_SLICE: u32 = 100;

/// A Service as `helm` writes it, and its slice as the controller does.
pub fn service(number: u32, endpoints: impl IntoIterator<Item = u8>) -> [Value; 2] {
    let [service, slice] = numbered(number, endpoints);
    let name = format!("many-{number}");
    [by_helm(service, &name, number), by_controller(slice, &name, number)]
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

/// A slice of the large Service; one of the endpoints differs for each turn.
pub fn large_slice(number: u32, turn: u32) -> Value {
    let [_, mut slice] = numbered(0, []);
    slice["metadata"]["name"] = format!("large-{number}").into();
    slice["metadata"]["labels"]["kubernetes.io/service-name"] = "large".into();
    let endpoint = |n: u32| {
        // No two slices ever share an address.
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
