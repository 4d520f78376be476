//! Tests of each rule on slices.

use portolan_rules::model::Protocol;
use serde_json::{Value, json};

use super::*;
use crate::api::{Kind, edit::put};

type Converted = Result<Option<model::EndpointSlice>, FieldError>;

fn convert(change: impl FnOnce(&mut Value)) -> (Converted, Vec<String>) {
    let mut object = json!({
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"port": 8080}],
        "endpoints": [{"addresses": ["10.0.0.1"]}],
    });
    change(&mut object);
    let slice: EndpointSlice = serde_json::from_value(object).unwrap();
    let mut context = Context::default();
    let id = slice.metadata.get().unwrap().identify(Kind::EndpointSlice, &mut context).unwrap();
    let converted = slice.to_model(&id, &mut context);
    (converted, context.warnings.iter().map(ToString::to_string).collect())
}

fn used(change: impl FnOnce(&mut Value)) -> model::EndpointSlice {
    let (converted, warnings) = convert(change);
    assert_eq!(warnings, Vec::<String>::new());
    converted.unwrap().unwrap()
}

#[test]
fn defaults_are_those_of_the_api_server() {
    let slice = used(|_| {});
    assert_eq!(slice.name.to_string(), "shop/web-1");
    assert_eq!(&*slice.service, "web");
    assert_eq!(slice.ports, [model::EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }]);
    assert_eq!(
        slice.endpoints,
        [model::Endpoint {
            weight: 1,
            address: "10.0.0.1".parse().unwrap(),
            ready: true,
            serving: true,
            terminating: false,
            node: None,
            hints: model::Hints::default(),
        }]
    );
}

#[test]
fn conditions_that_are_unset_have_their_own_defaults() {
    for (conditions, expected) in [
        (json!(null), (true, true, false)),
        (json!({}), (true, true, false)),
        (json!({"ready": null, "serving": null, "terminating": null}), (true, true, false)),
        (json!({"ready": false}), (false, true, false)),
        (json!({"ready": false, "serving": false}), (false, false, false)),
        (json!({"ready": false, "terminating": true}), (false, true, true)),
        (json!({"ready": true, "terminating": true}), (true, true, true)),
    ] {
        let slice = used(|o| o["endpoints"][0]["conditions"] = conditions.clone());
        let endpoint = &slice.endpoints[0];
        assert_eq!((endpoint.ready, endpoint.serving, endpoint.terminating), expected, "{conditions}");
    }
}

#[test]
fn node_and_hints_are_kept() {
    let slice = used(|o| {
        o["endpoints"][0]["nodeName"] = json!("node-1");
        o["endpoints"][0]["zone"] = json!("not read");
        o["endpoints"][0]["hints"] =
            json!({"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": [{"name": "node-1"}]});
    });
    let endpoint = &slice.endpoints[0];
    assert_eq!(endpoint.node.as_deref(), Some("node-1"));
    assert_eq!(endpoint.hints.zones, ["a".into(), "b".into()]);
    assert_eq!(endpoint.hints.nodes, ["node-1".into()]);
}

#[test]
fn slices_of_no_service_or_of_others_are_skipped() {
    let label = |name: &'static str| move |o: &mut Value| o["metadata"]["labels"][name] = json!("");
    for name in ["service.kubernetes.io/headless", "service.kubernetes.io/service-proxy-name"] {
        let (converted, warnings) = convert(label(name));
        assert_eq!(converted, Ok(None), "{name}");
        assert!(warnings.is_empty(), "{name}: {warnings:?}");
    }
    for labels in [json!(null), json!({}), json!({"kubernetes.io/service-name": ""})] {
        let (converted, warnings) = convert(|o| o["metadata"]["labels"] = labels);
        assert_eq!(converted, Ok(None));
        assert_eq!(
            warnings,
            [
                "EndpointSlice shop/web-1: metadata.labels[kubernetes.io/service-name]: is missing, so the slice \
             belongs to no Service; ignored"
            ]
        );
    }
    let (converted, warnings) = convert(|o| o["addressType"] = json!("FQDN"));
    assert_eq!(converted, Ok(None));
    assert_eq!(
        warnings,
        ["EndpointSlice shop/web-1: addressType: FQDN is not supported; the slice is ignored"]
    );
}

#[test]
fn ports_without_number_are_left_out() {
    let slice = used(|o| {
        o["ports"] = json!([
            {"name": "a"},
            {"name": "b", "port": null},
            {"name": "c", "port": 0},
            {"name": "d", "port": 53, "protocol": "UDP"},
            {"name": null, "port": 1, "protocol": "SCTP"},
        ]);
    });
    let ports: Vec<_> = slice.ports.iter().map(|p| (&*p.name, p.protocol, p.port)).collect();
    assert_eq!(ports, [("d", Protocol::Udp, 53), ("", Protocol::Sctp, 1)]);
    assert!(used(|o| o["ports"] = Value::Null).ports.is_empty());
    assert!(used(|o| o["endpoints"] = Value::Null).endpoints.is_empty());
}

#[test]
fn endpoints_that_cannot_be_reached_are_ignored_one_by_one() {
    let (converted, warnings) = convert(|o| {
        o["endpoints"] = json!([
            {"addresses": ["10.0.0.010", "10.0.0.99"]},
            {"addresses": ["fd00::1"]},
            {"addresses": ["pod.example"]},
            {"addresses": []},
            {},
            {"addresses": "10.0.0.2"},
            {"addresses": [10]},
            {"addresses": ["127.0.0.1"]},
            {"addresses": ["10.0.0.11"]},
        ]);
    });
    let addresses: Vec<String> =
        converted.unwrap().unwrap().endpoints.iter().map(|e| e.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.10", "10.0.0.11"]);
    let expected = [
        (1, "fd00::1 is not an IPv4 address"),
        (2, "\"pod.example\" is not an IP address"),
        (3, "is missing"),
        (4, "is missing"),
        (5, "expected a list, found the text \"10.0.0.2\""),
        (6, "expected an IP address, found the number 10"),
        (7, "127.0.0.1 is a loopback address"),
    ];
    let expected = expected.map(|(i, message)| {
        format!("EndpointSlice shop/web-1: endpoints[{i}].addresses[0]: {message}; the endpoint is ignored")
    });
    assert_eq!(warnings, expected);
}

#[test]
fn impossible_objects_are_refused_by_field() {
    for (pointer, value, expected) in [
        ("/addressType", json!(null), "addressType: is missing"),
        ("/addressType", json!("ipv4"), "addressType: \"ipv4\" is not one of IPv4, IPv6, FQDN"),
        ("/ports", json!({}), "ports: expected a list, found a mapping"),
        ("/ports/0", json!({"port": 70_000}), "ports[0].port: 70000 is not a port number"),
        ("/ports/0", json!({"port": 1, "protocol": "ICMP"}), "ports[0].protocol: \"ICMP\" is not one of"),
        ("/ports/0", json!({"port": 1, "name": "a b"}), "ports[0].name: \"a b\" is not a name"),
        ("/endpoints", json!("x"), "endpoints: expected a list, found the text \"x\""),
        ("/endpoints/0", json!("x"), "endpoints[0]: expected a mapping, found the text \"x\""),
        (
            "/endpoints/0/conditions",
            json!({"ready": "True"}),
            "endpoints[0].conditions.ready: expected true or false, found the text \"True\"",
        ),
        ("/endpoints/0/nodeName", json!([]), "endpoints[0].nodeName: expected text, found a list"),
    ] {
        let (converted, _) = convert(|o| put(o, pointer, value.clone()));
        let error = converted.expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{pointer}: {error}");
    }
}
