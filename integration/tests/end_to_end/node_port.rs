//! NodePort: every node answers at its own address, with or without an endpoint there, and nowhere else.

use portolan_integration::{CLUSTER_CIDR, Family, Protocol};
use serde_json::json;

use crate::scene::{PROTOCOLS, Scene, assert_served, wait_until};

#[test]
fn every_node_answers_also_the_one_without_endpoints() {
    let mut scene = Scene::new();
    let [_, two, three] = scene.web_pods();
    // Both endpoints are on node-b; node-a has none.
    scene.put_node_port(&[&two, &three]);
    scene.run();
    for family in Family::BOTH {
        for protocol in PROTOCOLS {
            for node in scene.lab.nodes() {
                for client in scene.everywhere() {
                    let (place, name) = (client.name(), node.name());
                    let what = format!("{place} to {name}:30080 over {protocol} and {family}");
                    let answer = client.probe(protocol, node.outside().port(family, 30_080));
                    assert_served(&answer, &["web-2", "web-3"], &what);
                    let source = answer.source().unwrap();
                    assert!(node.owns(source), "{what}: masqueraded by {name}, but the pod saw {source}");
                }
            }
        }
    }
}

#[test]
fn it_is_also_a_cluster_ip() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    scene.put_node_port(&[&one, &two]);
    scene.run();
    for family in Family::BOTH {
        for protocol in PROTOCOLS {
            for client in scene.everywhere() {
                let answer = client.probe(protocol, scene.lab.cluster_ip(1).port(family, 80));
                let what = format!("{} to its ClusterIP over {protocol} and {family}", client.name());
                assert_served(&answer, &["web-1", "web-2"], &what);
            }
        }
    }
}

#[test]
fn an_address_that_the_node_object_does_not_list_is_left_alone() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    scene.put_node_port(&[&one]);
    scene.run();
    let node = &scene.lab.node_a;
    for family in Family::BOTH {
        // A process of the node listens on the same port at the inside address: its connections must not be translated.
        let _server = node.serve(family, node.inside(), Protocol::Tcp, 30_080).unwrap();
        let inside = node.inside().port(family, 30_080);
        for client in [scene.shell.client(), node.client(), scene.lab.node_b.client()] {
            let what = format!("{} to the inside address over {family}", client.name());
            assert_served(&client.tcp(inside), &["node-a"], &what);
        }
    }
}

#[test]
fn nodeport_addresses_choose_among_the_nodes_own() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    scene.put_node_port(&[&one]);
    let inside_networks = "172.16.0.0/24,fd00:172:16::/64";
    scene.run_with(&["--cluster-cidr", CLUSTER_CIDR, "--nodeport-addresses", inside_networks]);
    let node = &scene.lab.node_a;
    for family in Family::BOTH {
        let _server = node.serve(family, node.outside(), Protocol::Tcp, 30_080).unwrap();
        for client in [scene.shell.client(), node.client(), scene.lab.node_b.client()] {
            let what = format!("{} over {family}", client.name());
            assert_served(&client.tcp(node.inside().port(family, 30_080)), &["web-1"], &what);
            assert_served(&client.tcp(node.outside().port(family, 30_080)), &["node-a"], &what);
        }
    }
}

/// The same as in kube-proxy.
#[test]
fn without_a_network_of_a_family_all_addresses_of_it_answer() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    scene.put_node_port(&[&one]);
    scene.run_with(&["--cluster-cidr", CLUSTER_CIDR, "--nodeport-addresses", "172.16.0.0/24"]);
    let node = &scene.lab.node_a;
    let client = scene.shell.client();
    for address in [node.inside(), node.outside()] {
        assert_served(&client.tcp(address.port(Family::V6, 30_080)), &["web-1"], "any address over IPv6");
    }
    assert_served(&client.tcp(node.inside().port(Family::V4, 30_080)), &["web-1"], "the listed network");
    assert!(client.tcp(node.outside().port(Family::V4, 30_080)).is_refused(), "nothing listens there");
}

#[test]
fn other_ports_of_the_node_are_left_alone() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    scene.put_node_port(&[&one]);
    scene.run();
    let node = &scene.lab.node_a;
    for family in Family::BOTH {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            // Port 80 as well: a Service's port is not a port of the node.
            for port in [80, 30_081] {
                let _server = node.serve(family, node.outside(), protocol, port).unwrap();
                for client in scene.everywhere() {
                    let what = format!("{} to port {port} over {protocol} and {family}", client.name());
                    let answer = client.probe(protocol, node.outside().port(family, port));
                    assert_served(&answer, &["node-a"], &what);
                }
            }
        }
    }
}

#[test]
fn node_ports_follow_the_node_object() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    scene.put_node_port(&[&one]);
    scene.run();
    let node = &scene.lab.node_a;
    let mut objects = scene.lab.nodes().map(portolan_integration::Node::object);
    let inside = Family::BOTH
        .map(|family| json!({"type": "InternalIP", "address": node.inside().of(family).to_string()}));
    objects[0]["status"]["addresses"] = json!(inside);
    for family in Family::BOTH {
        let answer = node.client().tcp(node.outside().port(family, 30_080));
        assert_served(&answer, &["web-1"], "the address in the Node object");
    }
    scene.manifests.put("nodes.yaml", &objects).unwrap();
    for family in Family::BOTH {
        let target = node.inside().port(family, 30_080);
        wait_until("the new address answers", || node.client().tcp(target).server() == Some("web-1"));
        let _server = node.serve(family, node.outside(), Protocol::Tcp, 30_080).unwrap();
        let answer = scene.lab.client().tcp(node.outside().port(family, 30_080));
        assert_served(&answer, &["node-a"], "the former address");
    }
}
