//! One node, every host that may send packets to it, and every host that it may forward to.
//!
//! ```text
//!             eth0 ┐            ┌ srv
//!   clients   cni0 ├──  node  ──┤       servers
//!            veth7 ┘            └
//! ```
//!
//! Both sides own all addresses of the cluster: a pod sends from `clients` and answers in `servers`. So every source
//! can reach every destination, even a pod itself, and each packet crosses the node. Neither side delivers its own
//! packets to itself: its table of local addresses is used for incoming packets only. The node forwards packets from
//! `clients` and from its own probes to `servers`, and all other packets, which are answers, to `clients`.

use std::{cell::Cell, net::IpAddr};

use portolan::kernel::nftables::{Kernel, Tables};
use portolan_integration::{Client, Expecting, LabError, Namespace, Responder};
use portolan_rules::{
    ruleset::{Family, Ruleset, diff::diff},
    simulate::{Input, Packet},
};

use crate::{
    cluster::Cluster,
    places::Place,
    probe::Probe,
    strategies::{CLUSTER_IPS, PORTS},
};

/// A ruleset as read from the kernel.
pub type Rules = Ruleset;

/// The mark of the node's own probes; no bit of it is a masquerade bit of the generated clusters.
const OWN_PROBE: u32 = 0x64;
const INTERFACES: [&str; 3] = ["eth0", "cni0", "veth7"];
/// The port of endpoints.
const TARGET: u16 = 8080;

/// The namespaces, with servers at every address and port that a packet may lead to.
pub struct World {
    node: Namespace,
    clients: Namespace,
    _servers: Namespace,
    _responders: [Responder; 2],
    /// Whether the node's interfaces currently have the load balancer's address, which they have in some clusters.
    bound: bool,
    /// The kernel's ruleset, and whether it may hold elements that remember clients.
    rules: Rules,
    remembers: bool,
    next_port: Cell<u16>,
}

fn sources() -> Vec<Place> {
    let pods = (1..=3).flat_map(|n| [Place::Pod(n), Place::RemotePod(n)]);
    pods.chain([Place::Outside(1), Place::Outside(200), Place::OtherNode(1)]).collect()
}

fn destinations() -> Vec<Place> {
    let services = (1..=CLUSTER_IPS).flat_map(|n| [Place::ClusterIp(n), Place::External(n)]);
    services.chain(sources()).collect()
}

/// Returns the places where the node listens; the last one only if it is the node's own in the cluster.
fn of_node() -> Vec<Place> {
    vec![Place::ThisNode(1), Place::ThisNode(2), Place::External(1)]
}

fn addresses(places: &[Place]) -> Vec<IpAddr> {
    places.iter().flat_map(|place| Family::ALL.map(|family| place.address(family))).collect()
}

/// Returns commands that add addresses, without routes for outgoing packets to them.
fn own(addresses: &[IpAddr], device: &str) -> String {
    let line = |address: &IpAddr| match address {
        IpAddr::V4(_) => format!("addr add {address}/32 dev {device}\n"),
        IpAddr::V6(_) => format!("addr add {address}/128 dev {device} nodad noprefixroute\n"),
    };
    addresses.iter().map(line).collect()
}

/// Returns the commands once for each family.
fn both(commands: &str) -> [(&'static str, String); 2] {
    [("-4", commands.to_owned()), ("-6", commands.to_owned())]
}

fn run(namespace: &Namespace, commands: &str) -> Result<(), LabError> {
    for (family, commands) in both(commands) {
        namespace.filter("ip", &[family, "-batch", "-"], &commands)?;
    }
    Ok(())
}

impl World {
    /// Builds the namespaces; needs root.
    pub fn new() -> Result<Self, LabError> {
        let [node, clients, servers] = ["node", "clients", "servers"].map(Namespace::new);
        let (node, clients, servers) = (node?, clients?, servers?);
        for (key, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            // Every refusal must be sent.
            ("net/ipv4/icmp_ratemask", "0"),
            ("net/ipv6/icmp/ratelimit", "0"),
        ] {
            node.sysctl(key, value)?;
        }
        // Without ARP, and with the same hardware address on both ends, no host has to resolve another's address.
        let cable = |name: &str, peer: &str, to: &Namespace| {
            let mac = "address 02:00:00:00:00:01";
            let path = to.path();
            node.ip(&format!(
                "link add name {name} {mac} type veth peer name {peer} {mac} netns {path}\n\
                 link set {name} arp off addrgenmode none up\n"
            ))?;
            to.ip(&format!("link set {peer} arp off addrgenmode none up\n"))
        };
        for name in INTERFACES {
            cable(name, name, &clients)?;
        }
        cable("srv", "eth0", &servers)?;

        node.ip(&own(&addresses(&[Place::ThisNode(1), Place::ThisNode(2)]), "eth0"))?;
        let mut commands = String::from("route add default dev eth0\nroute add table 101 default dev srv\n");
        for name in INTERFACES {
            commands += &format!("rule add pref 100 iif {name} lookup 101\n");
        }
        commands += &format!("rule add pref 100 fwmark {OWN_PROBE}/{OWN_PROBE} lookup 101\n");
        run(&node, &commands)?;
        node.ip("route add 10.1.1.0/24 dev cni0\nroute add fd00:1:1::/48 dev cni0\n")?;

        clients.ip(&own(&addresses(&sources()), "lo"))?;
        let mut commands = String::from("route add default dev eth0\n");
        for (name, number) in INTERFACES.iter().zip(1..) {
            commands += &format!(
                "route add table {number} default dev {name}\nrule add pref 1 iif {name} lookup local\n\
                 rule add pref 2 fwmark {number} lookup {number}\n"
            );
        }
        run(&clients, &(commands + "rule del pref 0\n"))?;
        servers.ip(&own(&addresses(&destinations()), "lo"))?;
        run(
            &servers,
            "route add default dev eth0\nrule add pref 1 iif eth0 lookup local\nrule del pref 0\n",
        )?;
        for side in [&clients, &servers] {
            side.sysctl("net/ipv4/conf/all/accept_local", "1")?;
        }

        let ports = [&PORTS[..], &[TARGET]].concat();
        let responders = [
            Responder::start(&servers, &addresses(&destinations()), &ports, 0)?,
            Responder::start(&node, &addresses(&of_node()), &ports, 0)?,
        ];
        Ok(Self {
            node,
            clients,
            _servers: servers,
            _responders: responders,
            bound: false,
            rules: Rules::default(),
            remembers: false,
            next_port: Cell::new(10_000),
        })
    }

    /// Compiles a cluster, writes its ruleset to the kernel, and returns the ruleset read back.
    pub fn apply(&mut self, cluster: &Cluster) -> Result<Rules, String> {
        let extra = Place::External(1);
        let bound = cluster.host.contains(&extra.address(Family::Ip));
        if bound != self.bound {
            let commands = own(&addresses(&[extra]), "lo");
            let commands = if bound { commands } else { commands.replace("addr add", "addr del") };
            self.node.ip(&commands).map_err(text)?;
            self.bound = bound;
        }
        let table = cluster.config.table.clone();
        let desired = cluster.compile();
        let before = std::mem::take(&mut self.rules);
        // The agent remembers clients over any change; here each cluster must start without remembered clients.
        let steps =
            if self.remembers { vec![Rules::default(), desired.clone()] } else { vec![desired.clone()] };
        self.remembers = cluster.services.iter().any(|service| service.affinity_timeout.is_some());
        let wanted = desired.clone();
        let rules = self.node.enter(move || {
            let mut kernel = Kernel::open().map_err(text)?;
            let mut from = before;
            for to in steps {
                kernel.commit(&diff(&table, &from, &to)).map_err(text)?;
                from = to;
            }
            kernel.read(&table, &mut Expecting(&wanted)).map_err(text)
        })?;
        self.rules = rules.clone();
        // The simulator gets the compiler's ruleset as read from the kernel.
        if rules == desired {
            Ok(rules)
        } else {
            Err("the kernel holds other rules than were compiled".into())
        }
    }

    /// Returns a probe for the packet, with an unused source port, if a host here can send it.
    pub fn probe(&self, cluster: &Cluster, packet: Packet) -> Option<Probe> {
        let is_own = cluster.host.contains(&packet.source);
        let client = match &packet.input {
            Input::Local if is_own => Client::new(&self.node).marked(OWN_PROBE),
            Input::Interface(name) if !is_own && addresses(&sources()).contains(&packet.source) => {
                let number = INTERFACES.iter().position(|other| *other == &**name)?;
                Client::new(&self.clients).marked(number as u32 + 1)
            }
            // No host has that address, or the kernel drops packets from it.
            _ => return None,
        };
        let answers = addresses(&destinations());
        if !answers.contains(&packet.destination) && !cluster.host.contains(&packet.destination) {
            return None;
        }
        Probe::new(client, Packet { source_port: self.port(), ..packet })
    }

    /// Returns the same probe from another port.
    pub fn again(&self, probe: &Probe) -> Probe {
        probe.with_port(self.port())
    }

    fn port(&self) -> u16 {
        // Above the servers' ports.
        let port = self.next_port.get();
        self.next_port.set(if port == u16::MAX { 31_000 } else { port + 1 });
        if PORTS.contains(&port) { self.port() } else { port }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
