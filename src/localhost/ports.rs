//! Which node ports there are: what the reconciler sends to the proxy.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use portolan_rules::{
    model::{ObjectName, Protocol, Service},
    ruleset::Family,
    state::State,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::tracked::Tracked;

/// A node port to be served on the loopback address of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocalPort {
    pub family: Family,
    pub port: u16,
    /// The same port of the Service at its ClusterIP.
    pub cluster_ip: SocketAddr,
}

/// A change of what the proxy serves.
#[derive(Debug)]
pub(super) enum Change {
    /// These Services have these node ports from now on, or, with `None`, none.
    Services(Vec<(ObjectName, Option<Vec<LocalPort>>)>),
    /// Node ports answer on these addresses of the node.
    Addresses(BTreeSet<IpAddr>),
}

/// The reconciler's end. It remembers what it sent to the proxy, and sends what differs. Never blocks. The default
/// discards everything.
#[derive(Debug, Default)]
pub struct LocalhostPorts {
    proxy: Option<UnboundedSender<Change>>,
    families: Vec<Family>,
    ports: Tracked<Vec<LocalPort>>,
    addresses: BTreeSet<IpAddr>,
}

impl LocalhostPorts {
    /// Both ends.
    pub(super) fn new(families: Vec<Family>) -> (Self, UnboundedReceiver<Change>) {
        let (proxy, changes) = unbounded_channel();
        (Self { proxy: Some(proxy), families, ..Self::default() }, changes)
    }

    /// Notes which Services are about to be compiled. To be called before they are: the compiler takes that list.
    pub fn note(&mut self, state: &State) {
        if self.proxy.is_some() {
            self.ports.note(state, |service| !ports(service, &self.families).is_empty());
        }
    }

    /// Sends the proxy the addresses of the node that answer node ports.
    pub fn set_addresses(&mut self, addresses: &BTreeSet<IpAddr>) {
        if self.addresses != *addresses {
            self.addresses.clone_from(addresses);
            self.send(Change::Addresses(addresses.clone()));
        }
    }

    /// Sends the proxy the Services whose node ports changed, now that the kernel has them.
    pub fn update(&mut self, state: &State) {
        let families = &self.families;
        let changes = self.ports.changes(state, |entry| {
            let ports = ports(entry.service.as_deref()?, families);
            (!ports.is_empty()).then_some(ports)
        });
        if !changes.is_empty() {
            self.send(Change::Services(changes));
        }
    }

    fn send(&self, change: Change) {
        if let Some(proxy) = &self.proxy {
            // Without the proxy the process is about to end.
            let _ = proxy.send(change);
        }
    }
}

/// The node ports of a Service for TCP.
fn ports(service: &Service, families: &[Family]) -> Vec<LocalPort> {
    let mut ports = Vec::new();
    for family in families {
        let Some(ip) = service.cluster_ips.iter().find(|ip| Family::of(**ip) == *family) else { continue };
        for port in service.ports.iter().filter(|port| port.protocol == Protocol::Tcp) {
            let cluster_ip = SocketAddr::new(*ip, port.port);
            ports.extend(port.node_port.map(|port| LocalPort { family: *family, port, cluster_ip }));
        }
    }
    ports
}
