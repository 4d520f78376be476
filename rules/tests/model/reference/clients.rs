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

/// Where each client was led to, for each ServicePort: all its frontends share that, other ports do not.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    now_ms: u64,
    known: BTreeMap<Key, Known>,
}

type Key = (ObjectName, Arc<str>, Protocol, IpAddr);

#[derive(Clone, Copy, Debug)]
struct Known {
    endpoint: SocketAddr,
    /// Until then the client is led there.
    until_ms: u64,
    /// Until then it may be: a node may remember clients for an eighth longer.
    at_most_ms: u64,
}

/// What is promised to a client that has been there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recalled {
    /// It is led to this endpoint.
    Surely(SocketAddr),
    /// It may be led to this endpoint, or drawn anew.
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

    /// A connection: whether it is its client's first or not, the time runs from now.
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

    /// Takes note of a change: an endpoint to which its ServicePort leads no longer is forgotten, and so is
    /// everything where there is no session affinity any more.
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
