//! A Service as Kubernetes writes it.

use serde::{Deserialize, de::MapAccess};

use crate::api::{
    field::{Field, Labels, Parse, objects, structure},
    metadata::Metadata,
    unknown::KnownKeys,
};

objects! {
    /// A Service.
    pub struct Service {
        /// `metadata`.
        pub metadata: Field<Metadata>,
        /// `spec`.
        pub spec: Field<ServiceSpec>,
        /// `status`.
        pub status: Field<ServiceStatus>,
    }
}

/// `spec` of a [`Service`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `type`; `ClusterIP` if absent.
    pub r#type: Field<Box<str>>,
    /// `clusterIP`; `None` for a headless Service.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Field<Box<str>>,
    /// `clusterIPs`; the first equals `clusterIP`.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Field<Vec<Field<Box<str>>>>,
    /// `ipFamilies`: the family of each position of `clusterIPs`.
    pub ip_families: Field<Vec<Field<Box<str>>>>,
    /// `ipFamilyPolicy`.
    pub ip_family_policy: Field<Box<str>>,
    /// `allocateLoadBalancerNodePorts`; true if absent.
    pub allocate_load_balancer_node_ports: Field<bool>,
    /// `externalIPs`.
    #[serde(rename = "externalIPs")]
    pub external_ips: Field<Vec<Field<Box<str>>>>,
    /// `loadBalancerSourceRanges`.
    pub load_balancer_source_ranges: Field<Vec<Field<Box<str>>>>,
    /// `internalTrafficPolicy`; `Cluster` if absent.
    pub internal_traffic_policy: Field<Box<str>>,
    /// `externalTrafficPolicy`; `Cluster` if absent.
    pub external_traffic_policy: Field<Box<str>>,
    /// `sessionAffinity`; `None` if absent.
    pub session_affinity: Field<Box<str>>,
    /// `sessionAffinityConfig`.
    pub session_affinity_config: Field<SessionAffinityConfig>,
    /// `publishNotReadyAddresses`: endpoints derived from Pods are always ready.
    pub publish_not_ready_addresses: Field<bool>,
    /// `selector`: labels of the Pods behind the Service.
    pub selector: Field<Labels>,
    /// `healthCheckNodePort`; allocated for load balancers whose `externalTrafficPolicy` is `Local`.
    pub health_check_node_port: Field<i64>,
    /// `ports`.
    pub ports: Field<Vec<Field<ServicePort>>>,
    /// Keys that the API does not have.
    #[serde(skip)]
    pub unknown: Vec<Box<str>>,
}

objects! {
    /// `spec.sessionAffinityConfig` of a [`Service`].
    pub struct SessionAffinityConfig {
        /// `clientIP`.
        #[serde(rename = "clientIP")]
        pub client_ip: Field<ClientIpConfig>,
    }

    /// `spec.sessionAffinityConfig.clientIP` of a [`Service`].
    pub struct ClientIpConfig {
        /// `timeoutSeconds`; 10800 if absent.
        pub timeout_seconds: Field<i64>,
    }
}

/// One entry of `spec.ports` of a [`Service`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// `name`; empty if absent.
    pub name: Field<Box<str>>,
    /// `protocol`; `TCP` if absent.
    pub protocol: Field<Box<str>>,
    /// `port`.
    pub port: Field<i64>,
    /// `targetPort`; `port` if absent.
    pub target_port: Field<PortOrName>,
    /// `nodePort`.
    pub node_port: Field<i64>,
    /// Keys that the API does not have.
    #[serde(skip)]
    pub unknown: Vec<Box<str>>,
}

/// A port's number or name, as written (`IntOrString`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortOrName {
    /// A number.
    Number(i64),
    /// A name.
    Name(Box<str>),
}

impl Parse<'_> for PortOrName {
    const EXPECTED: &'static str = "a number or a name";

    fn from_integer(number: i64) -> Option<Self> {
        Some(Self::Number(number))
    }

    fn from_text(name: &str) -> Option<Self> {
        Some(Self::Name(name.into()))
    }
}

objects! {
    /// `status` of a [`Service`].
    pub struct ServiceStatus {
        /// `loadBalancer`.
        pub load_balancer: Field<LoadBalancerStatus>,
    }

    /// `status.loadBalancer` of a [`Service`].
    pub struct LoadBalancerStatus {
        /// `ingress`.
        pub ingress: Field<Vec<Field<LoadBalancerIngress>>>,
    }

    /// One entry of `status.loadBalancer.ingress` of a [`Service`].
    pub struct LoadBalancerIngress {
        /// `ip`; absent for a load balancer known by host name only.
        pub ip: Field<Box<str>>,
        /// `ipMode`; `VIP` if absent.
        pub ip_mode: Field<Box<str>>,
    }
}

impl ServiceSpec {
    /// The keys of `spec`, as of Kubernetes 1.37.
    pub(super) const KEYS: [&'static str; 20] = [
        "allocateLoadBalancerNodePorts",
        "clusterIP",
        "clusterIPs",
        "externalIPs",
        "externalName",
        "externalTrafficPolicy",
        "healthCheckNodePort",
        "internalTrafficPolicy",
        "ipFamilies",
        "ipFamilyPolicy",
        "loadBalancerClass",
        "loadBalancerIP",
        "loadBalancerSourceRanges",
        "ports",
        "publishNotReadyAddresses",
        "selector",
        "sessionAffinity",
        "sessionAffinityConfig",
        "trafficDistribution",
        "type",
    ];
}

impl ServicePort {
    /// The keys of an entry of `spec.ports`, as of Kubernetes 1.37.
    pub(super) const KEYS: [&'static str; 6] =
        ["name", "protocol", "appProtocol", "port", "targetPort", "nodePort"];
}

impl<'de> Parse<'de> for ServiceSpec {
    const EXPECTED: &'static str = "a mapping";

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        let mut unknown = Vec::new();
        let spec: Option<Self> = structure(KnownKeys { map, known: &Self::KEYS, unknown: &mut unknown })?;
        Ok(spec.map(|spec| Self { unknown, ..spec }))
    }
}

impl<'de> Parse<'de> for ServicePort {
    const EXPECTED: &'static str = "a mapping";

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        let mut unknown = Vec::new();
        let port: Option<Self> = structure(KnownKeys { map, known: &Self::KEYS, unknown: &mut unknown })?;
        Ok(port.map(|port| Self { unknown, ..port }))
    }
}
