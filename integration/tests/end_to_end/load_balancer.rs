//! LoadBalancer VIPs and external IPs: addresses that no node has, routed to the nodes.

use std::collections::BTreeSet;

use portolan_integration::{Answer, Family, Protocol, Slice};

use crate::scene::{Scene, assert_served, service};

#[test]
fn a_vip_is_served_through_both_nodes_and_is_a_node_port_and_a_cluster_ip() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let (cluster_ip, vip) = (scene.lab.cluster_ip(1), scene.lab.external_ip(1));
    let mut service =
        service("web", cluster_ip).of_type("LoadBalancer").port("http", Protocol::Tcp, 80).node_port(30_080);
    // Without an `ipMode` and with `VIP`, traffic arrives with the VIP as its destination; a hostname has no address.
    service = service.ingress(vip.of(Family::V4), None).ingress(vip.of(Family::V6), Some("VIP"));
    let mut service = service.object();
    let ingress = service.pointer_mut("/status/loadBalancer/ingress").unwrap().as_array_mut().unwrap();
    ingress.push(serde_json::json!({"hostname": "lb.example.com"}));
    let mut objects = vec![service];
    objects.extend(Slice::both("web", ("http", Protocol::Tcp, 8080), &[&one, &two]));
    scene.manifests.put("web.yaml", &objects).unwrap();
    scene.run();
    for family in Family::BOTH {
        let answers = scene.lab.client().many(Protocol::Tcp, vip.port(family, 80), 80, 4);
        let mut by_node = [0; 2];
        for answer in &answers {
            assert_served(answer, &["web-1", "web-2"], &format!("outside to the VIP over {family}"));
            let source = answer.source().unwrap();
            for (count, node) in by_node.iter_mut().zip(scene.lab.nodes()) {
                *count += u32::from(node.owns(source));
            }
        }
        assert_eq!(by_node.iter().sum::<u32>(), 80, "every connection is masqueraded by a node, {family}");
        assert!(
            by_node.iter().all(|count| *count > 5),
            "both nodes serve the VIP over {family}: {by_node:?}"
        );
        let servers: BTreeSet<_> = answers.iter().filter_map(Answer::server).collect();
        assert_eq!(servers, BTreeSet::from(["web-1", "web-2"]), "both pods serve the VIP over {family}");
        for client in scene.everywhere() {
            for (name, target) in [
                ("VIP", vip.port(family, 80)),
                ("ClusterIP", cluster_ip.port(family, 80)),
                ("node port", scene.lab.node_a.outside().port(family, 30_080)),
            ] {
                let what = format!("{} to the {name} over {family}", client.name());
                assert_served(&client.tcp(target), &["web-1", "web-2"], &what);
            }
        }
    }
}

#[test]
fn a_proxying_load_balancer_keeps_its_traffic() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    let (cluster_ip, vip) = (scene.lab.cluster_ip(1), scene.lab.external_ip(2));
    let service = service("web", cluster_ip)
        .of_type("LoadBalancer")
        .port("http", Protocol::Tcp, 80)
        .node_port(30_080)
        .ingress(vip.of(Family::V4), Some("Proxy"))
        .ingress(vip.of(Family::V6), Some("Proxy"));
    let mut objects = vec![service.object()];
    objects.extend(Slice::both("web", ("http", Protocol::Tcp, 8080), &[&one]));
    scene.manifests.put("web.yaml", &objects).unwrap();
    scene.run();
    for family in Family::BOTH {
        let _proxy = scene.lab.proxy_at(vip.of(family), "balancer", Protocol::Tcp, 80).unwrap();
        for client in scene.everywhere() {
            let what = format!("{} over {family}", client.name());
            assert_served(&client.tcp(vip.port(family, 80)), &["balancer"], &what);
            let node_port = scene.lab.node_a.outside().port(family, 30_080);
            assert_served(&client.tcp(node_port), &["web-1"], &what);
        }
    }
}

#[test]
fn external_ips_are_served_for_every_protocol() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let external = scene.lab.external_ip(3);
    let service = service("web", scene.lab.cluster_ip(1))
        .external_ip(external.of(Family::V4))
        .external_ip(external.of(Family::V6));
    let service = protocols
        .iter()
        .fold(service, |service, protocol| service.port(&protocol.name().to_lowercase(), *protocol, 80));
    let mut objects = vec![service.object()];
    for family in Family::BOTH {
        let slice = protocols.iter().fold(Slice::new("web", family), |slice, protocol| {
            slice.port(&protocol.name().to_lowercase(), *protocol, 8080)
        });
        objects.push(slice.pod(&one).pod(&two).object());
    }
    scene.manifests.put("web.yaml", &objects).unwrap();
    scene.run();
    for family in Family::BOTH {
        for protocol in protocols {
            for client in scene.everywhere() {
                let what = format!("{} to the external IP over {protocol} and {family}", client.name());
                let answer = client.probe(protocol, external.port(family, 80));
                assert_served(&answer, &["web-1", "web-2"], &what);
                let source = answer.source().unwrap();
                let masqueraded = scene.lab.nodes().iter().any(|node| node.owns(source));
                assert!(masqueraded, "{what}: masqueraded, but the pod saw {source}");
            }
        }
    }
}

#[test]
fn other_ports_of_a_vip_or_external_ip_are_left_alone() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    let (vip, external) = (scene.lab.external_ip(4), scene.lab.external_ip(5));
    let mut service =
        service("web", scene.lab.cluster_ip(1)).of_type("LoadBalancer").port("http", Protocol::Tcp, 80);
    for family in Family::BOTH {
        service = service.ingress(vip.of(family), None).external_ip(external.of(family));
    }
    let mut objects = vec![service.object()];
    objects.extend(Slice::both("web", ("http", Protocol::Tcp, 8080), &[&one]));
    scene.manifests.put("web.yaml", &objects).unwrap();
    scene.run();
    for family in Family::BOTH {
        for address in [vip, external] {
            let _server = scene.lab.proxy_at(address.of(family), "elsewhere", Protocol::Tcp, 81).unwrap();
            for client in scene.everywhere() {
                let what = format!("{} to port 81 over {family}", client.name());
                assert_served(&client.tcp(address.port(family, 81)), &["elsewhere"], &what);
            }
        }
    }
}
