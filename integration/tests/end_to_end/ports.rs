//! Several ports, several slices, and which endpoints are used.

use std::collections::BTreeSet;

use portolan_integration::{Answer, Family, Node, Pod, Protocol, Slice, pod_object};
use serde_json::json;

use crate::scene::{Scene, assert_refused, assert_served, enough, service};

/// Starts a pod that answers on each of these ports as `name:port`.
fn pod(node: &Node, name: &str, ports: &[u16]) -> Pod {
    let pod = node.pod(name).unwrap();
    ports.iter().fold(pod, |pod, port| {
        let pod = pod.serve_named(Protocol::Tcp, *port).unwrap();
        pod.serve_named(Protocol::Udp, *port).unwrap()
    })
}

#[test]
fn every_port_leads_to_its_own_target() {
    let mut scene = Scene::new();
    let web = pod(&scene.lab.node_b, "web", &[8080, 8443, 5353]);
    let address = scene.lab.cluster_ip(1);
    let service = service("web", address)
        .port("http", Protocol::Tcp, 80)
        .port("https", Protocol::Tcp, 443)
        .port("dns", Protocol::Udp, 53)
        .port("dns-tcp", Protocol::Tcp, 53);
    let mut objects = vec![service.object()];
    for family in Family::BOTH {
        let slice = Slice::new("web", family)
            .port("http", Protocol::Tcp, 8080)
            .port("https", Protocol::Tcp, 8443)
            .port("dns", Protocol::Udp, 5353)
            .port("dns-tcp", Protocol::Tcp, 8080);
        objects.push(slice.pod(&web).object());
    }
    scene.manifests.put("web.yaml", &objects).unwrap();
    scene.run();
    for family in Family::BOTH {
        for client in scene.everywhere() {
            for (protocol, port, server) in [
                (Protocol::Tcp, 80, "web:8080"),
                (Protocol::Tcp, 443, "web:8443"),
                (Protocol::Udp, 53, "web:5353"),
                (Protocol::Tcp, 53, "web:8080"),
            ] {
                let what = format!("{} to {port} over {protocol} and {family}", client.name());
                assert_served(&client.probe(protocol, address.port(family, port)), &[server], &what);
            }
            let what = format!("{} to 80 over UDP and {family}", client.name());
            assert_refused(&client.udp(address.port(family, 80)), &what);
        }
    }
}

#[test]
fn a_named_target_port_may_be_another_number_in_each_pod() {
    let mut scene = Scene::new();
    let old = pod(&scene.lab.node_a, "old", &[8080]);
    let new = pod(&scene.lab.node_b, "new", &[9090]);
    let address = scene.lab.cluster_ip(1);
    let service = service("web", address)
        .with("/spec/selector/app", "web")
        .port("http", Protocol::Tcp, 80)
        .target_port("web-port");
    // No slices: the endpoints are the Pods with the label, and each says what `web-port` is.
    let pods = vec![
        pod_object(&old, ("app", "web"), ("web-port", Protocol::Tcp, 8080)),
        pod_object(&new, ("app", "web"), ("web-port", Protocol::Tcp, 9090)),
        pod_object(&scene.shell, ("app", "shell"), ("web-port", Protocol::Tcp, 9999)),
    ];
    scene.put("web.yaml", &service, pods);
    scene.run();
    for family in Family::BOTH {
        let answers = scene.shell.client().many(Protocol::Tcp, address.port(family, 80), enough(2), 2);
        let servers: BTreeSet<_> = answers.iter().filter_map(Answer::server).collect();
        assert_eq!(servers, BTreeSet::from(["old:8080", "new:9090"]), "{family}");
    }
}

#[test]
fn all_slices_of_a_service_count_each_with_its_own_port_number() {
    let mut scene = Scene::new();
    let pods = [
        pod(&scene.lab.node_a, "a", &[8080]),
        pod(&scene.lab.node_b, "b", &[9090]),
        pod(&scene.lab.node_b, "c", &[9090]),
    ];
    let address = scene.lab.cluster_ip(1);
    let service = service("web", address);
    let mut objects = vec![service.port("http", Protocol::Tcp, 80).object()];
    for family in Family::BOTH {
        for (name, port, pods) in [("first", 8080, &pods[..1]), ("second", 9090, &pods[1..])] {
            let slice = Slice::new("web", family).named(&format!("web-{name}-{family}").to_lowercase());
            let slice = slice.port("http", Protocol::Tcp, port).port("unused", Protocol::Tcp, 1);
            objects.push(pods.iter().fold(slice, portolan_integration::Slice::pod).object());
        }
    }
    scene.manifests.put("web.yaml", &objects).unwrap();
    scene.run();
    for family in Family::BOTH {
        for client in scene.everywhere() {
            let answers = client.many(Protocol::Tcp, address.port(family, 80), enough(3), 2);
            let servers: BTreeSet<_> = answers.iter().filter_map(Answer::server).collect();
            assert_eq!(servers, BTreeSet::from(["a:8080", "b:9090", "c:9090"]), "{} {family}", client.name());
        }
    }
}

#[test]
fn only_ready_endpoints_count_and_unset_means_ready() {
    let mut scene = Scene::new();
    let name = |name| pod(&scene.lab.node_b, name, &[8080]);
    let (ready, unset, unready, leaving) = (name("ready"), name("unset"), name("unready"), name("leaving"));
    let address = scene.lab.cluster_ip(1);
    let service = service("web", address);
    let mut objects = vec![service.port("", Protocol::Tcp, 80).object()];
    for family in Family::BOTH {
        let slice = Slice::new("web", family)
            .port("", Protocol::Tcp, 8080)
            .pod(&ready)
            .pod_with(&unset, &json!({}))
            .pod_with(&unready, &json!({"ready": false}))
            .pod_with(&leaving, &json!({"ready": false, "serving": true, "terminating": true}));
        objects.push(slice.object());
    }
    scene.manifests.put("web.yaml", &objects).unwrap();
    scene.run();
    for family in Family::BOTH {
        let answers = scene.shell.client().many(Protocol::Tcp, address.port(family, 80), enough(2), 2);
        let servers: BTreeSet<_> = answers.iter().filter_map(Answer::server).collect();
        assert_eq!(servers, BTreeSet::from(["ready:8080", "unset:8080"]), "{family}");
    }
}

#[test]
fn two_services_may_share_pods_and_port_numbers() {
    let mut scene = Scene::new();
    let web = pod(&scene.lab.node_b, "web", &[8080, 9090]);
    let (blue, green) = (scene.lab.cluster_ip(1), scene.lab.cluster_ip(2));
    let mut objects = Vec::new();
    for (name, address, target) in [("blue", blue, 8080), ("green", green, 9090)] {
        let service = service(name, address);
        objects.push(service.port("", Protocol::Tcp, 80).object());
        objects.extend(Slice::both(name, ("", Protocol::Tcp, target), &[&web]));
    }
    scene.manifests.put("web.yaml", &objects).unwrap();
    scene.run();
    for family in Family::BOTH {
        let client = scene.shell.client();
        assert_served(&client.tcp(blue.port(family, 80)), &["web:8080"], "blue");
        assert_served(&client.tcp(green.port(family, 80)), &["web:9090"], "green");
    }
}
