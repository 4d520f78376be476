//! Services and their ports.

use std::{net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::ObjectName;

crate::named! {
    /// Transport protocol of a port (`spec.ports[].protocol`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
    pub enum Protocol {
        /// TCP, IP protocol number 6.
        Tcp = "tcp",
        /// UDP, IP protocol number 17.
        Udp = "udp",
        /// SCTP, IP protocol number 132.
        Sctp = "sctp",
    }
}

impl Protocol {
    /// The IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// Returns the protocol with this IP protocol number, if a Service can use it.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.number() == number)
    }
}

crate::named! {
    /// Which endpoints a frontend of a Service may lead to (`internalTrafficPolicy`, `externalTrafficPolicy`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
    pub enum TrafficPolicy {
        /// Every endpoint.
        #[default]
        Cluster = "Cluster",
        /// Only endpoints on this node.
        Local = "Local",
    }
}

crate::named! {
    /// How an endpoint is chosen for a new connection (annotation `portolan.io/load-balancing`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
    pub enum LoadBalancing {
        /// Each with equal probability, or in proportion to its weight.
        #[default]
        Random = "random",
        /// By the client's address; every node chooses the same endpoint.
        SourceHash = "source-hash",
    }
}

crate::named! {
    /// `spec.type` of a Service that a proxy handles. The type itself does not affect the rules, only the fields
    /// that come with it do.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
    pub enum ServiceType {
        /// `ClusterIP`.
        #[default]
        ClusterIp = "ClusterIP",
        /// `NodePort`.
        NodePort = "NodePort",
        /// `LoadBalancer`.
        LoadBalancer = "LoadBalancer",
    }
}

/// A Service that a proxy handles: it has a `ClusterIP`, is not `ExternalName`, and is not marked for
/// another proxy (`service.kubernetes.io/service-proxy-name`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.creationTimestamp` in seconds since the epoch; decides which Service owns a contested frontend.
    pub created: Option<i64>,
    /// `spec.type`.
    pub service_type: ServiceType,
    /// `spec.clusterIPs`, at most one per family. Without a ClusterIP of a family, the Service has no frontends in
    /// that family.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip` whose `ipMode` is unset or `VIP`.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.loadBalancerSourceRanges`; empty means no filter.
    pub source_ranges: Vec<IpNetwork>,
    /// `spec.internalTrafficPolicy`.
    pub internal_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`.
    pub external_policy: TrafficPolicy,
    /// `spec.sessionAffinityConfig.clientIP.timeoutSeconds` in seconds, if `sessionAffinity` is `ClientIP`.
    pub affinity_timeout: Option<u32>,
    /// Annotation `portolan.io/load-balancing`.
    pub load_balancing: LoadBalancing,
    /// `spec.healthCheckNodePort` of a load balancer under `externalTrafficPolicy: Local`: the port at which the
    /// node reports whether it has endpoints.
    pub health_check_node_port: Option<u16>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
}

impl Service {
    /// Returns a Service of type `ClusterIP` with these addresses and ports, and defaults for all other fields.
    pub fn cluster_ip(name: ObjectName, cluster_ips: Vec<IpAddr>, ports: Vec<ServicePort>) -> Self {
        Self { name, cluster_ips, ports, ..Self::default() }
    }
}

/// One entry of `spec.ports`. Its `targetPort` is absent: the `EndpointSlice` carries the resolved number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct ServicePort {
    /// `name`, empty for the only port of a Service.
    pub name: Arc<str>,
    /// `protocol`.
    pub protocol: Protocol,
    /// `port`, 1 to 65535.
    pub port: u16,
    /// `nodePort`, if one is allocated.
    pub node_port: Option<u16>,
}
