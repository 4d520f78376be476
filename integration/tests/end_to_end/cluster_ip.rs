//! ClusterIP: from a pod, from the node, from outside, to every endpoint.

use std::{collections::BTreeSet, time::Duration};

use portolan_integration::{Family, Pod, Protocol, Service, Slice};

use crate::scene::{
    PROTOCOLS, Scene, assert_refused, assert_served, enough, every_protocol, service, slices,
};

const WEB: [&str; 3] = ["web-1", "web-2", "web-3"];
/// Writes a Service `web` with port 80 of every protocol.
fn web(scene: &Scene, pods: &[&Pod]) {
    let service = every_protocol(service("web", scene.lab.cluster_ip(1)), None);
    scene.put("web.yaml", &service, slices("web", pods));
}

#[test]
fn reaches_every_endpoint_from_pod_node_and_outside() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    web(&scene, &[&one, &two, &three]);
    scene.run();
    for family in Family::BOTH {
        let target = scene.lab.cluster_ip(1).port(family, 80);
        for protocol in PROTOCOLS {
            for client in scene.everywhere() {
                let what = format!("{} to ClusterIP over {protocol} and {family}", client.name());
                let answers = client.many(protocol, target, enough(3), 2);
                for answer in &answers {
                    assert_served(answer, &WEB, &what);
                }
                let seen: BTreeSet<_> = answers.iter().filter_map(|answer| answer.server()).collect();
                assert_eq!(seen, BTreeSet::from(WEB), "{what}: every endpoint gets its share");
            }
        }
    }
}

#[test]
fn a_pod_reaches_itself_through_its_own_cluster_ip() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    web(&scene, &[&one]);
    scene.run();
    for family in Family::BOTH {
        for protocol in PROTOCOLS {
            let answer = one.client().probe(protocol, scene.lab.cluster_ip(1).port(family, 80));
            let what = format!("hairpin over {protocol} and {family}");
            assert_served(&answer, &["web-1"], &what);
            // With its own address as source, the pod would answer itself without the node.
            let source = answer.source().unwrap();
            assert!(scene.lab.node_a.owns(source), "{what}: masqueraded, but it saw {source}");
        }
    }
}

#[test]
fn a_port_that_no_service_has_refuses() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    web(&scene, &[&one]);
    scene.run();
    for family in Family::BOTH {
        let target = scene.lab.cluster_ip(1).port(family, 81);
        for protocol in PROTOCOLS {
            for client in scene.everywhere() {
                let what = format!("{} to a wrong port over {protocol} and {family}", client.name());
                assert_refused(&client.probe(protocol, target), &what);
            }
        }
    }
}

#[test]
fn one_family_alone_serves_that_family_only() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    let (four, six) = (scene.lab.cluster_ip(4), scene.lab.cluster_ip(6));
    let mut objects = Vec::new();
    for (name, family, address) in [("four", Family::V4, four), ("six", Family::V6, six)] {
        objects.push(Service::new(name, [address.of(family)]).port("", Protocol::Tcp, 80).object());
        objects.push(Slice::new(name, family).port("", Protocol::Tcp, 8080).pod(&one).object());
    }
    scene.manifests.put("web.yaml", &objects).unwrap();
    scene.run();
    let client = scene.shell.client();
    assert_served(&client.tcp(four.port(Family::V4, 80)), &["web-1"], "the IPv4 Service");
    assert_served(&client.tcp(six.port(Family::V6, 80)), &["web-1"], "the IPv6 Service");
    let client = client.within(Duration::from_millis(250));
    assert_eq!(client.tcp(four.port(Family::V6, 80)).server(), None, "no IPv6 for the IPv4 Service");
    assert_eq!(client.tcp(six.port(Family::V4, 80)).server(), None, "no IPv4 for the IPv6 Service");
}
