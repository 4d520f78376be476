//! The node ports that the reconciler sends to the proxy.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use portolan_rules::{
    model::{Protocol, Service},
    ruleset::Family,
    state::State,
};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::tracked::{Change, Tracked};

/// A node port to be served on the loopback address of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocalPort {
    pub family: Family,
    pub port: u16,
    /// The same port of the Service at its ClusterIP.
    pub cluster_ip: SocketAddr,
}

/// The reconciler's end. Never blocks. The default discards everything.
#[derive(Debug, Default)]
pub struct LocalhostPorts {
    families: Vec<Family>,
    ports: Tracked<Vec<LocalPort>>,
}

impl LocalhostPorts {
    /// Both ends. The reconciler sends the node ports of Services, and the addresses of the node that answer node
    /// ports.
    pub(super) fn new(families: Vec<Family>) -> (Self, UnboundedReceiver<Change<Vec<LocalPort>>>) {
        let (ports, changes) = Tracked::new();
        (Self { families, ports }, changes)
    }

    /// Notes which Services are about to be compiled. Must be called before they are compiled: the compiler takes that
    /// list.
    pub fn note(&mut self, state: &State) {
        self.ports.note(state, |service| !ports(service, &self.families).is_empty());
    }

    /// Sends the proxy the addresses of the node that answer node ports.
    pub fn set_addresses(&mut self, addresses: &BTreeSet<IpAddr>) {
        self.ports.set_addresses(addresses);
    }

    /// Sends the proxy the Services whose node ports changed, now that the kernel has them.
    pub fn update(&mut self, state: &State) {
        self.ports.update(state, false, |entry| {
            let ports = ports(entry.service.as_deref()?, &self.families);
            (!ports.is_empty()).then_some(ports)
        });
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
