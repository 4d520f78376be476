//! kube-proxy is replaced on a node, and comes back, while connections are opened all the time: no connection fails.
//!
//! Only kube-proxy's rules are used here: they stay when it stops, so its process does not matter. Needs root.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use portolan_integration::{
    Agent, Bursts, CLUSTER_CIDR, Client, Commits, Family, Flows, Lab, Losses, Manifests, Moment, Pod,
    Protocol, Service, Slice, Tally, eventually, kube_proxy::ProxiedService, nft,
};
use serde_json::{Value, json};

/// The longest wait for anything that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// New connections per second from each place in each family: 200 for each of three frontends.
const A_SECOND: u32 = 600;
/// The number of connections of each kind that must be answered after each step: those of a tenth of a second.
const MORE: u64 = 20;
/// Source ports of the pod, the node and the client outside. They differ, so that masquerading need not change them.
const PORTS: [Range<u16>; 3] = [2_000..23_000, 33_000..49_000, 49_000..65_000];
const NODE_PORT: u16 = 30_080;
const POD_PORT: u16 = 8080;

/// How often Portolan's rules are removed.
const CLEANUPS: usize = 20;

static TURN: Mutex<()> = Mutex::new(());

/// The mode of kube-proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Nftables,
    Iptables,
}

/// A Service of three pods, one of them on node-a, where the proxies replace each other.
struct Scene {
    lab: Lab,
    manifests: Manifests,
    shell: Pod,
    pods: Vec<Pod>,
    mode: Mode,
}

impl Scene {
    fn new(mode: Mode) -> Self {
        let lab = Lab::new().unwrap_or_else(|error| panic!("{error}"));
        let manifests = Manifests::new().unwrap();
        manifests.put("nodes.yaml", &lab.nodes().map(portolan_integration::Node::object)).unwrap();
        let pods = [(&lab.node_a, "shop-1"), (&lab.node_b, "shop-2"), (&lab.node_b, "shop-3")];
        let pods = pods.map(|(node, name)| node.pod(name).unwrap().respond(POD_PORT).unwrap()).into();
        let shell = lab.node_a.pod("shell").unwrap();
        lab.route_external_through(&lab.node_a).unwrap();
        lab.count_untranslated().unwrap();
        // A source port is used again after about five seconds.
        for key in ["udp_timeout", "udp_timeout_stream", "tcp_timeout_syn_sent", "tcp_timeout_close"] {
            lab.node_a.namespace().sysctl(&format!("net/netfilter/nf_conntrack_{key}"), "2").unwrap();
        }
        let scene = Self { lab, manifests, shell, pods, mode };
        scene.write_manifests();
        scene
    }

    fn write_manifests(&self) {
        let service = Service::new("shop", Family::BOTH.map(|family| self.lab.cluster_ip(1).of(family)));
        let service = [("udp", Protocol::Udp), ("tcp", Protocol::Tcp)].into_iter().fold(
            service.of_type("LoadBalancer"),
            |service, (name, protocol)| {
                service.port(name, protocol, 80).target_port(POD_PORT).node_port(NODE_PORT)
            },
        );
        let service = Family::BOTH
            .iter()
            .fold(service, |service, family| service.ingress(self.lab.external_ip(1).of(*family), None));
        let slice = |family| {
            let slice = Slice::new("shop", family).port("udp", Protocol::Udp, POD_PORT);
            let slice = slice.port("tcp", Protocol::Tcp, POD_PORT);
            self.pods.iter().fold(slice, |slice, pod| slice.pod_with(pod, &json!({"ready": true}))).object()
        };
        let objects: Vec<Value> = std::iter::once(service.object()).chain(Family::BOTH.map(slice)).collect();
        self.manifests.put("shop.yaml", &objects).unwrap();
    }

    /// Returns the Service for kube-proxy's rules.
    fn proxied(&self, family: Family) -> ProxiedService {
        let (pods, services) = match family {
            Family::V4 => (CLUSTER_CIDR.split(',').next(), "10.96.0.0/16"),
            Family::V6 => (CLUSTER_CIDR.split(',').nth(1), "fd00:10:96::/112"),
        };
        ProxiedService {
            cluster_ip: self.lab.cluster_ip(1).of(family),
            load_balancer: self.lab.external_ip(1).of(family),
            node: self.lab.node_a.outside().of(family),
            port: 80,
            node_port: NODE_PORT,
            protocols: vec![Protocol::Udp, Protocol::Tcp],
            endpoints: self.pods.iter().map(|pod| pod.address().port(family, POD_PORT)).collect(),
            pods: pods.expect("a network of each family").to_owned(),
            services: services.to_owned(),
        }
    }

    /// Writes kube-proxy's rules.
    fn kube_proxy(&self) {
        for family in Family::BOTH {
            let service = self.proxied(family);
            match self.mode {
                Mode::Nftables => {
                    nft(self.lab.node_a.namespace(), &["-f", "-"], &service.nftables()).unwrap();
                }
                Mode::Iptables => self.iptables(family, &service.iptables()),
            }
        }
    }

    /// Removes kube-proxy's rules as documented.
    fn remove_kube_proxy(&self) {
        match self.mode {
            Mode::Nftables => self.portolan(&["cleanup", "--kube-proxy"]),
            Mode::Iptables => {
                for family in Family::BOTH {
                    self.iptables(family, &self.proxied(family).without_iptables());
                }
            }
        }
    }

    fn iptables(&self, family: Family, text: &str) {
        let program = match family {
            Family::V4 => "iptables-nft-restore",
            Family::V6 => "ip6tables-nft-restore",
        };
        let restored = self.lab.node_a.namespace().filter(program, &["--noflush"], text);
        restored.unwrap_or_else(|error| panic!("{error}\n{text}"));
    }

    fn portolan(&self, arguments: &[&str]) {
        let output = Agent::command(&self.lab.node_a, arguments).unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Returns the clients: a pod on node-a, node-a itself, and one outside.
    fn places(&self) -> [Client; 3] {
        [self.shell.client(), self.lab.node_a.client(), self.lab.client()]
    }

    fn targets(&self, family: Family) -> Targets {
        vec![
            ("ClusterIP", self.lab.cluster_ip(1).port(family, 80)),
            ("node port", self.lab.node_a.outside().port(family, NODE_PORT)),
            ("load balancer", self.lab.external_ip(1).port(family, 80)),
        ]
    }
}

/// The senders of all places and families.
struct Senders(Vec<(String, Targets, Flows)>);

/// Frontends with their names and addresses.
type Targets = Vec<(&'static str, SocketAddr)>;

impl Senders {
    fn start(scene: &Scene, bursts: &Bursts) -> Self {
        let mut senders = Vec::new();
        for (n, client) in scene.places().iter().enumerate() {
            for family in Family::BOTH {
                let targets = scene.targets(family);
                let flows = Flows::start(client, &targets, PORTS[n].clone(), A_SECOND, bursts).unwrap();
                senders.push((format!("{} {family}", client.name()), targets, flows));
            }
        }
        Self(senders)
    }

    /// Waits until [`MORE`] more connections of each kind have been answered.
    fn wait_for_more(&self, step: &str) {
        let count = || self.0.iter().map(|(_, targets, flows)| flows.tally().fewest_answered(targets));
        let before: Vec<u64> = count().collect();
        let enough = || count().zip(&before).all(|(now, before)| now >= before + MORE);
        assert!(eventually(PATIENCE, enough).is_some(), "too few connections are answered after: {step}");
    }

    fn end(self) -> Vec<(String, Tally)> {
        self.0.into_iter().map(|(name, _, flows)| (name, flows.end().unwrap())).collect()
    }
}

/// Runs kube-proxy, then Portolan, then kube-proxy again.
fn replace_and_go_back(mode: Mode) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let scene = Scene::new(mode);
    scene.kube_proxy();
    for client in scene.places() {
        for (name, target) in Family::BOTH.into_iter().flat_map(|family| scene.targets(family)) {
            for protocol in [Protocol::Udp, Protocol::Tcp] {
                let answer = client.probe(protocol, target);
                assert!(answer.server().is_some(), "{} to {name} {target}: {answer}", client.name());
            }
        }
    }
    let bursts = Bursts::default();
    let senders = Senders::start(&scene, &bursts);
    senders.wait_for_more("kube-proxy");

    let arguments = ["--cluster-cidr", CLUSTER_CIDR];
    let agent = Agent::spawn(&scene.lab.node_a, scene.manifests.path(), &arguments).unwrap();
    let at_commits = bursts.clone();
    // Most connections are opened at the moment of a commit.
    let held_up = Commits::hold_up(agent.pid(), move |moment| {
        if moment == Moment::Before {
            at_commits.begin();
        }
    });
    assert!(eventually(PATIENCE, || agent.readyz() == Some(200)).is_some(), "{}", agent.stderr());
    drop(held_up);
    let warning = "kube-proxy's rules are on this node as well";
    assert!(agent.stderr().contains(warning), "{}", agent.stderr());
    senders.wait_for_more("Portolan beside kube-proxy's rules");
    bursts.begin();
    scene.remove_kube_proxy();
    let left = nft(scene.lab.node_a.namespace(), &["list", "ruleset"], "").unwrap();
    assert!(!left.contains("KUBE-") && !left.contains("kube-proxy"), "{left}");
    senders.wait_for_more("Portolan alone");

    bursts.begin();
    scene.kube_proxy();
    senders.wait_for_more("kube-proxy beside Portolan");
    agent.terminate().unwrap();
    senders.wait_for_more("kube-proxy beside Portolan's rules");
    // Many times: only in one of ten removals is a packet just passing the rules.
    for _ in 0..CLEANUPS {
        bursts.begin();
        scene.portolan(&["cleanup"]);
        senders.wait_for_more("kube-proxy alone");
        let manifests = scene.manifests.path().to_string_lossy().into_owned();
        let once = [
            "run",
            "--once",
            "-f",
            &manifests,
            "--hostname-override",
            "node-a",
            "--cluster-cidr",
            CLUSTER_CIDR,
        ];
        scene.portolan(&once);
    }

    let tallies = senders.end();
    for (name, tally) in &tallies {
        println!("{name}: {tally}");
    }
    let losses = Losses::count(&scene.lab, tallies.iter().map(|(_, tally)| tally)).unwrap();
    let failures = tallies.iter().flat_map(|(_, tally)| &tally.failures).take(20);
    let failures: Vec<&str> = failures.map(|failure| &*failure.text).collect();
    assert!(losses.are_none(), "{losses}\n{}", failures.join("\n"));
}

#[test]
fn no_connection_fails_when_mode_nftables_is_replaced_and_comes_back() {
    replace_and_go_back(Mode::Nftables);
}

#[test]
fn no_connection_fails_when_mode_iptables_is_replaced_and_comes_back() {
    replace_and_go_back(Mode::Iptables);
}
