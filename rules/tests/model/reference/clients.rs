//! `sessionAffinity: ClientIP`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use portolan_rules::{
    model::{ObjectName, Protocol, Service, ServicePort},
    ruleset::Family,
    simulate::{Fate, Packet},
};

use super::{
    endpoints::Endpoints,
    frontends::{self, Frontend},
};
use crate::cluster::Cluster;

/// The endpoint of each client, for each ServicePort. All frontends of a ServicePort share it, other ports do not.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    now_ms: u64,
    known: BTreeMap<Key, Known>,
}

type Key = (ObjectName, Arc<str>, Protocol, IpAddr);

#[derive(Clone, Copy, Debug)]
struct Known {
    endpoint: SocketAddr,
    /// Until this time, the client is led to the endpoint.
    until_ms: u64,
    /// Until this time, the client may be led to it: a node may remember clients for an eighth longer.
    at_most_ms: u64,
}

/// What is promised to a client that has connected before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recalled {
    /// It is led to this endpoint.
    Surely(SocketAddr),
    /// It may be led to this endpoint, or to a newly drawn one.
    Perhaps(SocketAddr),
}

fn key(service: &Service, port: &ServicePort, client: IpAddr) -> Key {
    (service.name.clone(), port.name.clone(), port.protocol, client)
}

impl Clients {
    /// The endpoint that a client had at its last connection, if that is not too long ago.
    pub fn endpoint(&self, frontend: &Frontend<'_>, client: IpAddr) -> Option<Recalled> {
        let known = self.known.get(&key(frontend.service, frontend.port, client))?;
        if self.now_ms < known.until_ms {
            Some(Recalled::Surely(known.endpoint))
        } else {
            (self.now_ms < known.at_most_ms).then_some(Recalled::Perhaps(known.endpoint))
        }
    }

    /// Notes a connection: whether it is the client's first or not, the time runs from now.
    pub fn connected(&mut self, cluster: &Cluster, packet: &Packet, fate: Fate) {
        let Some(frontend) = frontends::of(cluster, packet) else { return };
        if let (Some(seconds), Fate::Sent { to, .. }) = (frontend.service.affinity_timeout, fate) {
            let timeout_ms = u64::from(seconds) * 1000;
            let known = Known {
                endpoint: to,
                until_ms: self.now_ms + timeout_ms,
                at_most_ms: self.now_ms + timeout_ms + timeout_ms / 8,
            };
            self.known.insert(key(frontend.service, frontend.port, packet.source), known);
        }
    }

    /// Lets time pass.
    pub fn wait(&mut self, milliseconds: u64) {
        self.now_ms += milliseconds;
    }

    /// Notes a change: forgets endpoints to which their ServicePort no longer leads, and all clients of Services that
    /// no longer have session affinity.
    pub fn changed(&mut self, cluster: &Cluster) {
        self.known.retain(|(name, port_name, protocol, client), known| {
            let service = cluster.services.iter().find(|s| s.name == *name && s.affinity_timeout.is_some());
            let Some(service) = service else { return false };
            let family = Family::of(*client);
            let mut ports = service.ports.iter().filter(|p| p.name == *port_name && p.protocol == *protocol);
            service.cluster_ips.iter().any(|ip| Family::of(*ip) == family)
                && ports.any(|port| {
                    let endpoints = Endpoints::of_port(cluster, service, port, family);
                    endpoints.reachable(service, port, family).contains(&known.endpoint)
                })
        });
    }
}
