//! Frontends: the addresses and ports that a Service answers.

mod claims;
mod cluster_ips;

use std::net::{IpAddr, SocketAddr};

use foldhash::{HashSet, HashSetExt};

use crate::{
    model::{Protocol, Service, ServicePort},
    ruleset::Family,
};

pub(crate) use self::{
    claims::{Claim, Claimed, Claims, Rank, sort_by_rank},
    cluster_ips::{ClusterIps, NearAddresses},
};

/// What identifies a frontend. Only one Service owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrontendKey {
    /// A destination address, protocol and port.
    Address(IpAddr, Protocol, u16),
    /// A port on the node's own addresses.
    NodePort(Family, Protocol, u16),
}

impl FrontendKey {
    /// The family of the table that holds it.
    pub const fn family(&self) -> Family {
        match self {
            Self::Address(address, ..) => Family::of(*address),
            Self::NodePort(family, ..) => *family,
        }
    }

    /// Its protocol.
    pub const fn protocol(&self) -> Protocol {
        match self {
            Self::Address(_, protocol, _) | Self::NodePort(_, protocol, _) => *protocol,
        }
    }
}

impl std::fmt::Display for FrontendKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address, protocol, port) => {
                write!(f, "{}/{protocol}", SocketAddr::new(*address, *port))
            }
            Self::NodePort(family, protocol, port) => {
                write!(f, "node port {port}/{protocol} ({family})")
            }
        }
    }
}

crate::named! {
    /// What kind of frontend it is: which field of the Service lists it. The earlier ones come first: an address that a
    /// Service lists in several fields is a frontend of the first of these kinds, and of several Services the one that has
    /// it as the first kind owns it (`claims`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum FrontendKind {
        /// The ClusterIP.
        ClusterIp = "ClusterIP",
        /// A load balancer's address.
        LoadBalancer = "LoadBalancer",
        /// An externalIP.
        ExternalIp = "externalIP",
        /// A node port.
        NodePort = "NodePort",
    }
}

impl FrontendKind {
    /// The field of a Service that lists it.
    pub const fn field(self) -> &'static str {
        match self {
            Self::ClusterIp => "spec.clusterIPs",
            Self::LoadBalancer => "status.loadBalancer.ingress",
            Self::ExternalIp => "spec.externalIPs",
            Self::NodePort => "spec.ports[].nodePort",
        }
    }

    /// What it is, in words.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::ClusterIp => "a ClusterIP",
            Self::LoadBalancer => "a load balancer address",
            Self::ExternalIp => "an externalIP",
            Self::NodePort => "a node port",
        }
    }
}

/// All frontends of one ServicePort in one family, each once; none in a family without a ClusterIP.
pub fn frontends_of(
    service: &Service,
    port: &ServicePort,
    family: Family,
) -> Vec<(FrontendKey, FrontendKind)> {
    let of_family = |address: &&IpAddr| Family::of(**address) == family;
    let Some(cluster_ip) = service.cluster_ips.iter().find(of_family) else { return Vec::new() };
    let at = |address: &IpAddr| FrontendKey::Address(*address, port.protocol, port.port);

    let mut all = vec![(at(cluster_ip), FrontendKind::ClusterIp)];
    let load_balancer = service.load_balancer_ips.iter().filter(of_family);
    all.extend(load_balancer.map(|address| (at(address), FrontendKind::LoadBalancer)));
    let external = service.external_ips.iter().filter(of_family);
    all.extend(external.map(|address| (at(address), FrontendKind::ExternalIp)));
    // One address may be listed twice, or be both a load balancer's and an externalIP.
    if all.len() > 1 {
        let mut known = HashSet::with_capacity(all.len());
        all.retain(|(key, _)| known.insert(*key));
    }
    if let Some(node_port) = port.node_port {
        all.push((FrontendKey::NodePort(family, port.protocol, node_port), FrontendKind::NodePort));
    }
    all
}
