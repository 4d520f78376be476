//! A frontend without endpoints refuses at once: a reset for TCP, an ICMP error for the rest.

use portolan_integration::{Family, Protocol, Slice};
use serde_json::json;

use crate::scene::{PROTOCOLS, Scene, assert_refused, every_protocol, service, slices};

/// A Service of every kind of frontend without endpoints; gives its targets in a family.
fn empty(scene: &Scene) -> impl Fn(Family) -> [(&'static str, std::net::SocketAddr); 4] + use<> {
    let (vip, external) = (scene.lab.external_ip(1), scene.lab.external_ip(2));
    let service = Family::BOTH.iter().fold(
        every_protocol(service("empty", scene.lab.cluster_ip(1)).of_type("LoadBalancer"), Some(30_080)),
        |service, family| service.ingress(vip.of(*family), None).external_ip(external.of(*family)),
    );
    scene.put("empty.yaml", &service, slices("empty", &[]));
    let (cluster_ip, node) = (scene.lab.cluster_ip(1), scene.lab.node_a.outside());
    move |family| {
        [
            ("ClusterIP", cluster_ip.port(family, 80)),
            ("node port", node.port(family, 30_080)),
            ("VIP", vip.port(family, 80)),
            ("external IP", external.port(family, 80)),
        ]
    }
}

#[test]
fn every_kind_of_frontend_refuses_from_everywhere() {
    let mut scene = Scene::new();
    let targets = empty(&scene);
    scene.run();
    for family in Family::BOTH {
        for (kind, target) in targets(family) {
            for client in scene.everywhere() {
                // One ICMP error for each target and place: Linux sends a peer six at once, then one
                // a second.
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    let what = format!("{} to an empty {kind} over {protocol} and {family}", client.name());
                    assert_refused(&client.probe(protocol, target), &what);
                }
            }
        }
    }
}

#[test]
fn sctp_is_refused_too() {
    let mut scene = Scene::new();
    let targets = empty(&scene);
    scene.run();
    for family in Family::BOTH {
        for (kind, target) in targets(family) {
            for client in scene.everywhere() {
                let what = format!("{} to an empty {kind} over SCTP and {family}", client.name());
                assert_refused(&client.sctp(target), &what);
            }
        }
    }
}

#[test]
fn twenty_connections_at_once_are_all_refused_at_once() {
    let mut scene = Scene::new();
    let targets = empty(&scene);
    scene.run();
    for family in Family::BOTH {
        for (kind, target) in targets(family) {
            for client in scene.everywhere() {
                for answer in client.many(Protocol::Tcp, target, 20, 20) {
                    assert_refused(&answer, &format!("{} to an empty {kind} over {family}", client.name()));
                }
            }
        }
    }
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
