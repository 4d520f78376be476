//! Endpoints on the host network, and endpoints that connect to themselves, under every policy: behaviour.md
//! §3, §6 (hairpin), §14 invariant 4, and iTP=Local of §12b with hostNetwork pods.

use portolan_integration::{Answer, Family, Node, Pod, Protocol, Server, Service, Slice};
use serde_json::json;

use crate::{
    frontends::{
        assert_all_serve, assert_masqueraded, assert_silence, assert_source, exposed, external_targets, name,
        pod, put, ready, targets,
    },
    scene::{PROTOCOLS, Scene},
};

fn servers(node: &Node) -> Vec<Server> {
    let serve = |family| {
        [Protocol::Tcp, Protocol::Udp]
            .map(|protocol| node.serve(family, node.outside(), protocol, 9000).unwrap())
    };
    Family::BOTH.into_iter().flat_map(serve).collect()
}

/// Writes Service 1 with processes of these nodes as endpoints.
fn host(scene: &Scene, service: &Service, nodes: &[&Node]) {
    let slices = Family::BOTH.map(|family| {
        let slice = PROTOCOLS.iter().fold(Slice::new(&name(1), family), |slice, protocol| {
            slice.port(&protocol.name().to_lowercase(), *protocol, 9000)
        });
        let mut slice = slice.object();
        let endpoint =
            |node: &&Node| json!({"addresses": [node.outside().of(family)], "nodeName": node.name()});
        slice["endpoints"] = nodes.iter().map(endpoint).collect();
        slice
    });
    scene.put("service-1.yaml", service, slices.into());
}

/// "same node works, other node fails" for pod and host clients (§12b, iTP=Local).
#[test]
fn internal_local_with_host_network_endpoints() {
    let mut scene = Scene::new();
    let _servers = scene.lab.nodes().map(servers);
    let service = exposed(&scene, 1).with("/spec/internalTrafficPolicy", "Local");
    host(&scene, &service, &[&scene.lab.node_a]);
    let pod_b = pod(&scene.lab.node_b, "pod-b");
    scene.run();
    for family in Family::BOTH {
        let [(_, cluster_ip), ..] = targets(&scene, 1, family);
        for client in scene.everywhere() {
            assert_all_serve(&client, cluster_ip, &["node-a"], "ClusterIP");
        }
        for client in [pod_b.client(), scene.lab.node_b.client()] {
            assert_silence(&client, cluster_ip, "ClusterIP");
        }
    }
}

/// eTP=Local: outside clients reach the process on the node that receives the connection, and it sees their address.
#[test]
fn external_local_with_host_network_endpoints() {
    let mut scene = Scene::new();
    let _servers = scene.lab.nodes().map(servers);
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    let service = exposed(&scene, 1).with("/spec/externalTrafficPolicy", "Local");
    host(&scene, &service, &scene.lab.nodes());
    scene.run();
    for family in Family::BOTH {
        for (kind, target) in external_targets(&scene, 1, family) {
            let answers = assert_all_serve(&scene.lab.client(), target, &["node-a"], kind);
            assert_source(&answers, scene.lab.client_address().of(family), kind);
            assert_all_serve(&scene.shell.client(), target, &["node-a", "node-b"], kind);
            // A process of the node also reaches the process on its own node.
            assert_all_serve(&scene.lab.node_a.client(), target, &["node-a", "node-b"], kind);
        }
    }
}

/// An endpoint that connects to its own Service and reaches itself sees a node's address (§6), at every frontend and
/// under both policies. Another endpoint sees the client's own address where pods are not masqueraded.
#[test]
fn an_endpoint_reaches_itself_at_every_frontend_under_every_policy() {
    let mut scene = Scene::new();
    let [one, _, _] = scene.web_pods();
    let four = pod(&scene.lab.node_a, "web-4");
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    let services = [1, 2, 3].map(|n| exposed(&scene, n));
    let [default, external, internal] = services;
    let external = external.with("/spec/externalTrafficPolicy", "Local");
    let internal = internal.with("/spec/internalTrafficPolicy", "Local");
    let pods: [&Pod; 2] = [&one, &four];
    for (n, service) in [(1, &default), (2, &external), (3, &internal)] {
        put(&scene, n, service, &ready(&pods));
    }
    scene.run();
    for family in Family::BOTH {
        for n in 1..=3 {
            for (i, (kind, target)) in targets(&scene, n, family).into_iter().enumerate() {
                let what = format!("{kind} of {}", name(n));
                let answers = assert_all_serve(&one.client(), target, &["web-1", "web-4"], &what);
                let (itself, other): (Vec<Answer>, Vec<Answer>) =
                    answers.into_iter().partition(|answer| answer.server() == Some("web-1"));
                assert_masqueraded(&itself, &scene.lab.node_a, &what);
                // ClusterIPs, and external addresses under policy Local.
                if i == 0 || n == 2 {
                    assert_source(&other, one.address().of(family), &what);
                } else {
                    assert_masqueraded(&other, &scene.lab.node_a, &what);
                }
            }
        }
        // Connections that do not lead to a Service are not touched (§14, 4).
        let own = one.address().port(family, 8080);
        assert_source(&[one.client().tcp(own)], one.address().of(family), "directly to itself");
    }
}
