//! What the Service API promises for a packet, read from the objects themselves.
//!
//! The reference shares nothing with the compiler: no map, no class, no slot. It answers slowly, one packet at a time,
//! by the API's documentation, or by what kube-proxy does where the documentation is silent.

mod clients;
mod endpoints;
mod frontends;

use std::net::SocketAddr;

use portolan_rules::{
    model::{LoadBalancing, Protocol, TrafficPolicy},
    plane::PodDetector,
    ruleset::{Family, RejectWith},
    simulate::{Fate, Input, Packet, Probability},
};

pub use self::clients::Clients;
use self::clients::Recalled;
use self::{
    endpoints::Endpoints,
    frontends::{Frontend, Kind},
};
use crate::cluster::{Answer, Cluster};

/// What the API promises.
#[derive(Clone, Debug)]
pub struct Promise {
    /// What may become of the packet, and how likely it is.
    pub fates: Answer,
    /// How one of these fates is chosen.
    pub choice: LoadBalancing,
    /// Another fate that is allowed instead: a client may be remembered for longer than its Service asks.
    pub or_else: Option<Fate>,
}

impl Promise {
    /// Whether an answer keeps the promise. A hash of the source address chooses one fate, but the promise does not
    /// specify which.
    pub fn is_kept_by(&self, actual: &Answer) -> bool {
        if self.or_else.is_some_and(|fate| certainly(fate).fates == *actual) {
            return true;
        }
        match self.choice {
            LoadBalancing::Random => self.fates == *actual,
            LoadBalancing::SourceHash => {
                actual.len() == 1 && actual.keys().all(|f| self.fates.contains_key(f))
            }
        }
    }
}

/// What becomes of the first packet of a connection while these clients are remembered.
pub fn answer(cluster: &Cluster, clients: &Clients, packet: &Packet) -> Promise {
    if let Some(frontend) = frontends::of(cluster, packet) {
        return answer_frontend(cluster, clients, packet, &frontend);
    }
    // No Service has this port of the ClusterIP. The protocol does not matter: a ping is refused too.
    if frontends::is_cluster_ip(cluster, packet.destination) {
        return refused(packet);
    }
    // A ClusterIP that no Service has.
    if cluster.service_cidrs.iter().any(|network| network.contains(packet.destination)) {
        return certainly(Fate::Dropped);
    }
    certainly(Fate::Untouched { masqueraded: false })
}

fn answer_frontend(
    cluster: &Cluster,
    clients: &Clients,
    packet: &Packet,
    frontend: &Frontend<'_>,
) -> Promise {
    let service = frontend.service;
    if frontend.kind == Kind::LoadBalancer && !frontends::admits(cluster, service, packet.source) {
        return certainly(Fate::Dropped);
    }
    let endpoints = Endpoints::of(cluster, frontend, Family::of(packet.destination));
    if endpoints.cluster().is_empty() {
        return refused(packet);
    }
    let from_pod = is_from_pod(cluster, packet);
    let from_this_node = is_local(cluster, packet.source);
    let (eligible, masquerade) = match (frontend.kind, service.internal_policy, service.external_policy) {
        (Kind::ClusterIp, internal, _) => {
            let masquerade = cluster.config.masquerade_all || from_pod == Some(false);
            match internal {
                TrafficPolicy::Cluster => (endpoints.cluster(), masquerade),
                TrafficPolicy::Local => (endpoints.local(), masquerade),
            }
        }
        (_, _, TrafficPolicy::Cluster) => (endpoints.cluster(), true),
        // Policy Local does not apply to Pods and the node itself: they are served as if they had used the ClusterIP.
        (_, _, TrafficPolicy::Local) if from_pod == Some(true) => (endpoints.cluster(), false),
        (_, _, TrafficPolicy::Local) if from_this_node => (endpoints.cluster(), true),
        (_, _, TrafficPolicy::Local) => (endpoints.local(), false),
    };
    if eligible.is_empty() {
        return certainly(Fate::Dropped);
    }
    let fate = |to: SocketAddr| {
        // A packet that arrives for an endpoint with this node's own address does not leave the node again, and only
        // packets that leave are masqueraded.
        let leaves = packet.input == Input::Local || !is_local(cluster, to.ip());
        let masqueraded = leaves && (masquerade || is_hairpin(cluster, packet, to));
        Fate::Sent { to, masqueraded }
    };
    let or_else = match clients.endpoint(frontend, packet.source) {
        Some(Recalled::Surely(known)) if eligible.contains(&known) => return certainly(fate(known)),
        Some(Recalled::Perhaps(known)) if eligible.contains(&known) => Some(fate(known)),
        _ => None,
    };
    let weight = |to: &SocketAddr| u64::from(endpoints.weight(to));
    let total = eligible.iter().map(weight).sum();
    let fates = eligible.iter().map(|to| (fate(*to), Probability::new(weight(to), total))).collect();
    Promise { fates, choice: service.load_balancing, or_else }
}

/// Whether an endpoint gets its own packet back. It would answer itself directly, past the node, so the source must
/// change. A packet that is already addressed to the endpoint is not the proxy's concern.
fn is_hairpin(cluster: &Cluster, packet: &Packet, to: SocketAddr) -> bool {
    packet.source == to.ip()
        && SocketAddr::new(packet.destination, packet.destination_port) != to
        && endpoints::runs_here(cluster, to.ip())
}

/// Whether the packet comes from a pod; `None` if that cannot be known.
fn is_from_pod(cluster: &Cluster, packet: &Packet) -> Option<bool> {
    match &cluster.config.pods {
        PodDetector::None => None,
        PodDetector::Networks(networks) => {
            let of_family = networks.iter().find(|network| network.is_ipv4() == packet.source.is_ipv4());
            of_family.map(|network| network.contains(packet.source))
        }
        PodDetector::Interface { name, prefix } => Some(match &packet.input {
            Input::Local => false,
            Input::Interface(interface) if *prefix => interface.starts_with(&**name),
            Input::Interface(interface) => interface == name,
        }),
    }
}

fn is_local(cluster: &Cluster, address: std::net::IpAddr) -> bool {
    address.is_loopback() || cluster.host.contains(&address)
}

fn refused(packet: &Packet) -> Promise {
    let tcp = packet.protocol == Protocol::Tcp.number();
    certainly(Fate::Rejected(if tcp { RejectWith::TcpReset } else { RejectWith::PortUnreachable }))
}

fn certainly(fate: Fate) -> Promise {
    let fates = Answer::from([(fate, Probability::new(1, 1))]);
    Promise { fates, choice: LoadBalancing::Random, or_else: None }
}
