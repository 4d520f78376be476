//! Writes, and the objects that they write.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::cluster::{Condition, Pod, ZONES};
use crate::{Family, Protocol, Service, Slice, by_controller, by_helm};

/// The first `ClusterIP`.
const CLUSTER_IPS: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 0);

/// An object that is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// The Service of this number.
    Service(u32),
    /// A slice.
    Slice {
        /// The number of its Service.
        service: u32,
        /// The number of the slice.
        number: u32,
        /// The endpoints that the slice lists; `None` if it is deleted.
        endpoints: Option<Vec<(Pod, Condition)>>,
    },
    /// The status of the observing node, written for this many times.
    NodeStatus(u32),
}

impl Write {
    /// The object, given the observing Node.
    pub fn object(&self, node: &Value) -> Value {
        match self {
            Self::Service(number) => service(*number),
            Self::Slice { service, number, endpoints } => {
                slice(*service, *number, endpoints.as_deref().unwrap_or_default())
            }
            Self::NodeStatus(count) => {
                let mut node = node.clone();
                let heartbeat = format!("2026-01-02T03:{:02}:{:02}Z", count / 6 % 60, count % 6 * 10);
                node["status"]["conditions"] = json!([{
                    "type": "Ready", "status": "True", "reason": "KubeletReady",
                    "lastHeartbeatTime": heartbeat, "lastTransitionTime": "2026-01-02T03:00:00Z",
                }]);
                node
            }
        }
    }

    /// Whether the object is deleted.
    pub const fn is_deletion(&self) -> bool {
        matches!(self, Self::Slice { endpoints: None, .. })
    }
}

fn name(service: u32) -> String {
    format!("application-{service}")
}

fn service(number: u32) -> Value {
    let address = Ipv4Addr::from(u32::from(CLUSTER_IPS) + number);
    let service = Service::new(&name(number), [address.into()]).port("http", Protocol::Tcp, 80).object();
    by_helm(service, &name(number), number)
}

fn slice(service: u32, number: u32, endpoints: &[(Pod, Condition)]) -> Value {
    let of = name(service);
    let mut slice = Slice::new(&of, Family::V4).port("http", Protocol::Tcp, 8080).object();
    slice["metadata"]["name"] = format!("{of}-{number:05}").into();
    slice["endpoints"] = endpoints.iter().map(|(pod, condition)| endpoint(&of, *pod, *condition)).collect();
    by_controller(slice, &of, service)
}

fn endpoint(service: &str, pod: Pod, condition: Condition) -> Value {
    let Pod { number, node, address } = pod;
    json!({
        "addresses": [address],
        "conditions": {
            "ready": condition == Condition::Ready,
            "serving": condition != Condition::NotReady,
            "terminating": condition == Condition::Terminating,
        },
        "nodeName": format!("node-{node:04}"),
        "zone": format!("zone-{}", node % ZONES),
        "targetRef": {"kind": "Pod", "name": format!("{service}-{number:07}"), "namespace": "default"},
    })
}
