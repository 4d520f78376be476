//! One node, every host that might talk to it, and every host that it might lead to.
//!
//! ```text
//!             eth0 ┐            ┌ srv
//!   clients   cni0 ├──  node  ──┤       servers
//!            veth7 ┘            └
//! ```
//!
//! Both sides own all addresses of the cluster: a pod asks from `clients` and answers in `servers`. So every
//! source can ask for every destination, also a pod for itself, and each packet crosses the node. Neither side
//! delivers to itself what it sends: its table of local addresses is for what arrives. The node leads what
//! comes from `clients`, and what its own probes send, to `servers`, and all else, which is answers, to
//! `clients`.

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

/// A ruleset that the kernel holds.
pub type Rules = Ruleset;

/// Marks what the node's own probes send; bits that are no masquerade bit of the generated clusters.
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
    /// Whether the node's interfaces have the load balancer's address that they have in some clusters.
    bound: bool,
    /// What the kernel holds, and whether it may hold clients' elements of it.
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

/// Where the node listens; the last two only where the cluster says that they are its own.
fn of_node() -> Vec<Place> {
    vec![Place::ThisNode(1), Place::ThisNode(2), Place::External(1)]
}

fn addresses(places: &[Place]) -> Vec<IpAddr> {
    places.iter().flat_map(|place| Family::ALL.map(|family| place.address(family))).collect()
}

/// Commands that add addresses, without a route that what is sent there would follow.
fn own(addresses: &[IpAddr], device: &str) -> String {
    let line = |address: &IpAddr| match address {
        IpAddr::V4(_) => format!("addr add {address}/32 dev {device}\n"),
        IpAddr::V6(_) => format!("addr add {address}/128 dev {device} nodad noprefixroute\n"),
    };
    addresses.iter().map(line).collect()
}

/// The commands, once for each family.
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
    /// Builds it; needs root.
    pub fn new() -> Result<Self, LabError> {
        let [node, clients, servers] = ["node", "clients", "servers"].map(Namespace::new);
        let (node, clients, servers) = (node?, clients?, servers?);
        for (key, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            // Every refusal must be heard.
            ("net/ipv4/icmp_ratemask", "0"),
            ("net/ipv6/icmp/ratelimit", "0"),
        ] {
            node.sysctl(key, value)?;
        }
        // Without ARP, and with one hardware address on both ends, no host has to ask for another's address.
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

    /// Compiles a cluster, makes the kernel's rules those, and gives what the kernel then has.
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
        // The agent keeps clients over any change; here each cluster is to be a world of its own.
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
        // The simulator then reads what the compiler wrote, from the kernel.
        if rules == desired {
            Ok(rules)
        } else {
            Err("the kernel holds other rules than were compiled".into())
        }
    }

    /// The packet as a host here can send it, with a source port not used before.
    pub fn probe(&self, cluster: &Cluster, packet: Packet) -> Option<Probe> {
        let is_own = cluster.host.contains(&packet.source);
        let client = match &packet.input {
            Input::Local if is_own => Client::new(&self.node).marked(OWN_PROBE),
            Input::Interface(name) if !is_own && addresses(&sources()).contains(&packet.source) => {
                let number = INTERFACES.iter().position(|other| *other == &**name)?;
                Client::new(&self.clients).marked(number as u32 + 1)
            }
            // No host has that address, or the kernel drops what comes from it.
            _ => return None,
        };
        let answers = addresses(&destinations());
        if !answers.contains(&packet.destination) && !cluster.host.contains(&packet.destination) {
            return None;
        }
        Probe::new(client, Packet { source_port: self.port(), ..packet })
    }

    /// The same probe from another port.
    pub fn again(&self, probe: &Probe) -> Probe {
        probe.with_port(self.port())
    }

    fn port(&self) -> u16 {
        // Above the ports of servers.
        let port = self.next_port.get();
        self.next_port.set(if port == u16::MAX { 31_000 } else { port + 1 });
        if PORTS.contains(&port) { self.port() } else { port }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
