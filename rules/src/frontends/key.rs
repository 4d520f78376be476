//! The key and the kind of a frontend.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use crate::{model::Protocol, ruleset::Family};

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

impl fmt::Display for FrontendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    /// The kind of a frontend: the field of the Service that lists it. Earlier kinds take precedence: an address that a
    /// Service lists in several fields is a frontend of the first of these kinds, and if several Services list it, the
    /// Service that has it as the earliest kind owns it (`claims`).
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

    /// The kind in words.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::LoadBalancer => "load balancer address",
            Self::ExternalIp => "externalIP",
            Self::NodePort => "node port",
        }
    }
}
