//! Pods on the host network: endpoints with a node's address.

use portolan_integration::{Dual, Family, Node, Protocol, Server, Slice};
use serde_json::{Value, json};

use crate::scene::{Scene, assert_served, service};

fn servers(node: &Node, address: Dual) -> Vec<Server> {
    let serve = |family| node.serve(family, address, Protocol::Tcp, 9000).unwrap();
    Family::BOTH.map(serve).into()
}

/// Writes a Service whose endpoints are processes of these nodes.
fn host(scene: &Scene, nodes: &[&Node]) {
    let service = service("host", scene.lab.cluster_ip(1)).of_type("NodePort");
    let service = service.port("http", Protocol::Tcp, 80).node_port(30_080);
    let slices = Family::BOTH.map(|family| {
        let mut slice = Slice::new("host", family).port("http", Protocol::Tcp, 9000).object();
        let endpoints: Vec<Value> = nodes
            .iter()
            .map(|node| json!({"addresses": [node.outside().of(family)], "nodeName": node.name()}))
            .collect();
        slice["endpoints"] = json!(endpoints);
        slice
    });
    scene.put("host.yaml", &service, slices.into());
}

#[test]
fn they_are_reached_from_everywhere_also_from_their_own_node() {
    let mut scene = Scene::new();
    let (a, b) = (scene.lab.node_a.outside(), scene.lab.node_b.outside());
    let _servers = [servers(&scene.lab.node_a, a), servers(&scene.lab.node_b, b)];
    for only in ["node-a", "node-b"] {
        let node = scene.lab.nodes().into_iter().find(|node| node.name() == only).unwrap();
        host(&scene, &[node]);
        if only == "node-a" {
            scene.run();
        }
        for family in Family::BOTH {
            let cluster_ip = scene.lab.cluster_ip(1).port(family, 80);
            crate::scene::wait_until("the endpoint is the other node's", || {
                scene.shell.client().tcp(cluster_ip).server() == Some(only)
            });
            for client in scene.everywhere() {
                for target in [cluster_ip, scene.lab.node_a.outside().port(family, 30_080)] {
                    let what = format!("{} to {target}, served by {only}", client.name());
                    assert_served(&client.tcp(target), &[only], &what);
                }
            }
        }
    }
}
