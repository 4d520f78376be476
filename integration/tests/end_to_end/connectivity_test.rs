//! `connectivity-test` and its servers, over the rules of agents on both nodes.

use std::process::Output;

use portolan_integration::{
    ConnectivityServer as Server, Family, Lab, Pod, Protocol, Service, Slice, binary, nft,
};
use serde_json::{Value, json};

use crate::scene::{Scene, service};

/// Agents on both nodes, and servers in a pod on each and on node-a itself.
struct Test {
    scene: Scene,
    _pods: Vec<Pod>,
    servers: Vec<Server>,
}

impl Test {
    fn new() -> Self {
        let mut scene = Scene::new();
        let pods = [(&scene.lab.node_a, "server-a"), (&scene.lab.node_b, "server-b")];
        let pods = pods.map(|(node, name)| node.pod(name).unwrap());
        let mut servers: Vec<Server> =
            pods.iter().map(|pod| Server::start(pod.namespace(), pod.name(), 8080).unwrap()).collect();
        servers.push(Server::start(scene.lab.node_a.namespace(), "node-a", 18080).unwrap());
        put(&scene, &pods);
        scene.run();
        Self { scene, _pods: pods.into(), servers }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let manifests = self.scene.manifests.path().to_str().unwrap();
        let all = ["connectivity-test", "-f", manifests, "--node", "node-a"];
        let arguments: Vec<&str> = all.iter().chain(arguments).copied().collect();
        self.scene.shell.namespace().output(&binary().unwrap().to_string_lossy(), &arguments, "").unwrap()
    }

    /// Returns the exit status and the results.
    fn results(&self) -> (Option<i32>, Vec<Value>) {
        let output = self.run(&["default/server", "--source", "default/node", "-o", "json"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let value: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), value["results"].as_array().unwrap().clone())
    }
}

/// Writes a Service of the servers with every kind of frontend, and a Service of the server on node-a.
fn put(scene: &Scene, pods: &[Pod]) {
    let lab: &Lab = &scene.lab;
    let protocols = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    let ports = |service: Service| {
        protocols.into_iter().fold(service.of_type("LoadBalancer"), |service, (name, protocol)| {
            service.port(name, protocol, 80).node_port(30_080)
        })
    };
    let server = Family::BOTH.iter().fold(ports(service("server", lab.cluster_ip(1))), |service, family| {
        service.ingress(lab.external_ip(1).of(*family), None)
    });
    let slice = |family| {
        let slice = Slice::new("server", family);
        let slice =
            protocols.into_iter().fold(slice, |slice, (name, protocol)| slice.port(name, protocol, 8080));
        pods.iter().fold(slice, Slice::pod).object()
    };
    scene.put("server.yaml", &server, Family::BOTH.map(slice).into());
    let node = service("node", lab.cluster_ip(2)).port("tcp", Protocol::Tcp, 80);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "node-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "node"}},
        "ports": [{"name": "tcp", "protocol": "TCP", "port": 18080}],
        "endpoints": [{"addresses": [lab.node_a.outside().v4.to_string()]}],
    });
    scene.put("node.yaml", &node, vec![slice]);
}

#[test]
fn every_frontend_is_reached_from_pods_and_a_node() {
    let test = Test::new();
    let (code, results) = test.results();
    let failed: Vec<_> = results.iter().filter(|result| result["ok"] != true).collect();
    assert!(failed.is_empty() && code == Some(0), "{code:?} {failed:#?}");
    let count = |from: &str, to: &str, protocol: &str| {
        let is_it =
            |result: &&Value| result["from"] == from && result["to"] == to && result["protocol"] == protocol;
        results.iter().filter(is_it).count()
    };
    for from in ["here", "server-a", "server-b", "node-a"] {
        for to in ["ClusterIP", "NodePort", "LoadBalancer"] {
            for protocol in ["tcp", "udp"] {
                assert_eq!(count(from, to, protocol), 2, "{from} to {to}, {protocol}: both families");
            }
        }
        let hairpins = if from.starts_with("server") { 2 } else { 0 };
        assert_eq!(count(from, "hairpin", "udp"), hairpins, "{from}");
    }
    let output = test.run(&["default/server", "--attempts", "1"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.starts_with("FROM "), "{table}");
    assert!(table.ends_with("44 of 44 ok\n"), "twelve frontends from three places, eight hairpins: {table}");
}

#[test]
fn what_is_not_reached_is_named() {
    let test = Test::new();
    let lab = &test.scene.lab;
    let rules = format!(
        "table inet broken {{ chain prerouting {{ type filter hook prerouting priority -300; \
         ip daddr {} drop; }}; }}",
        lab.external_ip(1).v4
    );
    nft(lab.node_a.namespace(), &["-f", "-"], &rules).unwrap();
    let (code, results) = test.results();
    assert_eq!(code, Some(1));
    for result in &results {
        let address = result["address"].as_str().unwrap();
        // Packets from node-a itself do not pass this chain, and packets from node-b do not reach node-a.
        let is_broken = address.starts_with("198.51.100.")
            && ["here", "server-a"].contains(&result["from"].as_str().unwrap());
        assert_eq!(result["ok"], !is_broken, "{result:#}");
        if is_broken {
            assert_eq!(result["problem"], "no answer", "{result:#}");
        }
    }
}

#[test]
fn what_cannot_be_tested_is_an_error() {
    let mut test = Test::new();
    let fails = |arguments: &[&str], message: &str| {
        let output = test.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    };
    fails(&["default/serve"], "there is no Service default/serve in the input; did you mean default/server?");
    fails(&["server"], "\"server\" is not NAMESPACE/NAME of a Service");
    fails(&["default/server", "--attempts", "0"], "--attempts");
    test.servers.clear();
    let output = test.run(&["default/server"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no server of the test: refused"));
}
