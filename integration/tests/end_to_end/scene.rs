//! The setup of most tests: a lab, a client pod, and the binary on both nodes.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use portolan_integration::{
    Agent, Answer, CLUSTER_CIDR, Client, Dual, Family, Lab, Manifests, Pod, Protocol, Service, Slice,
    eventually,
};
use serde_json::Value;

/// The longest wait for anything that takes milliseconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Every protocol a Service port may have.
pub const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// A lab with the Node objects in a directory of manifests, and a pod `shell` on node-a.
pub struct Scene {
    pub lab: Lab,
    pub manifests: Manifests,
    pub shell: Pod,
    agents: Vec<Agent>,
    /// The variant of iptables for which rules are printed and loaded, instead of being written by the binary.
    iptables: Option<&'static str>,
}

impl Scene {
    pub fn new() -> Self {
        let lab = Lab::new().unwrap_or_else(|error| panic!("{error}"));
        let manifests = Manifests::new().unwrap();
        manifests.put("nodes.yaml", &lab.nodes().map(portolan_integration::Node::object)).unwrap();
        let shell = lab.node_a.pod("shell").unwrap();
        Self { lab, manifests, shell, agents: Vec::new(), iptables: None }
    }

    /// The same with rules that are printed for iptables and loaded once with this variant: `nft` or `legacy`.
    #[allow(dead_code, reason = "for the tests of policies, which share this file")]
    pub fn with_iptables(variant: &'static str) -> Self {
        Self { iptables: Some(variant), ..Self::new() }
    }

    /// Starts Pods `web-1` on node-a and `web-2`, `web-3` on node-b, which answer every protocol on port 8080.
    pub fn web_pods(&self) -> [Pod; 3] {
        let (a, b) = (&self.lab.node_a, &self.lab.node_b);
        [(a, "web-1"), (b, "web-2"), (b, "web-3")].map(|(node, name)| {
            let pod = node.pod(name).unwrap().serve(Protocol::Tcp, 8080).unwrap();
            pod.serve(Protocol::Udp, 8080).unwrap().serve(Protocol::Sctp, 8080).unwrap()
        })
    }

    /// Whether the rules are printed for iptables and loaded once.
    #[allow(dead_code, reason = "for the tests of policies, which share this file")]
    pub fn is_iptables(&self) -> bool {
        self.iptables.is_some()
    }

    /// Writes a manifest file: a Service and its slices, or other objects.
    pub fn put(&self, name: &str, service: &Service, slices: Vec<Value>) {
        let objects: Vec<_> = std::iter::once(service.object()).chain(slices).collect();
        self.manifests.put(name, &objects).unwrap();
    }

    /// Writes a NodePort Service `web` with these pods: port 80 and node port 30080 of every protocol.
    pub fn put_node_port(&self, pods: &[&Pod]) {
        let service = service("web", self.lab.cluster_ip(1)).of_type("NodePort");
        self.put("web.yaml", &every_protocol(service, Some(30_080)), slices("web", pods));
    }

    /// Writes a Service with these pods that has every kind of frontend: the first ClusterIP, node port 30080, the
    /// first external address for its load balancer, and the second as external IP.
    pub fn put_every_frontend(&self, name: &str, pods: &[&Pod]) {
        let (vip, external) = (self.lab.external_ip(1), self.lab.external_ip(2));
        let service = Family::BOTH.iter().fold(
            every_protocol(service(name, self.lab.cluster_ip(1)).of_type("LoadBalancer"), Some(30_080)),
            |service, family| service.ingress(vip.of(*family), None).external_ip(external.of(*family)),
        );
        self.put(&format!("{name}.yaml"), &service, slices(name, pods));
    }

    /// Writes a Service `web` of every kind of frontend with these pods, and `empty` without endpoints.
    pub fn put_services(&self, pods: &[&Pod]) {
        self.put_every_frontend("web", pods);
        let empty = every_protocol(service("empty", self.lab.cluster_ip(2)), None);
        self.put("empty.yaml", &empty, slices("empty", &[]));
    }

    /// Runs the binary on both nodes, with `--cluster-cidr`.
    pub fn run(&mut self) {
        self.run_with(&["--cluster-cidr", CLUSTER_CIDR]);
    }

    /// Runs the binary on both nodes with these arguments.
    pub fn run_with(&mut self, arguments: &[&str]) {
        for node in self.lab.nodes() {
            if let Some(variant) = self.iptables {
                self.load(variant, node, arguments);
                continue;
            }
            let agent = Agent::start(node, self.manifests.path(), arguments);
            self.agents.push(agent.unwrap_or_else(|error| panic!("{error}")));
        }
    }

    /// Loads the rules that the binary prints for iptables.
    fn load(&self, variant: &str, node: &portolan_integration::Node, arguments: &[&str]) {
        let facts = ["-f", self.manifests.path().to_str().unwrap(), "--hostname-override", node.name()];
        let render = [&["render", "-o", "iptables"][..], &facts, arguments].concat();
        let rendered = Agent::command(node, &render).unwrap();
        assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
        let text = String::from_utf8(rendered.stdout).unwrap();
        for family in ["iptables", "ip6tables"] {
            let restore = format!("{family}-{variant}-restore");
            let output = node.namespace().output(&restore, &["-n"], &text).unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{restore}: {said}\n{text}");
        }
    }

    /// Returns the stderr of the binary on node-a.
    pub fn stderr(&self) -> String {
        self.agents[0].stderr()
    }

    /// Returns the three clients: a pod on node-a, node-a itself, and one outside.
    pub fn everywhere(&self) -> [Client; 3] {
        [self.shell.client(), self.lab.node_a.client(), self.lab.client()]
    }
}

/// Returns a Service with both ClusterIPs and no ports yet.
pub fn service(name: &str, cluster_ip: Dual) -> Service {
    Service::new(name, Family::BOTH.map(|family| cluster_ip.of(family)))
}

/// Adds port 80 of every protocol to a Service, with a node port, if given.
pub fn every_protocol(service: Service, node_port: Option<u16>) -> Service {
    PROTOCOLS.iter().fold(service, |service, protocol| {
        let service = service.port(&protocol.name().to_lowercase(), *protocol, 80);
        node_port.iter().fold(service, |service, number| service.node_port(*number))
    })
}

/// Returns the slices of a Service made by [`every_protocol`]: these pods, ready, on port 8080.
pub fn slices(name: &str, pods: &[&Pod]) -> Vec<Value> {
    let slice = |family| {
        let slice = Slice::new(name, family);
        let slice = PROTOCOLS
            .iter()
            .fold(slice, |slice, protocol| slice.port(&protocol.name().to_lowercase(), *protocol, 8080));
        pods.iter().fold(slice, |slice, pod| slice.pod(pod)).object()
    };
    Family::BOTH.map(slice).into()
}

/// Returns a number of connections with which each of these endpoints gets one: with equal shares, one of up to twenty
/// endpoints gets none once in 10^11 times.
pub fn enough(endpoints: usize) -> usize {
    if endpoints < 2 { 15 } else { 30 * endpoints }
}

/// Asserts that one of `servers` answered.
#[track_caller]
pub fn assert_served(answer: &Answer, servers: &[&str], circumstances: &str) {
    let served = answer.server().is_some_and(|server| servers.contains(&server));
    assert!(served, "{circumstances}: {answer}, not served by one of {servers:?}");
}

/// Asserts a refusal that came at once.
#[track_caller]
pub fn assert_refused(answer: &Answer, circumstances: &str) {
    match answer {
        // A TCP client that ignores ICMP errors would send its request again after a second. A client that did
        // not send again was refused at once, however slow the machine.
        Answer::Refused { after, repeated } if *after < Duration::from_millis(500) || !repeated => {}
        _ => panic!("{circumstances}: {answer}, not refused at once"),
    }
}

/// Waits for a condition that must come true; returns the time it took.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) -> Duration {
    eventually(PATIENCE, condition).unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

/// Runs `work` while clients connect, each up to a thousand times a second, and asserts that every connection was
/// served.
pub fn while_connecting(clients: &[(Client, SocketAddr)], protocols: &[Protocol], work: impl FnOnce()) {
    struct SetOnDrop<'a>(&'a AtomicBool);
    impl Drop for SetOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    let connect = |client: &Client, target: SocketAddr| {
        let mut count = 0_u32;
        // At least twenty rounds, however soon the work is done.
        while !done.load(Ordering::Relaxed) || count < 20 {
            for protocol in protocols {
                let answer = client.probe(*protocol, target);
                assert!(
                    answer.server().is_some(),
                    "{} {protocol} {count} to {target}: {answer}",
                    client.name()
                );
                count += 1;
            }
            // Connection tracking remembers each connection for two minutes, up to a limit.
            thread::sleep(Duration::from_millis(1));
        }
    };
    thread::scope(|scope| {
        let connect = &connect;
        let connecting: Vec<_> =
            clients.iter().map(|(client, target)| scope.spawn(move || connect(client, *target))).collect();
        // Also when the work panics: the scope waits for these threads.
        let end = SetOnDrop(&done);
        work();
        drop(end);
        for connecting in connecting {
            connecting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}
