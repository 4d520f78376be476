//! Tests of reading a Node.

use serde_json::{Value, json};

use super::*;
use crate::api::Kind;

fn convert(object: Value) -> (model::Node, Vec<String>) {
    let node: Node = serde_json::from_value(object).unwrap();
    let mut context = Context::default();
    let id = node.metadata.get().unwrap().identify(Kind::Node, &mut context).unwrap();
    let converted = node.to_model(&id, &mut context).unwrap();
    (converted, context.warnings.iter().map(ToString::to_string).collect())
}

#[test]
fn internal_addresses_come_first_and_invalid_ones_are_ignored() {
    let (node, warnings) = convert(json!({
        "metadata": {"name": "node-1.example", "namespace": "IGNORED", "labels": {"topology.kubernetes.io/zone": "a"}},
        "spec": {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.7/24", "x", "fd00:1::/64"]},
        "status": {"addresses": [
            {"type": "ExternalIP", "address": "203.0.113.1"},
            {"type": "Hostname", "address": "node-1"},
            {"type": "InternalIP", "address": "192.0.2.01"},
            {"type": "InternalIP", "address": "none"},
            {"type": "InternalIP", "address": "2001:db8::1"},
            {"type": "ExternalIP", "address": "192.0.2.1"},
        ]},
    }));
    assert_eq!(&*node.name, "node-1.example");
    let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.1", "2001:db8::1", "203.0.113.1"]);
    assert_eq!(node.zone.as_deref(), Some("a"));
    let cidrs: Vec<String> = node.pod_cidrs.iter().map(ToString::to_string).collect();
    assert_eq!(cidrs, ["10.0.1.0/24", "fd00:1::/64"]);
    assert_eq!(
        warnings,
        [
            "Node node-1.example: status.addresses[3].address: \"none\" is not an IP address, ignored",
            "Node node-1.example: spec.podCIDRs[1]: \"x\" is not a CIDR, ignored",
        ]
    );
}

#[test]
fn everything_but_the_name_may_be_absent() {
    let (node, warnings) = convert(json!({
        "metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": ""}},
        "spec": {"podCIDR": "10.0.1.0/24"},
    }));
    assert_eq!(node.addresses, Vec::<IpAddr>::new());
    assert_eq!(node.zone, None);
    assert_eq!(node.pod_cidrs, ["10.0.1.0/24".parse().unwrap()]);
    assert!(warnings.is_empty());
}

#[test]
fn a_node_that_goes_is_not_eligible() {
    let is_eligible = |object| serde_json::from_value::<Node>(object).unwrap().is_eligible();
    let tainted = |key: &str| json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "other"}, {"key": key, "effect": "NoSchedule"}]}});
    assert!(is_eligible(json!({"metadata": {"name": "n"}})));
    assert!(is_eligible(tainted("node.kubernetes.io/unschedulable")));
    assert!(!is_eligible(tainted("ToBeDeletedByClusterAutoscaler")));
    assert!(!is_eligible(json!({"metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"}})));
}
