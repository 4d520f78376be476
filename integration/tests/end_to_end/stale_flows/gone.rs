//! Endpoints that are no longer in any slice: a client that reuses its port is served by another endpoint.

use std::net::SocketAddr;

use portolan_integration::{Agent, Answer, Family, Node, Pod, Protocol, Slice};
use serde_json::{Value, json};

use super::{ARGUMENTS, Flow, SHORT, remember_flows};
use crate::scene::{PROTOCOLS, Scene, every_protocol, service, slices, wait_until};

/// Returns slices of `web` with one pod that drains and one that is ready.
fn draining(leaving: &Pod, ready: &Pod) -> Vec<Value> {
    let drains = json!({"ready": false, "serving": true, "terminating": true});
    let slice = |family| {
        let slice = PROTOCOLS.iter().fold(Slice::new("web", family), |slice, protocol| {
            slice.port(&protocol.name().to_lowercase(), *protocol, 8080)
        });
        slice.pod_with(leaving, &drains).pod(ready).object()
    };
    Family::BOTH.map(slice).into()
}

/// Writes `web`, port 80 and node port 30080 of every protocol, with these slices.
fn put(scene: &Scene, slices: Vec<Value>) {
    let web = service("web", scene.lab.cluster_ip(1)).of_type("NodePort");
    scene.put("web.yaml", &every_protocol(web, Some(30_080)), slices);
}

/// Waits until all flows from new ports go to this pod.
fn new_flows_go_to(scene: &Scene, protocol: Protocol, pod: &str) {
    for family in Family::BOTH {
        let target = scene.lab.cluster_ip(1).port(family, 80);
        let client = scene.shell.client();
        let goes = || client.probe(protocol, target).server() == Some(pod);
        wait_until(&format!("new flows go to {pod}"), || (0..8).all(|_| goes()));
    }
}

/// Returns flows to web's ClusterIP from a pod and from the node, and to its node port from outside.
fn flows(scene: &Scene, protocol: Protocol) -> Vec<Flow> {
    let of_family = |family| {
        let cluster_ip = scene.lab.cluster_ip(1).port(family, 80);
        let node_port = scene.lab.node_a.outside().port(family, 30_080);
        let from = [
            (scene.shell.client(), cluster_ip),
            (scene.lab.node_a.client(), cluster_ip),
            (scene.lab.client(), node_port),
        ];
        from.map(|(client, target)| Flow::new(&client, 4000, target).over(protocol))
    };
    Family::BOTH.into_iter().flat_map(of_family).collect()
}

#[test]
fn an_sctp_client_with_one_port_moves_when_its_pod_is_gone_and_stays_while_it_drains() {
    let mut scene = Scene::new();
    remember_flows(&scene);
    let [one, two, _] = scene.web_pods();
    put(&scene, slices("web", &[&one]));
    scene.run();
    let flows = flows(&scene, Protocol::Sctp);
    let are_served_by = |pod| flows.iter().for_each(|flow| flow.is_served_by(pod));
    are_served_by("web-1");
    put(&scene, draining(&one, &two));
    new_flows_go_to(&scene, Protocol::Sctp, "web-2");
    for flow in &flows {
        assert_eq!(flow.server(), "web-1", "it drains");
    }
    put(&scene, slices("web", &[&two]));
    are_served_by("web-2");
    // The Service is removed with its slices.
    scene.manifests.remove("web.yaml").unwrap();
    for flow in &flows {
        flow.becomes("no longer served", |answer| answer.server().is_none());
    }
    put(&scene, slices("web", &[&one]));
    are_served_by("web-1");
}

/// Makes the node drop packets that open TCP connections to a pod, as if the pod were gone.
fn swallow(node: &Node, pod: &Pod) {
    let addresses = Family::BOTH.map(|family| (family, pod.address().of(family)));
    let rules = addresses.map(|(family, address)| {
        let header = if family == Family::V4 { "ip" } else { "ip6" };
        format!("{header} daddr {address} tcp flags syn / syn,ack drop\n")
    });
    let chain = format!("chain forward {{ type filter hook forward priority 10;\n{} }}\n", rules.concat());
    node.namespace().filter("nft", &["-f", "-"], &format!("table inet gone {{\n{chain}}}\n")).unwrap();
}

#[test]
fn a_tcp_client_that_takes_a_port_again_is_not_sent_to_a_pod_that_went_at_once() {
    let mut scene = Scene::new();
    remember_flows(&scene);
    let [_, two, three] = scene.web_pods();
    put(&scene, slices("web", &[&two]));
    scene.run();
    let cluster_ip = |family| scene.lab.cluster_ip(1).port(family, 80);
    let mut connections = Family::BOTH.map(|family| {
        let connection = scene.shell.client().open(cluster_ip(family)).expect("a TCP connection");
        assert_eq!(connection.answer().server(), Some("web-2"));
        connection
    });
    swallow(&scene.lab.node_b, &two);
    let flows = flows(&scene, Protocol::Tcp);
    for flow in &flows {
        assert_eq!(flow.try_to_ask(), Answer::TimedOut, "{}", flow.target);
    }
    put(&scene, slices("web", &[&three]));
    for flow in &flows {
        flow.is_served_by("web-3");
    }
    for connection in &mut connections {
        connection.exchange("still there?").expect("a connection that was answered");
    }
}

/// Makes UDP packets that reach a node for this address count as already translated.
fn lead_astray(node: &Node, to: SocketAddr) {
    let (family, address, port) = (if to.is_ipv4() { "ip" } else { "ip6" }, to.ip(), to.port());
    let rule = format!("{family} daddr {address} udp dport {port} dnat to {address}");
    let chain = format!("chain prerouting {{ type nat hook prerouting priority -110;\n{rule}\n}}\n");
    let table = format!("table {family} astray {{\n{chain}}}\n");
    node.namespace().filter("nft", &["-f", "-"], &table).unwrap();
}

#[test]
fn a_udp_flow_that_went_by_untranslated_is_served_when_the_class_changes() {
    let mut scene = Scene::new();
    remember_flows(&scene);
    let [one, two, _] = scene.web_pods();
    put(&scene, slices("web", &[&one]));
    scene.run();
    let flows = Family::BOTH.map(|family| {
        let target = scene.lab.cluster_ip(1).port(family, 80);
        lead_astray(&scene.lab.node_a, target);
        let flow = Flow::new(&scene.shell.client(), 4000, target);
        assert_eq!(flow.try_to_ask().server(), None, "{target}");
        let table = ["delete", "table", if target.is_ipv4() { "ip" } else { "ip6" }, "astray"];
        scene.lab.node_a.namespace().filter("nft", &table, "").unwrap();
        flow
    });
    for flow in &flows {
        assert_eq!(flow.try_to_ask().server(), None, "{} is still not translated", flow.target);
    }
    // No endpoint is lost.
    put(&scene, slices("web", &[&one, &two]));
    for flow in &flows {
        flow.becomes("served", |answer| answer.server().is_some());
    }
}

#[test]
fn what_went_while_no_agent_ran_is_found_at_the_next_start() {
    let scene = Scene::new();
    remember_flows(&scene);
    let [one, two, three] = scene.web_pods();
    let start = || {
        let agent = Agent::start(&scene.lab.node_a, scene.manifests.path(), &ARGUMENTS);
        agent.unwrap_or_else(|error| panic!("{error}"))
    };
    put(&scene, slices("web", &[&two]));
    let agent = start();
    let sctp = flows(&scene, Protocol::Sctp);
    for flow in &sctp {
        flow.is_served_by("web-2");
    }
    swallow(&scene.lab.node_b, &two);
    let tcp = flows(&scene, Protocol::Tcp);
    for flow in &tcp {
        assert_eq!(flow.try_to_ask().server(), None);
    }
    // The pod drains when the agent ends, so that nothing in the tables leads to it.
    put(&scene, draining(&two, &one));
    new_flows_go_to(&scene, Protocol::Sctp, "web-1");
    agent.terminate().unwrap();
    for flow in &sctp {
        assert_eq!(flow.server(), "web-2", "it drains");
    }
    put(&scene, slices("web", &[&three]));
    let agent = start();
    let metrics = agent.get(10249, "/metrics").expect("metrics").body;
    let removed = |protocol| {
        let name = format!("portolan_conntrack_deletions_by_protocol_total{{protocol=\"{protocol}\"}} ");
        let number = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<usize>().ok());
        number.unwrap_or_else(|| panic!("{name} in {metrics}"))
    };
    assert_eq!((removed("tcp"), removed("udp")), (tcp.len(), 0));
    assert!(removed("sctp") >= sctp.len(), "these flows, and those that showed that it drains");
    for flow in sctp.iter().chain(&tcp) {
        let answer = flow.client.within(SHORT * 20).probe(flow.protocol, flow.target);
        assert_eq!(answer.server(), Some("web-3"), "{} at once: {answer}", flow.target);
    }
}

#[test]
fn run_once_removes_stale_flows_before_it_ends() {
    let scene = Scene::new();
    remember_flows(&scene);
    let [one, two, _] = scene.web_pods();
    let run_once = || {
        let manifests = scene.manifests.path().to_str().expect("a path");
        let arguments = ["run", "--once", "-f", manifests, "--hostname-override", "node-a"];
        let output = Agent::command(&scene.lab.node_a, &[&arguments[..], &ARGUMENTS].concat()).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    put(&scene, slices("web", &[&one]));
    run_once();
    let flows = [Protocol::Sctp, Protocol::Udp].map(|protocol| flows(&scene, protocol));
    let are_served_by = |pod| {
        for flow in flows.iter().flatten() {
            assert_eq!(flow.server(), pod, "{} over {}", flow.target, flow.protocol);
        }
    };
    are_served_by("web-1");
    put(&scene, slices("web", &[&two]));
    run_once();
    are_served_by("web-2");
}
