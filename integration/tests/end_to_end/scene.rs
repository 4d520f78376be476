//! What most tests start from: a lab, a pod to ask from, and the binary on both nodes.

use std::time::Duration;

use portolan_integration::{Agent, Answer, CLUSTER_CIDR, Client, Lab, Manifests, Pod, Protocol, eventually};
use serde_json::Value;

/// How long anything may take that takes milliseconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A lab with the Node objects in a directory of manifests, and a pod `shell` on node-a.
pub struct Scene {
    pub lab: Lab,
    pub manifests: Manifests,
    pub shell: Pod,
    agents: Vec<Agent>,
}

impl Scene {
    pub fn new() -> Self {
        let lab = Lab::new().unwrap_or_else(|error| panic!("{error}"));
        let manifests = Manifests::new().unwrap();
        manifests.put("nodes.yaml", &lab.nodes().map(|node| node.object())).unwrap();
        let shell = lab.node_a.pod("shell").unwrap();
        Self { lab, manifests, shell, agents: Vec::new() }
    }

    /// Pods `web-1` on node-a and `web-2`, `web-3` on node-b, which answer every protocol on `port`.
    pub fn web_pods(&self, port: u16) -> [Pod; 3] {
        let (a, b) = (&self.lab.node_a, &self.lab.node_b);
        [(a, "web-1"), (b, "web-2"), (b, "web-3")].map(|(node, name)| {
            let pod = node.pod(name).unwrap().serve(Protocol::Tcp, port).unwrap();
            pod.serve(Protocol::Udp, port).unwrap().serve(Protocol::Sctp, port).unwrap()
        })
    }

    /// Writes a manifest file.
    pub fn put(&self, name: &str, objects: &[Value]) {
        self.manifests.put(name, objects).unwrap();
    }

    /// Runs the binary on both nodes, with `--cluster-cidr`.
    pub fn run(&mut self) {
        self.run_with(&["--cluster-cidr", CLUSTER_CIDR]);
    }

    /// Runs the binary on both nodes with these arguments.
    pub fn run_with(&mut self, arguments: &[&str]) {
        for node in self.lab.nodes() {
            let agent = Agent::start(node, self.manifests.path(), arguments);
            self.agents.push(agent.unwrap_or_else(|error| panic!("{error}")));
        }
    }

    /// What the binary on node-a has written to stderr.
    pub fn stderr(&self) -> String {
        self.agents[0].stderr()
    }

    /// Ends the binaries of both nodes by SIGTERM.
    pub fn terminate(&mut self) {
        for agent in self.agents.drain(..) {
            let status = agent.terminate().unwrap_or_else(|error| panic!("{error}"));
            assert!(status.success(), "SIGTERM ends it with exit code 0, not {status}");
        }
    }

    /// The three places to ask from: a pod on node-a, node-a itself, and outside.
    pub fn everywhere(&self) -> [Client; 3] {
        [self.shell.client(), self.lab.node_a.client(), self.lab.client()]
    }
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
        // Half a second is what a TCP client that ignores ICMP errors would at least take.
        Answer::Refused { after } if *after < Duration::from_millis(500) => {}
        _ => panic!("{circumstances}: {answer}, not refused at once"),
    }
}

/// Waits for a condition that must come true; gives the time it took.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) -> Duration {
    eventually(PATIENCE, condition).unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}
