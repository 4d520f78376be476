//! Tests of reading a Pod.

use serde_json::{Value, json};

use super::*;
use crate::api::Kind;

fn convert(object: Value) -> (Result<PodFacts>, Vec<String>) {
    let pod: Pod = serde_json::from_value(object).unwrap();
    let mut context = Context::default();
    let id = pod.metadata.get().unwrap().identify(Kind::Pod, &mut context).unwrap();
    let converted = pod.to_model(&id, &mut context);
    (converted, context.warnings.iter().map(ToString::to_string).collect())
}

fn facts(spec: &Value, status: &Value) -> PodFacts {
    let (facts, warnings) = convert(json!({"metadata": {"name": "p"}, "spec": spec, "status": status}));
    assert_eq!(warnings, Vec::<String>::new());
    facts.unwrap()
}

#[test]
fn readiness_comes_from_the_condition_or_without_any_from_the_phase() {
    let ready = |status: &str| json!([{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": status}]);
    for (status, expected) in [
        (json!({"conditions": ready("True")}), true),
        (json!({"conditions": ready("False"), "phase": "Running"}), false),
        (json!({"conditions": ready("Unknown"), "phase": "Running"}), false),
        (json!({"conditions": [{"type": "PodScheduled", "status": "True"}], "phase": "Running"}), false),
        (json!({"phase": "Running"}), true),
        (json!({}), true),
        (json!({"phase": "Pending"}), false),
        (json!({"phase": "Unknown"}), false),
    ] {
        assert_eq!(facts(&json!({}), &status).ready, expected, "{status}");
    }
}

#[test]
fn addresses_are_those_of_a_pod_that_has_not_ended() {
    for (spec, status, expected) in [
        (json!({}), json!({"podIP": "10.0.0.01"}), vec!["10.0.0.1"]),
        (
            json!({}),
            json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}),
            vec!["10.0.0.1", "fd00::1"],
        ),
        (json!({}), json!({"phase": "Succeeded", "podIP": "10.0.0.1"}), vec![]),
        (json!({}), json!({"phase": "Failed", "podIP": "10.0.0.1"}), vec![]),
        (json!({}), json!({}), vec![]),
        (json!({}), json!({"hostIP": "192.0.2.1"}), vec![]),
        (json!({"hostNetwork": true}), json!({"hostIP": "192.0.2.1"}), vec!["192.0.2.1"]),
        (
            json!({"hostNetwork": true}),
            json!({"hostIPs": [{"ip": "192.0.2.1"}, {"ip": "fd00::1"}]}),
            vec!["192.0.2.1", "fd00::1"],
        ),
        (
            json!({"hostNetwork": true}),
            json!({"podIP": "192.0.2.2", "hostIP": "192.0.2.1"}),
            vec!["192.0.2.2"],
        ),
    ] {
        let facts = facts(&spec, &status);
        let addresses: Vec<String> = facts.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, expected, "{status}");
    }
}

#[test]
fn addresses_that_cannot_be_endpoints_are_ignored() {
    let (facts, warnings) = convert(json!({
        "metadata": {"name": "p"},
        "status": {"podIPs": [{"ip": "10.0.0.300"}, {}, {"ip": "::1"}, {"ip": "fd00::1"}]},
    }));
    assert_eq!(facts.unwrap().addresses, ["fd00::1".parse::<IpAddr>().unwrap()]);
    assert_eq!(
        warnings,
        [
            "Pod default/p: status.podIPs[0].ip: \"10.0.0.300\" is not an IP address, ignored",
            "Pod default/p: status.podIPs[1].ip: \"\" is not an IP address, ignored",
            "Pod default/p: status.podIPs[2].ip: ::1 is a loopback address, ignored",
        ]
    );
}

#[test]
fn named_ports_are_those_of_containers_that_keep_running() {
    let facts = facts(
        &json!({
            "nodeName": "node-1",
            "containers": [
                {"ports": [{"name": "http", "containerPort": 80}, {"containerPort": 81}]},
                {},
                {"ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
            ],
            "initContainers": [
                {"ports": [{"name": "setup", "containerPort": 1}]},
                {"restartPolicy": "Always", "ports": [{"name": "sidecar", "containerPort": 9090}]},
            ],
        }),
        &json!({}),
    );
    let ports: Vec<_> = facts.ports.iter().map(|p| (&*p.name, p.protocol, p.port)).collect();
    assert_eq!(
        ports,
        [("http", Protocol::Tcp, 80), ("dns", Protocol::Udp, 53), ("sidecar", Protocol::Tcp, 9090)]
    );
    assert_eq!(facts.node.as_deref(), Some("node-1"));
}

#[test]
fn deletion_and_labels_are_kept() {
    let (facts, _) = convert(json!({
        "metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "web", "x": ""}},
    }));
    let facts = facts.unwrap();
    assert!(facts.terminating);
    assert_eq!(facts.labels, [("app".into(), "web".into()), ("x".into(), "".into())]);
}

#[test]
fn impossible_ports_are_refused() {
    let (facts, _) = convert(json!({
        "metadata": {"name": "p"},
        "spec": {"containers": [{"ports": [{"name": "a", "containerPort": 65_536}]}]},
    }));
    let error = facts.unwrap_err().to_string();
    assert!(error.starts_with("spec.containers[0].ports[0].containerPort: 65536 is not a port"), "{error}");
}
