//! A frontend without endpoints refuses at once: a reset for TCP, an ICMP error for the rest.

use std::net::SocketAddr;

use portolan_integration::{Client, Family, Protocol, Slice};
use serde_json::json;

use crate::scene::{PROTOCOLS, Scene, assert_refused, every_protocol, service};

/// Calls `ask` for a client at every place and every kind of frontend without endpoints, in both families, with the
/// address and a description.
fn ask_everywhere(mut ask: impl FnMut(&Client, SocketAddr, &str)) {
    let mut scene = Scene::new();
    scene.put_every_frontend("empty", &[]);
    scene.run();
    let lab = &scene.lab;
    for family in Family::BOTH {
        for (kind, target) in [
            ("ClusterIP", lab.cluster_ip(1).port(family, 80)),
            ("node port", lab.node_a.outside().port(family, 30_080)),
            ("VIP", lab.external_ip(1).port(family, 80)),
            ("external IP", lab.external_ip(2).port(family, 80)),
        ] {
            for client in scene.everywhere() {
                ask(&client, target, &format!("{} to an empty {kind} over {family}", client.name()));
            }
        }
    }
}

#[test]
fn every_kind_of_frontend_refuses_from_everywhere() {
    ask_everywhere(|client, target, what| {
        // Only one ICMP error for each target and place: Linux sends a peer six at once, then one per second.
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            assert_refused(&client.probe(protocol, target), &format!("{what} and {protocol}"));
        }
    });
}

#[test]
fn sctp_is_refused_too() {
    ask_everywhere(|client, target, what| assert_refused(&client.sctp(target), &format!("{what} and SCTP")));
}

#[test]
fn twenty_connections_at_once_are_all_refused_at_once() {
    ask_everywhere(|client, target, what| {
        for answer in client.many(Protocol::Tcp, target, 20, 20) {
            assert_refused(&answer, what);
        }
    });
}

#[test]
fn a_service_with_unready_endpoints_only_refuses() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    let slice = |family| {
        let slice = Slice::new("web", family);
        let slice = PROTOCOLS
            .iter()
            .fold(slice, |slice, protocol| slice.port(&protocol.name().to_lowercase(), *protocol, 8080));
        slice.pod_with(&one, &json!({"ready": false, "serving": false, "terminating": false})).object()
    };
    let service = every_protocol(service("web", scene.lab.cluster_ip(1)), None);
    scene.put("web.yaml", &service, Family::BOTH.map(slice).into());
    scene.run();
    for family in Family::BOTH {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let answer = scene.shell.client().probe(protocol, scene.lab.cluster_ip(1).port(family, 80));
            assert_refused(&answer, &format!("{protocol} {family}"));
        }
    }
}
