//! A Service under fire on node-a, and the outcome of every connection while the Service changes.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use portolan_integration::{
    Agent, Bursts, CLUSTER_CIDR, Client, Commits, Failure, Family, Flows, Lab, Losses, Manifests, Moment,
    Pod, Protocol, Service, Slice, Tally, eventually,
};
use serde_json::{Value, json};

/// The longest wait for anything that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// New connections per second from each place in each family; three places open 5,000 in each family.
const A_SECOND: u32 = 1_667;
/// The least number of answered connections of each kind, however slow the machine.
const ENOUGH: u64 = 200;
/// Retired elements are removed about a second after a change: after this pause, the next change comes later than that.
const PAUSE: Duration = Duration::from_millis(1_300);
/// The number of changes between pauses.
const UNTIL_A_PAUSE: usize = 50;
/// Source ports of the pod, the node and the client outside. They differ, so that masquerading, which gives
/// connections from several places one address, need not change the port.
const PORTS: [Range<u16>; 3] = [2_000..23_000, 33_000..49_000, 49_000..65_000];
/// The node port of the Service under fire.
pub const NODE_PORT: u16 = 30_080;
/// The port of the pods.
pub const POD_PORT: u16 = 8080;

static TURN: Mutex<()> = Mutex::new(());

/// A lab with six pods, the first three of them on node-a; the agent runs there.
pub struct Scene {
    pub lab: Lab,
    pub manifests: Manifests,
    pods: Vec<Pod>,
    shell: Pod,
    agent: Option<Agent>,
    bursts: Bursts,
    changes: Vec<(Instant, String)>,
    _turn: MutexGuard<'static, ()>,
}

/// The kinds of frontends of the Service under fire.
pub const FRONTENDS: [&str; 4] = ["ClusterIP", "node port", "load balancer", "external IP"];

impl Scene {
    pub fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let lab = Lab::new().unwrap_or_else(|error| panic!("{error}"));
        let manifests = Manifests::new().unwrap();
        manifests.put("nodes.yaml", &lab.nodes().map(portolan_integration::Node::object)).unwrap();
        let pods = (1..=6).map(|n| {
            let node = if n <= 3 { &lab.node_a } else { &lab.node_b };
            node.pod(&format!("shop-{n}")).unwrap().respond(POD_PORT).unwrap()
        });
        let pods = pods.collect();
        let shell = lab.node_a.pod("shell").unwrap();
        lab.route_external_through(&lab.node_a).unwrap();
        lab.count_untranslated().unwrap();
        Self {
            lab,
            manifests,
            pods,
            shell,
            agent: None,
            bursts: Bursts::default(),
            changes: Vec::new(),
            _turn: turn,
        }
    }

    /// Returns the Service under fire: every kind of frontend, UDP and TCP, both families.
    pub fn shop(&self) -> Service {
        let service = self.service("shop", 1).of_type("LoadBalancer");
        Family::BOTH.iter().fold(ports(service, Some(NODE_PORT)), |service, family| {
            let (vip, external) = (self.lab.external_ip(1), self.lab.external_ip(2));
            service.ingress(vip.of(*family), None).external_ip(external.of(*family))
        })
    }

    /// Returns a Service with the nth ClusterIPs and no ports yet.
    pub fn service(&self, name: &str, number: u8) -> Service {
        Service::new(name, Family::BOTH.map(|family| self.lab.cluster_ip(number).of(family)))
    }

    /// Writes a Service and its slices. These pods (from 0) are ready; the others, in the Service under fire, are
    /// terminating and still serve existing connections.
    pub fn put(&self, name: &str, service: &Service, ready: &[usize]) {
        let slice = |family| {
            let slice = Slice::new(name, family).port("udp", Protocol::Udp, POD_PORT);
            let pods = self.pods.iter().enumerate();
            pods.fold(slice.port("tcp", Protocol::Tcp, POD_PORT), |slice, (n, pod)| {
                let ready = ready.contains(&n);
                slice.pod_with(pod, &json!({"ready": ready, "serving": true, "terminating": !ready}))
            })
        };
        let objects: Vec<Value> = std::iter::once(service.object())
            .chain(Family::BOTH.map(|family| slice(family).object()))
            .collect();
        self.manifests.put(&format!("{name}.yaml"), &objects).unwrap();
    }

    /// Starts the agent, opens connections to these of [`FRONTENDS`], makes the changes, and asserts that every
    /// connection was answered.
    pub fn fire(mut self, frontends: &[&'static str], changes: impl FnOnce(&mut Self)) {
        // With a higher priority, so that the agent's commits do not wait for the end of the bursts that they cause.
        let (first, arguments) = (["nice", "-n", "-15"], ["--cluster-cidr", CLUSTER_CIDR]);
        let agent = Agent::spawn_by(&self.lab.node_a, &first, self.manifests.path(), &arguments);
        let agent = agent.unwrap_or_else(|error| panic!("{error}"));
        assert!(eventually(PATIENCE, || agent.readyz() == Some(200)).is_some(), "the agent is not ready");
        self.agent = Some(agent);
        // A source port is used again after about five seconds.
        for key in ["udp_timeout", "udp_timeout_stream", "tcp_timeout_syn_sent", "tcp_timeout_close"] {
            self.lab.node_a.namespace().sysctl(&format!("net/netfilter/nf_conntrack_{key}"), "2").unwrap();
        }
        let (begin, mut senders) = (Instant::now(), Vec::new());
        for (n, client) in self.places().iter().enumerate() {
            for family in Family::BOTH {
                let targets = self.targets(family, frontends);
                wait_until_answered(client, &targets);
                let flows = Flows::start(client, &targets, PORTS[n].clone(), A_SECOND, &self.bursts).unwrap();
                senders.push((format!("{} {family}", client.name()), targets, flows));
            }
        }
        // A transaction takes effect within a microsecond: most connections are opened at that moment.
        let pid = self.agent.as_ref().map_or(0, Agent::pid);
        let bursts = self.bursts.clone();
        let held_up = Commits::hold_up(pid, move |moment| {
            if moment == Moment::Before {
                bursts.begin();
            }
        });
        let held_up = held_up.unwrap_or_else(|error| panic!("{error}"));
        changes(&mut self);
        drop(held_up);
        let enough =
            || senders.iter().all(|(_, targets, flows)| flows.tally().fewest_answered(targets) >= ENOUGH);
        let enough = eventually(PATIENCE, enough).is_some();
        let lasted = begin.elapsed();
        let mut tallies = Vec::new();
        for (name, _, flows) in senders {
            tallies.push((name, flows.end().unwrap()));
        }
        self.judge(&tallies, lasted);
        assert!(enough, "fewer than {ENOUGH} connections of a kind were answered");
    }

    /// Makes a change and waits until it is in the kernel.
    pub fn change(&mut self, what: &str, write: impl FnOnce(&Self)) {
        let before = self.applied();
        write(self);
        let applied = eventually(PATIENCE, || {
            thread::sleep(Duration::from_millis(8));
            self.applied() > before
        });
        assert!(applied.is_some(), "not applied within {PATIENCE:?}: {what}");
        self.changes.push((Instant::now(), what.to_owned()));
        if self.changes.len().is_multiple_of(UNTIL_A_PAUSE) {
            thread::sleep(PAUSE);
        }
    }

    /// Returns how many changes of Services and slices the agent has applied.
    fn applied(&self) -> u64 {
        let agent = self.agent.as_ref().expect("the agent runs");
        let text = agent.get(10249, "/metrics").expect("the metrics server answers").body;
        let total = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|number| number.parse::<u64>().ok()).unwrap_or_else(|| panic!("no {name}"))
        };
        ["service", "endpoint"]
            .map(|kind| total(&format!("kubeproxy_sync_proxy_rules_{kind}_changes_total")))
            .iter()
            .sum()
    }

    /// Returns the clients: a pod on node-a, node-a itself, and one outside.
    fn places(&self) -> [Client; 3] {
        [self.shell.client(), self.lab.node_a.client(), self.lab.client()]
    }

    fn targets(&self, family: Family, frontends: &[&'static str]) -> Vec<(&'static str, SocketAddr)> {
        let of = |name: &&'static str| {
            let (address, port) = match *name {
                "ClusterIP" => (self.lab.cluster_ip(1), 80),
                "node port" => (self.lab.node_a.outside(), NODE_PORT),
                "load balancer" => (self.lab.external_ip(1), 80),
                _ => (self.lab.external_ip(2), 80),
            };
            (*name, address.port(family, port))
        };
        frontends.iter().map(of).collect()
    }

    fn judge(&self, tallies: &[(String, Tally)], lasted: Duration) {
        for (name, tally) in tallies {
            println!("{name}: {tally}");
        }
        let losses = Losses::count(&self.lab, tallies.iter().map(|(_, tally)| tally)).unwrap();
        let summary = format!(
            "{} changes, {} commits, {} flows ({} of them around a commit) in {lasted:.1?}: {losses}",
            self.changes.len(),
            self.bursts.count(),
            losses.connections(),
            self.bursts.opened(),
        );
        println!("{summary}");
        let failures: Vec<_> = tallies.iter().flat_map(|(_, tally)| &tally.failures).collect();
        let describe = |failure: &&Failure| format!("{}, {}", failure.text, self.when(failure.sent));
        let failures: Vec<_> = failures.into_iter().take(20).map(|failure| describe(&failure)).collect();
        assert!(self.bursts.count() > 0, "no commit was seen: {summary}");
        assert!(losses.are_none(), "{summary}\n{}", failures.join("\n"));
    }

    /// Describes a moment by the change that came next.
    fn when(&self, moment: Instant) -> String {
        match self.changes.iter().find(|(applied, _)| *applied > moment) {
            Some((applied, what)) => format!("{:.1?} before it was seen applied: {what}", *applied - moment),
            None => "after the last change".to_owned(),
        }
    }
}

/// Adds port 80 of UDP and TCP to a Service, with a node port, if given.
pub fn ports(service: Service, node_port: Option<u16>) -> Service {
    [("udp", Protocol::Udp), ("tcp", Protocol::Tcp)].into_iter().fold(service, |service, (name, protocol)| {
        let service = service.port(name, protocol, 80).target_port(POD_PORT);
        node_port.iter().fold(service, |service, number| service.node_port(*number))
    })
}

fn wait_until_answered(client: &Client, targets: &[(&'static str, SocketAddr)]) {
    for (name, target) in targets {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let answer = client.probe(protocol, *target);
            assert!(answer.server().is_some(), "{} to {name} {target}: {answer}", client.name());
        }
    }
}
