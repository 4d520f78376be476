//! Tests of each rule on Services: what is skipped, defaulted, ignored, refused.

use portolan_rules::model::{Protocol, TrafficPolicy};
use serde_json::{Value, json};

use super::*;
use crate::api::{Context, FieldError, Kind, ObjectId, edit::put};

type Change = fn(&mut Value);

type Converted = Result<Option<(portolan_rules::model::Service, Option<Selection>)>, FieldError>;

fn convert_in(context: &mut Context, object: Value) -> Converted {
    let service: Service = serde_json::from_value(object).unwrap();
    let id = match service.metadata.get() {
        Some(metadata) => metadata.identify(Kind::Service, context)?,
        None => panic!("no metadata"),
    };
    service.to_model(&id, context)
}

/// Converts a Service whose spec is a plain spec changed by `change`; returns warnings as text.
fn convert(change: impl FnOnce(&mut Value)) -> (Converted, Vec<String>) {
    let mut object = json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
    });
    change(&mut object);
    let mut context = Context::default();
    let converted = convert_in(&mut context, object);
    let warnings = context.warnings.iter().map(ToString::to_string).collect();
    (converted, warnings)
}

fn served(change: impl FnOnce(&mut Value)) -> portolan_rules::model::Service {
    let (converted, warnings) = convert(change);
    assert_eq!(warnings, Vec::<String>::new());
    converted.unwrap().unwrap().0
}

fn addresses(ips: &[std::net::IpAddr]) -> Vec<String> {
    ips.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_those_of_the_api_server() {
    let service = served(|_| {});
    assert_eq!(service.name.to_string(), "shop/web");
    assert_eq!(service.created, None);
    assert_eq!(addresses(&service.cluster_ips), ["10.96.0.1"]);
    assert_eq!(service.internal_policy, TrafficPolicy::Cluster);
    assert_eq!(service.external_policy, TrafficPolicy::Cluster);
    assert_eq!(service.affinity_timeout, None);
    let port = &service.ports[0];
    assert_eq!((&*port.name, port.protocol, port.port, port.node_port), ("", Protocol::Tcp, 80, None));

    let service = served(|o| o["spec"]["sessionAffinity"] = json!("ClientIP"));
    assert_eq!(service.affinity_timeout, Some(10_800));
    let service = served(|o| o["metadata"] = json!({"name": "web"}));
    assert_eq!(service.name.to_string(), "default/web");
}

#[test]
fn null_is_absent() {
    let service = served(|o| {
        o["metadata"]["creationTimestamp"] = Value::Null;
        o["metadata"]["labels"] = Value::Null;
        o["status"] = Value::Null;
        for field in ["type", "clusterIPs", "ipFamilies", "externalIPs", "selector", "sessionAffinityConfig"]
        {
            o["spec"][field] = Value::Null;
        }
        o["spec"]["ports"][0] = json!({"port": 80, "name": null, "protocol": null, "nodePort": null});
    });
    assert_eq!(service.created, None);
}

#[test]
fn services_of_others_are_skipped_silently() {
    let cases: [(&str, Change); 7] = [
        ("headless", |o| o["spec"]["clusterIP"] = json!("None")),
        ("headless with list", |o| o["spec"] = json!({"clusterIPs": ["None"]})),
        ("ExternalName", |o| o["spec"] = json!({"type": "ExternalName", "externalName": "x.example"})),
        ("ExternalName with a stale clusterIP", |o| o["spec"]["type"] = json!("ExternalName")),
        ("labelled for another proxy", |o| {
            o["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": "other"});
        }),
        ("labelled with nothing", |o| {
            o["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": ""});
        }),
        ("headless without ports", |o| o["spec"] = json!({"clusterIP": "None"})),
    ];
    for (name, change) in cases {
        let (converted, warnings) = convert(change);
        assert_eq!(converted, Ok(None), "{name}");
        assert!(warnings.is_empty(), "{name}: {warnings:?}");
    }
}

#[test]
fn a_service_without_cluster_ip_is_skipped_with_a_warning() {
    for ip in [Value::Null, json!("")] {
        let (converted, warnings) = convert(|o| o["spec"]["clusterIP"] = ip);
        assert_eq!(converted, Ok(None));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("Service shop/web: spec.clusterIP: is not set;"), "{}", warnings[0]);
    }
}

#[test]
fn only_services_of_the_own_proxy_name_are_served() {
    let is_served = |own: Option<&str>, label: Option<&str>| {
        let mut object = json!({
            "metadata": {"name": "web", "labels": {}},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
        });
        if let Some(label) = label {
            object["metadata"]["labels"]["service.kubernetes.io/service-proxy-name"] = json!(label);
        }
        let mut context = Context::default();
        context.own_proxy_name = own.map(Into::into);
        convert_in(&mut context, object).unwrap().is_some()
    };
    let labels = [None, Some("portolan"), Some("other"), Some("")];
    assert_eq!(labels.map(|label| is_served(None, label)), [true, false, false, false]);
    assert_eq!(labels.map(|label| is_served(Some("portolan"), label)), [false, true, false, false]);
}

#[test]
fn cluster_ips_of_both_families() {
    let cases = [
        (json!({"clusterIP": "10.96.0.041"}), vec!["10.96.0.41"]),
        (json!({"clusterIP": "fd00::0001"}), vec!["fd00::1"]),
        (
            json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"]}),
            vec!["10.96.0.1", "fd00::1"],
        ),
        (json!({"clusterIPs": ["fd00::1", "10.96.0.1"]}), vec!["fd00::1", "10.96.0.1"]),
        (
            json!({"clusterIPs": ["fd00::1", "10.96.0.1"], "ipFamilies": ["IPv6", "IPv4"]}),
            vec!["fd00::1", "10.96.0.1"],
        ),
        (json!({"clusterIP": "10.96.0.1", "ipFamilies": ["IPv4", "IPv6"]}), vec!["10.96.0.1"]),
    ];
    for (spec, expected) in cases {
        let service = served(|o| {
            o["spec"] = spec.clone();
            o["spec"]["ports"] = json!([{"port": 80}]);
        });
        assert_eq!(addresses(&service.cluster_ips), expected, "{spec}");
    }
}

#[test]
fn impossible_objects_are_refused_by_field() {
    let long = "a".repeat(64);
    let cases: Vec<(&str, Value, &str)> = vec![
        ("/metadata/name", json!("Web"), "metadata.name: \"Web\" is not a name"),
        ("/metadata/name", Value::Null, "metadata.name: is missing"),
        ("/metadata/name", json!(7), "metadata.name: expected text, found the number 7"),
        ("/metadata/name", json!(long), "metadata.name: \"aaaa"),
        ("/metadata/namespace", json!("a b"), "metadata.namespace: \"a b\" is not a name"),
        ("/metadata/labels", json!([]), "metadata.labels: expected a mapping, found a list"),
        ("/metadata/labels", json!({"v": 1.5}), "metadata.labels[v]: expected text, found the number 1.5"),
        ("/spec", Value::Null, "spec: is missing"),
        ("/spec", json!("x"), "spec: expected a mapping, found the text \"x\""),
        ("/spec/type", json!("Cluster"), "spec.type: \"Cluster\" is not one of ClusterIP, NodePort"),
        ("/spec/clusterIP", json!("10.96.0.300"), "spec.clusterIP: \"10.96.0.300\" is not an IP address"),
        ("/spec/clusterIP", json!("127.0.0.1"), "spec.clusterIP: 127.0.0.1 is a loopback address"),
        ("/spec/clusterIP", json!("0.0.0.0"), "spec.clusterIP: 0.0.0.0 is the unspecified address"),
        ("/spec/clusterIP", json!(10), "spec.clusterIP: expected text, found the number 10"),
        (
            "/spec/clusterIPs",
            json!(["10.96.0.2"]),
            "spec.clusterIPs[0]: is 10.96.0.2, but spec.clusterIP is 10.96.0.1",
        ),
        (
            "/spec/clusterIPs",
            json!(["10.96.0.1", "10.96.0.2"]),
            "spec.clusterIPs[1]: 10.96.0.2 is a second IPv4",
        ),
        ("/spec/clusterIPs", json!(["10.96.0.1", "x"]), "spec.clusterIPs[1]: \"x\" is not an IP address"),
        ("/spec/ipFamilies", json!(["IPv6"]), "spec.ipFamilies[0]: is IPv6, but its ClusterIP is 10.96.0.1"),
        ("/spec/ipFamilies", json!(["ipv4"]), "spec.ipFamilies[0]: \"ipv4\" is not one of IPv4, IPv6"),
        (
            "/spec/internalTrafficPolicy",
            json!("local"),
            "spec.internalTrafficPolicy: \"local\" is not one of",
        ),
        ("/spec/externalTrafficPolicy", json!("Node"), "spec.externalTrafficPolicy: \"Node\" is not one of"),
        ("/spec/sessionAffinity", json!("clientIP"), "spec.sessionAffinity: \"clientIP\" is not one of"),
        ("/spec/selector", json!({"app": true}), "spec.selector[app]: expected text, found the boolean true"),
        ("/spec/externalIPs", json!("10.0.0.1"), "spec.externalIPs: expected a list, found the text"),
        ("/spec/ports", json!([]), "spec.ports: is empty"),
        ("/spec/ports", Value::Null, "spec.ports: is empty"),
        ("/spec/ports", json!([80]), "spec.ports[0]: expected a mapping, found the number 80"),
        ("/spec/ports/0", json!({}), "spec.ports[0].port: is missing"),
        ("/spec/ports/0/port", json!(0), "spec.ports[0].port: 0 is not a port number"),
        ("/spec/ports/0/port", json!(70_000), "spec.ports[0].port: 70000 is not a port number"),
        ("/spec/ports/0/port", json!(-1), "spec.ports[0].port: -1 is not a port number"),
        (
            "/spec/ports/0/port",
            json!("80"),
            "spec.ports[0].port: expected a whole number, found the text \"80\"",
        ),
        (
            "/spec/ports/0/port",
            json!(80.5),
            "spec.ports[0].port: expected a whole number, found the number 80.5",
        ),
        (
            "/spec/ports/0/port",
            json!(u64::MAX),
            "spec.ports[0].port: expected a whole number, found the number",
        ),
        (
            "/spec/ports/0/protocol",
            json!("tcp"),
            "spec.ports[0].protocol: \"tcp\" is not one of TCP, UDP, SCTP",
        ),
        ("/spec/ports/0/nodePort", json!(70_000), "spec.ports[0].nodePort: 70000 is not a port number"),
        ("/spec/ports/0/targetPort", json!(70_000), "spec.ports[0].targetPort: 70000 is not a port number"),
        (
            "/spec/ports/0/targetPort",
            json!([]),
            "spec.ports[0].targetPort: expected a number or a name, found a list",
        ),
        ("/spec/ports/0/name", json!("a".repeat(64)), "spec.ports[0].name: \"aaaa"),
        ("/spec/ports", json!([{"port": 1, "name": "a"}, {"port": 2}]), "spec.ports[1].name: is missing"),
        (
            "/spec/ports",
            json!([{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]),
            "spec.ports[1].name: \"a\" is the name of ports[0] too",
        ),
        (
            "/spec/ports",
            json!([{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]),
            "spec.ports[1].port: tcp 1 is the port of ports[0] too",
        ),
        ("/status", json!([]), "status: expected a mapping, found a list"),
        (
            "/status",
            json!({"loadBalancer": {"ingress": ["x"]}}),
            "status.loadBalancer.ingress[0]: expected a mapping",
        ),
    ];
    for (pointer, value, expected) in cases {
        let (converted, _) = convert(|o| {
            o["spec"]["ports"][0]["name"] = Value::Null;
            put(o, pointer, value.clone());
        });
        let error = converted.expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{pointer} = {value}: {error}");
        assert!(!error.contains('\n'));
    }
}

#[test]
fn affinity_timeouts_have_limits() {
    for (seconds, accepted) in [(0, false), (1, true), (86_400, true), (86_401, false), (-1, false)] {
        let (converted, _) = convert(|o| {
            o["spec"]["sessionAffinity"] = json!("ClientIP");
            o["spec"]["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": seconds}});
        });
        assert_eq!(converted.is_ok(), accepted, "{seconds}");
    }
}

#[test]
fn names_of_the_greatest_length_work() {
    let name = "n".repeat(63);
    let service = served(|o| {
        o["metadata"] = json!({"name": name, "namespace": name});
        o["spec"]["ports"][0]["name"] = json!(name);
    });
    assert_eq!(&*service.ports[0].name, name);
}

#[test]
fn external_addresses_that_cannot_be_read_are_ignored_one_by_one() {
    let (converted, warnings) = convert(|o| {
        o["spec"]["externalIPs"] =
            json!(["203.0.113.010", "x", "", "  ", null, "2001:db8::1", "127.0.0.1", 4, "203.0.113.10"]);
    });
    let service = converted.unwrap().unwrap().0;
    assert_eq!(addresses(&service.external_ips), ["203.0.113.10", "2001:db8::1"]);
    assert_eq!(
        warnings,
        [
            "Service shop/web: spec.externalIPs[1]: \"x\" is not an IP address, ignored",
            "Service shop/web: spec.externalIPs[6]: 127.0.0.1 is a loopback address, ignored",
            "Service shop/web: spec.externalIPs[7]: expected text, found the number 4, ignored",
        ]
    );
}

#[test]
fn load_balancer_ips_that_want_no_node_are_left_alone() {
    let (converted, warnings) = convert(|o| {
        o["status"] = json!({"loadBalancer": {"ingress": [
            {"ip": "192.0.2.1"},
            {"ip": "192.0.2.2", "ipMode": "VIP"},
            {"ip": "192.0.2.3", "ipMode": "Proxy"},
            {"hostname": "lb.example"},
            {"ip": "", "hostname": "lb.example"},
            {"ip": "192.0.2"},
            {"ip": "192.0.2.4", "ipMode": "Else"},
            {"ip": "192.0.2.001"},
        ]}});
    });
    let service = converted.unwrap().unwrap().0;
    assert_eq!(addresses(&service.load_balancer_ips), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(
        warnings,
        [
            "Service shop/web: status.loadBalancer.ingress[5].ip: \"192.0.2\" is not an IP address, ignored",
            "Service shop/web: status.loadBalancer.ingress[6].ipMode: \"Else\" is not one of VIP, Proxy, ignored",
        ]
    );
}

#[test]
fn source_ranges_are_trimmed_and_masked() {
    let (converted, warnings) = convert(|o| {
        o["spec"]["loadBalancerSourceRanges"] =
            json!([" 192.0.2.7/24 ", "2001:db8::1/32", "192.0.2.0", "", "010.1.2.3/08", "192.0.2.0/24"]);
    });
    let ranges = converted.unwrap().unwrap().0.source_ranges;
    let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["192.0.2.0/24", "2001:db8::/32", "10.0.0.0/8"]);
    assert_eq!(
        warnings,
        ["Service shop/web: spec.loadBalancerSourceRanges[2]: \"192.0.2.0\" is not a CIDR, ignored"]
    );
}

#[test]
fn node_ports_and_external_policy_belong_to_some_types() {
    for (r#type, external_ips, node_port, policy) in [
        ("ClusterIP", json!([]), None, TrafficPolicy::Cluster),
        ("ClusterIP", json!(["203.0.113.1"]), None, TrafficPolicy::Local),
        ("NodePort", json!([]), Some(30_080), TrafficPolicy::Local),
        ("LoadBalancer", json!([]), Some(30_080), TrafficPolicy::Local),
    ] {
        let (converted, warnings) = convert(|o| {
            o["spec"]["type"] = json!(r#type);
            o["spec"]["externalIPs"] = external_ips;
            o["spec"]["externalTrafficPolicy"] = json!("Local");
            o["spec"]["healthCheckNodePort"] = json!(32_000);
            o["spec"]["ports"][0]["nodePort"] = json!(30_080);
        });
        let service = converted.unwrap().unwrap().0;
        assert_eq!(service.ports[0].node_port, node_port, "{type}");
        assert_eq!(service.external_policy, policy, "{type}");
        assert_eq!(warnings.len(), usize::from(r#type == "ClusterIP"), "{type}: {warnings:?}");
    }
}

#[test]
fn node_port_numbers_may_be_shared_by_protocols_only() {
    let ports = |protocol: &str| {
        json!([
            {"name": "a", "port": 53, "nodePort": 30_053, "protocol": "TCP"},
            {"name": "b", "port": 54, "nodePort": 30_053, "protocol": protocol},
        ])
    };
    let with = |ports: Value| {
        convert(|o| {
            o["spec"]["type"] = json!("NodePort");
            o["spec"]["ports"] = ports;
        })
    };
    assert!(with(ports("UDP")).0.is_ok());
    let error = with(ports("TCP")).0.unwrap_err();
    assert_eq!(error.to_string(), "spec.ports[1].nodePort: is the nodePort of ports[0] too");
}

#[test]
fn creation_times_are_seconds() {
    for (text, expected) in [
        ("1970-01-01T00:01:00Z", Some(60)),
        ("1970-01-01T01:01:00+01:00", Some(60)),
        ("1970-01-01T00:01:00.5Z", Some(60)),
        ("yesterday", None),
    ] {
        let (converted, warnings) = convert(|o| o["metadata"]["creationTimestamp"] = json!(text));
        assert_eq!(converted.unwrap().unwrap().0.created, expected, "{text}");
        assert_eq!(warnings.is_empty(), expected.is_some(), "{text}: {warnings:?}");
    }
}

#[test]
fn selectors_and_target_ports_are_kept_for_pods() {
    let (converted, _) = convert(|o| {
        o["spec"]["selector"] = json!({"app": "web", "empty": ""});
        o["spec"]["publishNotReadyAddresses"] = json!(true);
        o["spec"]["ports"] = json!([
            {"name": "a", "port": 1},
            {"name": "b", "port": 2, "targetPort": 0},
            {"name": "c", "port": 3, "targetPort": 8080},
            {"name": "d", "port": 4, "targetPort": "http"},
            {"name": "e", "port": 5, "targetPort": ""},
        ]);
    });
    let selection = converted.unwrap().unwrap().1.unwrap();
    assert_eq!(selection.labels, [("app".into(), "web".into()), ("empty".into(), "".into())]);
    assert!(selection.publish_not_ready);
    assert_eq!(
        selection.targets,
        [
            TargetPort::Number(1),
            TargetPort::Number(2),
            TargetPort::Number(8080),
            TargetPort::Name("http".into()),
            TargetPort::Number(5),
        ]
    );
    let (converted, _) = convert(|o| o["spec"]["selector"] = json!({}));
    assert_eq!(converted.unwrap().unwrap().1, None);
}

#[test]
fn unknown_fields_are_skipped() {
    let service = served(|o| {
        o["metadata"]["managedFields"] = json!([{"fieldsV1": {"f:spec": {"f:ports": {}}}}]);
        o["spec"]["trafficDistribution"] = json!("PreferClose");
        o["spec"]["ports"][0]["appProtocol"] = json!("http");
        o["extra"] = json!([1, {"a": null}]);
    });
    assert_eq!(service.ports.len(), 1);
    let id = ObjectId { kind: Kind::Service, name: service.name };
    assert_eq!(id.to_string(), "Service shop/web");
}

#[test]
fn only_load_balancers_under_policy_local_have_a_health_check_port() {
    let port = |kind: &str, policy: &str| {
        let (converted, warnings) = convert(|object| {
            object["spec"]["type"] = json!(kind);
            object["spec"]["externalTrafficPolicy"] = json!(policy);
            object["spec"]["healthCheckNodePort"] = json!(32_000);
        });
        assert_eq!(warnings, Vec::<String>::new());
        converted.unwrap().unwrap().0.health_check_node_port
    };
    assert_eq!(port("LoadBalancer", "Local"), Some(32_000));
    assert_eq!(port("LoadBalancer", "Cluster"), None);
    assert_eq!(port("NodePort", "Local"), None);
}

#[test]
fn a_missing_health_check_port_is_reported_and_an_invalid_one_refused() {
    let with = |port: Value| {
        convert(|object| {
            object["spec"]["type"] = json!("LoadBalancer");
            object["spec"]["externalTrafficPolicy"] = json!("Local");
            object["spec"]["healthCheckNodePort"] = port;
        })
    };
    for missing in [json!(0), Value::Null] {
        let (converted, warnings) = with(missing);
        assert_eq!(converted.unwrap().unwrap().0.health_check_node_port, None);
        let expected = "Service shop/web: spec.healthCheckNodePort: is not set; load balancers cannot ask this node \
                        whether it has endpoints";
        assert_eq!(warnings, [expected]);
    }
    let error = with(json!(70_000)).0.unwrap_err().to_string();
    assert_eq!(error, "spec.healthCheckNodePort: 70000 is not a port number from 1 to 65535");
}
