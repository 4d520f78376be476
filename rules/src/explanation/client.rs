//! Where connections come from, and what becomes of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::explained::View;
use crate::{
    frontends::FrontendKey,
    model::{ObjectName, Protocol},
    plane::PodDetector,
    ruleset::Family,
    selection::node_port_addresses::localhost,
    simulate::{Input, Memory, Outcome, Packet, simulate},
};

/// Maximum number of endpoints for which a second connection is tried: what holds for these holds for all.
const TRIED: usize = 100;

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Pod on this node whose address is not known.
    Pod,
    /// This node.
    Node,
    /// Outside of the cluster.
    Outside,
    /// At this address, beyond an interface of this node.
    Address(IpAddr),
}

impl View<'_> {
    /// What becomes of a connection to a frontend.
    pub fn connect(&self, origin: Origin, key: &FrontendKey) -> Option<Outcome> {
        Some(self.meet(&self.packet_to(origin, key)?, &Memory::default()))
    }

    /// The first packet of a connection to a frontend. `None` if no address of this node answers its node port.
    pub fn packet_to(&self, origin: Origin, key: &FrontendKey) -> Option<Packet> {
        let (destination, port) = match *key {
            FrontendKey::Address(address, _, port) => (address, port),
            FrontendKey::NodePort(family, _, port) => (self.node_address(family)?, port),
        };
        Some(self.packet(origin, SocketAddr::new(destination, port), key.protocol().number()))
    }

    /// The first packet of a connection.
    pub fn packet(&self, origin: Origin, to: SocketAddr, protocol: u8) -> Packet {
        let (source, input) = self.source(origin, Family::of(to.ip()));
        Packet {
            source,
            destination: to.ip(),
            protocol,
            source_port: 40_000,
            destination_port: to.port(),
            input,
        }
    }

    /// What becomes of a packet while these clients are remembered.
    pub fn meet(&self, packet: &Packet, memory: &Memory) -> Outcome {
        simulate(self.ruleset(), self.host, packet, memory)
    }

    /// Whether a second connection of a client reaches the endpoint that the first one reached, whichever that is.
    pub fn keeps_endpoint(&self, packet: &Packet, memory: &Memory, first: &Outcome) -> bool {
        let tried = first.cases.iter().take(TRIED);
        !first.written().is_empty()
            && tried.into_iter().all(|case| {
                let mut memory = memory.clone();
                memory.remember(case);
                self.meet(packet, &memory).only_fate() == Some(case.fate)
            })
    }

    /// The frontend that answers at an address, and its Service. A node port answers at each address for node ports.
    pub fn owner_at(&self, at: SocketAddr, protocol: Protocol) -> Option<(FrontendKey, &ObjectName)> {
        let family = Family::of(at.ip());
        let address = FrontendKey::Address(at.ip(), protocol, at.port());
        let with_owner = |key| Some((key, self.compiler.owner_of(&key)?));
        with_owner(address).or_else(|| {
            let is_here = self.compiler.has_node_port_address(at.ip());
            with_owner(FrontendKey::NodePort(family, protocol, at.port())).filter(|_| is_here)
        })
    }

    /// The first address of this node that answers node ports.
    pub fn node_address(&self, family: Family) -> Option<IpAddr> {
        self.compiler.node_port_addresses(family).into_iter().next()
    }

    /// Where a client's packets come from: address and interface.
    fn source(&self, origin: Origin, family: Family) -> (IpAddr, Input) {
        let outside = match family {
            Family::Ip => Ipv4Addr::new(203, 0, 113, 10).into(),
            Family::Ip6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10).into(),
        };
        let of_family = |address: &&IpAddr| Family::of(**address) == family;
        let own = || self.host.local_addresses.iter().find(of_family).copied();
        match origin {
            Origin::Address(address) => (address, self.input(address)),
            Origin::Outside => (outside, Input::Interface("eth0".into())),
            Origin::Node => (own().unwrap_or(localhost(family)), Input::Local),
            Origin::Pod => match &self.compiler.config().pods {
                PodDetector::Networks(networks) => {
                    let network = networks.iter().find(|network| Family::of(network.ip()) == family);
                    let nth = |network: &ipnetwork::IpNetwork| network.iter().nth(250.min(usable(network)));
                    (network.and_then(nth).unwrap_or(outside), Input::Interface("veth0".into()))
                }
                PodDetector::Interface { name, .. } => (outside, Input::Interface(name.clone())),
                PodDetector::None => (outside, Input::Interface("veth0".into())),
            },
        }
    }

    /// Where packets with this source come from. Packets from an address of this node are sent by it; packets from a
    /// Pod on this node arrive at an interface by which Pods are recognised.
    fn input(&self, address: IpAddr) -> Input {
        if self.host.is_local(address) {
            return Input::Local;
        }
        match &self.compiler.config().pods {
            PodDetector::Interface { name, .. } if self.is_pod_here(address) => {
                Input::Interface(name.clone())
            }
            _ => Input::Interface("eth0".into()),
        }
    }

    /// Whether an address is that of a Pod on this node, according to the Pods or the node's `podCIDRs`.
    fn is_pod_here(&self, address: IpAddr) -> bool {
        let node = self.state.node();
        self.workloads.is_on_node(address, &node.name)
            || node.pod_cidrs.iter().any(|network| network.contains(address))
    }
}

/// The number of the last host in a network, at most 250.
fn usable(network: &ipnetwork::IpNetwork) -> usize {
    let bits = (if network.is_ipv4() { 32 } else { 128 }) - u32::from(network.prefix());
    if bits >= 8 { 250 } else { (1_usize << bits) - 1 }
}
