//! Clients that never change their port: they follow the Service through every change, and flows of other
//! Services are not touched.

mod gone;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use portolan_integration::{Agent, Answer, CLUSTER_CIDR, Client, Dual, Family, Pod, Protocol, Slice};
use serde_json::{Value, json};

use crate::scene::{Scene, assert_served, service, wait_until};

const ARGUMENTS: [&str; 2] = ["--cluster-cidr", CLUSTER_CIDR];

/// How long to wait for an answer that may not come.
const SHORT: Duration = Duration::from_millis(500);

/// A client that always sends from the same port to the same target, over UDP by default.
struct Flow {
    client: Client,
    protocol: Protocol,
    target: SocketAddr,
}

impl Flow {
    fn new(client: &Client, source_port: u16, target: SocketAddr) -> Self {
        let any: IpAddr = match target {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self { client: client.from((any, source_port).into()), protocol: Protocol::Udp, target }
    }

    /// The same over another protocol.
    fn over(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    /// Sends a request, and waits for the answer that must come.
    fn ask(&self) -> Answer {
        self.client.probe(self.protocol, self.target)
    }

    /// Sends a request, which may get no answer.
    fn try_to_ask(&self) -> Answer {
        self.client.within(SHORT).probe(self.protocol, self.target)
    }

    fn server(&self) -> String {
        let answer = self.ask();
        let server = answer.server().map(str::to_owned);
        server.unwrap_or_else(|| panic!("{} to {}: {answer}", self.client.name(), self.target))
    }

    /// Sends requests until the answer is right. The requests keep a stale flow alive.
    #[track_caller]
    fn becomes(&self, what: &str, right: impl Fn(&Answer) -> bool) {
        let mut last = None;
        let recovers = || {
            let answer = self.try_to_ask();
            let done = right(&answer);
            last = Some(answer);
            done
        };
        let what = format!("{} to {} over {}: {what}", self.client.name(), self.target, self.protocol);
        let recovered = portolan_integration::eventually(crate::scene::PATIENCE, recovers);
        assert!(recovered.is_some(), "{what}; the last answer: {last:?}");
    }

    #[track_caller]
    fn is_served_by(&self, server: &str) {
        self.becomes(server, |answer| answer.server() == Some(server));
    }
}

/// Flows to web's ClusterIP from a pod and from the node, and to its node port from outside, in both families.
struct Flows {
    cluster_ip: Vec<Flow>,
    node_port: Vec<Flow>,
}

impl Flows {
    fn new(scene: &Scene) -> Self {
        let cluster_ip = |family| scene.lab.cluster_ip(1).port(family, 80);
        let node_port = |family| scene.lab.node_a.outside().port(family, 30_080);
        Self {
            cluster_ip: Family::BOTH
                .into_iter()
                .flat_map(|family| {
                    [scene.shell.client(), scene.lab.node_a.client()]
                        .map(|client| Flow::new(&client, 4000, cluster_ip(family)))
                })
                .collect(),
            node_port: Family::BOTH
                .map(|family| Flow::new(&scene.lab.client(), 4000, node_port(family)))
                .into(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Flow> {
        self.cluster_ip.iter().chain(&self.node_port)
    }

    #[track_caller]
    fn are_served_by(&self, server: &str) {
        for flow in self.all() {
            flow.is_served_by(server);
        }
    }

    #[track_caller]
    fn are_refused(&self) {
        for flow in self.all() {
            flow.becomes("refused", Answer::is_refused);
        }
    }
}

/// Flows that keep their endpoint, one of three, unless they are removed. There are so many that at least one
/// of them would then get another endpoint.
struct Bystanders(Vec<(Flow, String)>);

impl Bystanders {
    /// Opens 32 flows per family to this address. Once in 10^11 times, none of them leads to a given endpoint.
    fn new(scene: &Scene, target: Dual, port: u16) -> Self {
        remember_flows(scene);
        let flows = Family::BOTH.into_iter().flat_map(|family| {
            (4000..4032)
                .map(move |source| Flow::new(&scene.shell.client(), source, target.port(family, port)))
        });
        let flows = flows.map(|flow| {
            let server = flow.server();
            (flow, server)
        });
        Self(flows.collect())
    }

    #[track_caller]
    fn are_where_they_were(&self, after: &str) {
        for (flow, server) in &self.0 {
            let (who, target) = (flow.client.name(), flow.target);
            assert_served(&flow.ask(), &[server], &format!("{who} to {target} after {after}"));
        }
    }
}

/// Makes node-a remember flows, however slow the test is: the defaults are half a minute, or three seconds.
fn remember_flows(scene: &Scene) {
    for name in ["udp_timeout", "udp_timeout_stream", "sctp_timeout_cookie_wait", "tcp_timeout_syn_sent"] {
        scene.lab.node_a.namespace().sysctl(&format!("net/netfilter/nf_conntrack_{name}"), "3600").unwrap();
    }
}

/// Writes Service `web`, port 80 of UDP and TCP, with this node port.
fn web(scene: &Scene, node_port: u16, slices: Vec<Value>) {
    let web = service("web", scene.lab.cluster_ip(1)).of_type("NodePort");
    let web = web.port("udp", Protocol::Udp, 80).node_port(node_port);
    scene.put("web.yaml", &web.port("tcp", Protocol::Tcp, 80).node_port(node_port), slices);
}

/// Returns slices of `web` with these pods, ready, on this port.
fn ready(pods: &[&Pod], port: u16) -> Vec<Value> {
    conditions(pods, port, &json!({"ready": true, "serving": true, "terminating": false}))
}

fn conditions(pods: &[&Pod], port: u16, conditions: &Value) -> Vec<Value> {
    let slice = |family| {
        let slice =
            Slice::new("web", family).port("udp", Protocol::Udp, port).port("tcp", Protocol::Tcp, port);
        pods.iter().fold(slice, |slice, pod| slice.pod_with(pod, conditions)).object()
    };
    Family::BOTH.map(slice).into()
}

fn pods(scene: &Scene) -> [Pod; 3] {
    let (a, b) = (&scene.lab.node_a, &scene.lab.node_b);
    [(a, "web-1"), (b, "web-2"), (b, "web-3")].map(|(node, name)| {
        [8080, 9090].iter().fold(node.pod(name).unwrap(), |pod, port| {
            let pod = pod.serve_named(Protocol::Udp, *port).unwrap();
            pod.serve_named(Protocol::Tcp, *port).unwrap()
        })
    })
}

/// Writes a Service with all pods at the port numbers of web's ClusterIP and node port, but at other addresses.
fn other(scene: &Scene, pods: &[Pod; 3]) -> [(Dual, u16); 2] {
    let external = scene.lab.external_ip(2);
    let other = service("other", scene.lab.cluster_ip(2));
    let other = other.port("low", Protocol::Udp, 80).port("high", Protocol::Udp, 30_080);
    let other = Family::BOTH.iter().fold(other, |other, family| other.external_ip(external.of(*family)));
    let slice = |family| {
        let slice =
            Slice::new("other", family).port("low", Protocol::Udp, 8080).port("high", Protocol::Udp, 8080);
        pods.iter().fold(slice, Slice::pod).object()
    };
    scene.put("other.yaml", &other, Family::BOTH.map(slice).into());
    [(scene.lab.cluster_ip(2), 80), (external, 30_080)]
}

#[test]
fn a_client_with_one_port_follows_its_service_through_every_change() {
    let mut scene = Scene::new();
    let pods = pods(&scene);
    let [one, two, _] = &pods;
    web(&scene, 30_080, ready(&[one], 8080));
    let elsewhere = other(&scene, &pods);
    scene.run();
    let bystanders = elsewhere.map(|(address, port)| Bystanders::new(&scene, address, port));
    let mut tcp = Family::BOTH.map(|family| {
        scene.shell.client().open(scene.lab.cluster_ip(1).port(family, 80)).expect("a TCP connection")
    });
    let mut others_are_undisturbed = |after: &str| {
        for bystanders in &bystanders {
            bystanders.are_where_they_were(after);
        }
        for connection in &mut tcp {
            connection.exchange("still there?").unwrap_or_else(|error| panic!("TCP after {after}: {error}"));
        }
    };
    let flows = Flows::new(&scene);
    flows.are_served_by("web-1:8080");

    web(&scene, 30_080, ready(&[two], 8080));
    flows.are_served_by("web-2:8080");
    others_are_undisturbed("the backend was replaced");

    web(&scene, 30_080, ready(&[two], 9090));
    flows.are_served_by("web-2:9090");
    others_are_undisturbed("the target port changed");

    let unready = json!({"ready": false, "serving": false, "terminating": false});
    web(&scene, 30_080, conditions(&[two], 9090, &unready));
    flows.are_refused();
    web(&scene, 30_080, ready(&[two], 9090));
    flows.are_served_by("web-2:9090");
    others_are_undisturbed("the backend was unready for a while");

    web(&scene, 30_080, ready(&[], 8080));
    flows.are_refused();
    web(&scene, 30_080, ready(&[one], 8080));
    flows.are_served_by("web-1:8080");
    others_are_undisturbed("the Service had no endpoints for a while");

    scene.manifests.remove("web.yaml").unwrap();
    for flow in &flows.cluster_ip {
        flow.becomes("no longer served", |answer| answer.server().is_none());
    }
    // The former node port belongs to the node's own processes again.
    let own = Family::BOTH.map(|family| {
        scene.lab.node_a.serve(family, scene.lab.node_a.outside(), Protocol::Udp, 30_080).unwrap()
    });
    for flow in &flows.node_port {
        flow.is_served_by("node-a");
    }
    others_are_undisturbed("the Service was deleted");
    web(&scene, 30_080, ready(&[one], 8080));
    flows.are_served_by("web-1:8080");
    others_are_undisturbed("the Service came back");

    web(&scene, 30_081, ready(&[one], 8080));
    for flow in &flows.node_port {
        flow.is_served_by("node-a");
        let moved = SocketAddr::new(flow.target.ip(), 30_081);
        Flow::new(&scene.lab.client(), 4000, moved).is_served_by("web-1:8080");
    }
    drop(own);
    others_are_undisturbed("the node port changed");
}

#[test]
fn a_backend_that_drains_keeps_its_flows_until_it_no_longer_serves() {
    let mut scene = Scene::new();
    let [one, two, _] = pods(&scene);
    web(&scene, 30_080, ready(&[&one], 8080));
    scene.run();
    let flows = Flows::new(&scene);
    flows.are_served_by("web-1:8080");
    let draining = |serving: bool| {
        let leaving = json!({"ready": false, "serving": serving, "terminating": true});
        let here = json!({"ready": true, "serving": true, "terminating": false});
        let slice = |family| {
            let slice = Slice::new("web", family).port("udp", Protocol::Udp, 8080);
            let slice = slice.port("tcp", Protocol::Tcp, 8080);
            slice.pod_with(&one, &leaving).pod_with(&two, &here).object()
        };
        web(&scene, 30_080, Family::BOTH.map(slice).into());
    };
    draining(true);
    for family in Family::BOTH {
        let target = scene.lab.cluster_ip(1).port(family, 80);
        let new = || scene.shell.client().udp(target).server() == Some("web-2:8080");
        wait_until("new flows go to the other", || (0..8).all(|_| new()));
    }
    flows.are_served_by("web-1:8080");
    draining(false);
    flows.are_served_by("web-2:8080");
}

#[test]
fn a_flow_that_is_older_than_its_service_is_taken_over() {
    let mut scene = Scene::new();
    let [one, ..] = pods(&scene);
    scene.run();
    let flows = Flows::new(&scene);
    // The flows lead nowhere, or to the node itself, and would stay so.
    for flow in flows.all() {
        assert_eq!(flow.try_to_ask().server(), None);
    }
    web(&scene, 30_080, ready(&[&one], 8080));
    flows.are_served_by("web-1:8080");
}

#[test]
fn a_restart_removes_no_flow_and_a_change_meanwhile_only_what_it_made_stale() {
    let scene = Scene::new();
    let pods = pods(&scene);
    let [one, two, three] = &pods;
    let agent = || {
        let agent = Agent::start(&scene.lab.node_a, scene.manifests.path(), &ARGUMENTS);
        agent.unwrap_or_else(|error| panic!("{error}"))
    };
    web(&scene, 30_080, ready(&[one, two, three], 8080));
    let first = agent();
    let flows = Bystanders::new(&scene, scene.lab.cluster_ip(1), 80);
    let node_port = Bystanders::new(&scene, scene.lab.node_a.outside(), 30_080);
    first.terminate().unwrap();
    for end in ["SIGTERM", "SIGKILL"] {
        let again = agent();
        for flows in [&flows, &node_port] {
            flows.are_where_they_were("a restart");
        }
        if end == "SIGTERM" { again.terminate().map(drop).unwrap() } else { again.kill().unwrap() }
    }
    // One endpoint goes while no agent runs.
    web(&scene, 30_080, ready(&[two, three], 8080));
    let _agent = agent();
    for (flow, server) in flows.0.iter().chain(&node_port.0) {
        let servers =
            if server == "web-1:8080" { ["web-2:8080", "web-3:8080"] } else { [server.as_str(); 2] };
        assert_served(&flow.ask(), &servers, &format!("{}, served by {server} before", flow.target));
    }
    assert!(flows.0.iter().any(|(_, server)| server == "web-1:8080"), "no flow led to the removed endpoint");
}
