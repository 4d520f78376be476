//! Objects of the API from the model, as JSON: what the model keeps of them, in a form that is read back to the same.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use portolan_rules::model;
use serde::Serialize;

use super::{
    address::family,
    annotations::{LOAD_BALANCING, WEIGHTS},
    endpoint_slice::SERVICE_LABEL,
    node::ZONE_LABEL,
};

/// An object of the model, which is serialized as one of the API.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Written<'a> {
    /// A `v1` Service.
    Service(Box<Service<'a>>),
    /// A `discovery.k8s.io/v1` `EndpointSlice`.
    Slice(Slice<'a>),
    /// A `v1` Node.
    Node(Node<'a>),
    /// A `networking.k8s.io/v1` `ServiceCIDR`.
    ServiceCidr(ServiceCidr),
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    api_version: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'static str, &'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_timestamp: Option<String>,
}

impl<'a> Metadata<'a> {
    fn of(name: &'a model::ObjectName) -> Self {
        Self { name: name.name.to_string(), namespace: &name.namespace, ..Self::default() }
    }
}

/// A Service.
#[derive(Clone, Debug, Serialize)]
pub struct Service<'a> {
    #[serde(flatten)]
    kind: Kind,
    metadata: Metadata<'a>,
    spec: ServiceSpec<'a>,
    #[serde(skip_serializing_if = "ServiceStatus::is_empty")]
    status: ServiceStatus,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceSpec<'a> {
    r#type: &'static str,
    #[serde(rename = "clusterIPs")]
    cluster_ips: &'a [IpAddr],
    #[serde(rename = "externalIPs", skip_serializing_if = "<[IpAddr]>::is_empty")]
    external_ips: &'a [IpAddr],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    load_balancer_source_ranges: Vec<String>,
    internal_traffic_policy: &'static str,
    external_traffic_policy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_affinity: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_affinity_config: Option<SessionAffinityConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check_node_port: Option<u16>,
    ports: Vec<ServicePort<'a>>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct SessionAffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: ClientIp,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientIp {
    timeout_seconds: u32,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServicePort<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    protocol: String,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_port: Option<u16>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceStatus {
    load_balancer: LoadBalancer,
}

impl ServiceStatus {
    const fn is_empty(&self) -> bool {
        self.load_balancer.ingress.is_empty()
    }
}

#[derive(Clone, Debug, Serialize)]
struct LoadBalancer {
    ingress: Vec<Ingress>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Ingress {
    ip: IpAddr,
}

/// An `EndpointSlice`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Slice<'a> {
    #[serde(flatten)]
    kind: Kind,
    metadata: Metadata<'a>,
    address_type: &'static str,
    ports: Vec<SlicePort<'a>>,
    endpoints: Vec<Endpoint<'a>>,
}

#[derive(Clone, Debug, Serialize)]
struct SlicePort<'a> {
    name: &'a str,
    protocol: String,
    port: u16,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    addresses: [IpAddr; 1],
    conditions: Conditions,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hints: Option<Hints<'a>>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Conditions {
    ready: bool,
    serving: bool,
    terminating: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Hints<'a> {
    for_zones: Vec<Named<'a>>,
    for_nodes: Vec<Named<'a>>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Named<'a> {
    name: &'a str,
}

/// A Node.
#[derive(Clone, Debug, Serialize)]
pub struct Node<'a> {
    #[serde(flatten)]
    kind: Kind,
    metadata: Metadata<'a>,
    spec: NodeSpec,
    status: NodeStatus,
}

#[derive(Clone, Debug, Serialize)]
struct NodeSpec {
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct NodeStatus {
    addresses: Vec<NodeAddress>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct NodeAddress {
    r#type: &'static str,
    address: IpAddr,
}

/// A `ServiceCIDR`.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceCidr {
    #[serde(flatten)]
    kind: Kind,
    metadata: Metadata<'static>,
    spec: ServiceCidrSpec,
}

#[derive(Clone, Debug, Serialize)]
struct ServiceCidrSpec {
    cidrs: Vec<String>,
}

fn texts(networks: &[IpNetwork]) -> Vec<String> {
    networks.iter().map(ToString::to_string).collect()
}

const fn policy(policy: model::TrafficPolicy) -> &'static str {
    match policy {
        model::TrafficPolicy::Cluster => "Cluster",
        model::TrafficPolicy::Local => "Local",
    }
}

impl<'a> Written<'a> {
    /// A Service.
    pub fn service(service: &'a model::Service) -> Self {
        let mut metadata = Metadata::of(&service.name);
        let created = service.created.and_then(|seconds| Timestamp::from_second(seconds).ok());
        metadata.creation_timestamp = created.map(|created| created.to_string());
        if service.load_balancing == model::LoadBalancing::SourceHash {
            metadata.annotations.insert(LOAD_BALANCING, "source-hash".to_owned());
        }
        let port = |port: &'a model::ServicePort| ServicePort {
            name: &port.name,
            protocol: port.protocol.name().to_ascii_uppercase(),
            port: port.port,
            node_port: port.node_port,
        };
        let affinity = service.affinity_timeout;
        let spec = ServiceSpec {
            r#type: service.service_type.name(),
            cluster_ips: &service.cluster_ips,
            external_ips: &service.external_ips,
            load_balancer_source_ranges: texts(&service.source_ranges),
            internal_traffic_policy: policy(service.internal_policy),
            external_traffic_policy: policy(service.external_policy),
            session_affinity: affinity.map(|_| "ClientIP"),
            session_affinity_config: affinity
                .map(|timeout_seconds| SessionAffinityConfig { client_ip: ClientIp { timeout_seconds } }),
            health_check_node_port: service.health_check_node_port,
            ports: service.ports.iter().map(port).collect(),
        };
        let ingress = service.load_balancer_ips.iter().map(|ip| Ingress { ip: *ip }).collect();
        let status = ServiceStatus { load_balancer: LoadBalancer { ingress } };
        let kind = Kind { api_version: "v1", kind: "Service" };
        Self::Service(Box::new(Service { kind, metadata, spec, status }))
    }

    /// An `EndpointSlice`. One that the agent made of what the kernel held has a name with colons, which get dashes.
    pub fn slice(slice: &'a model::EndpointSlice) -> Self {
        let mut metadata = Metadata::of(&slice.name);
        metadata.name = metadata.name.replace(':', "-");
        metadata.labels.insert(SERVICE_LABEL, &slice.service);
        let weighted = slice.endpoints.iter().filter(|endpoint| endpoint.weight != 1);
        let weights: Vec<String> =
            weighted.map(|endpoint| format!("{}={}", endpoint.address, endpoint.weight)).collect();
        if !weights.is_empty() {
            metadata.annotations.insert(WEIGHTS, weights.join(","));
        }
        let port = |port: &'a model::EndpointPort| SlicePort {
            name: &port.name,
            protocol: port.protocol.name().to_ascii_uppercase(),
            port: port.port,
        };
        let named = |names: &'a [Arc<str>]| names.iter().map(|name| Named { name }).collect();
        let endpoint = |endpoint: &'a model::Endpoint| Endpoint {
            addresses: [endpoint.address],
            conditions: Conditions {
                ready: endpoint.ready,
                serving: endpoint.serving,
                terminating: endpoint.terminating,
            },
            node_name: endpoint.node.as_deref(),
            hints: (endpoint.hints != model::Hints::default()).then(|| Hints {
                for_zones: named(&endpoint.hints.zones),
                for_nodes: named(&endpoint.hints.nodes),
            }),
        };
        Self::Slice(Slice {
            kind: Kind { api_version: "discovery.k8s.io/v1", kind: "EndpointSlice" },
            metadata,
            address_type: slice.endpoints.first().map_or("IPv4", |endpoint| family(endpoint.address)),
            ports: slice.ports.iter().map(port).collect(),
            endpoints: slice.endpoints.iter().map(endpoint).collect(),
        })
    }

    /// A Node.
    pub fn node(node: &'a model::Node) -> Self {
        let mut metadata = Metadata { name: node.name.to_string(), ..Metadata::default() };
        metadata.labels.extend(node.zone.as_deref().map(|zone| (ZONE_LABEL, zone)));
        let address = |address: &IpAddr| {
            let is_external = node.external_addresses.contains(address);
            NodeAddress { r#type: if is_external { "ExternalIP" } else { "InternalIP" }, address: *address }
        };
        Self::Node(Node {
            kind: Kind { api_version: "v1", kind: "Node" },
            metadata,
            spec: NodeSpec { pod_cidrs: texts(&node.pod_cidrs) },
            status: NodeStatus { addresses: node.addresses.iter().map(address).collect() },
        })
    }

    /// The networks of ClusterIPs.
    pub fn service_cidr(networks: &[IpNetwork]) -> Self {
        Self::ServiceCidr(ServiceCidr {
            kind: Kind { api_version: "networking.k8s.io/v1", kind: "ServiceCIDR" },
            metadata: Metadata { name: "all".to_owned(), ..Metadata::default() },
            spec: ServiceCidrSpec { cidrs: texts(networks) },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*, sample::select};

    use super::*;
    use crate::api::{self, Context, Kind, ObjectId};

    fn name() -> impl Strategy<Value = model::ObjectName> {
        ("[a-z]{1,4}", "[a-z]{1,4}").prop_map(|(space, name)| model::ObjectName::new(space, name))
    }

    fn policy() -> impl Strategy<Value = model::TrafficPolicy> {
        select(vec![model::TrafficPolicy::Cluster, model::TrafficPolicy::Local])
    }

    fn protocol() -> impl Strategy<Value = model::Protocol> {
        select(model::Protocol::ALL.to_vec())
    }

    fn address(net: u8) -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (1..250_u8).prop_map(move |last| IpAddr::from([10, net, 0, last])),
            (1..250_u16).prop_map(move |last| IpAddr::from([0xfd00, net.into(), 0, 0, 0, 0, 0, last])),
        ]
    }

    fn distinct<T: PartialEq>(list: Vec<T>) -> Vec<T> {
        let mut all = Vec::new();
        for item in list {
            if !all.contains(&item) {
                all.push(item);
            }
        }
        all
    }

    fn service() -> impl Strategy<Value = model::Service> {
        let port = ("[a-z]{0,3}", protocol(), 1..=u16::MAX, option::of(30_000..32_768_u16)).prop_map(
            |(name, protocol, port, node_port)| model::ServicePort {
                name: name.into(),
                protocol,
                port,
                node_port,
            },
        );
        let addresses = || (address(1), vec(address(2), 0..3), vec(address(3), 0..3));
        let network = select(vec!["10.0.0.0/8", "fd00::/16", "203.0.113.7/32"]);
        let types = select(vec![
            model::ServiceType::ClusterIp,
            model::ServiceType::NodePort,
            model::ServiceType::LoadBalancer,
        ]);
        (
            (name(), option::of(0..2_000_000_000_i64), types, addresses()),
            (vec(network, 0..3), policy(), policy(), option::of(1..=86_400_u32)),
            (any::<bool>(), 1..=u16::MAX, vec(port, 1..4)),
        )
            .prop_map(|(first, second, (hashes, number, mut ports))| {
                let (name, created, service_type, (cluster_ip, external_ips, load_balancer_ips)) = first;
                let (ranges, internal_policy, external_policy, affinity_timeout) = second;
                if ports.len() > 1 {
                    // Each has a name of its own, and a protocol and number.
                    for (number, port) in (0_u16..).zip(&mut ports) {
                        (port.name, port.port) = (format!("p{number}").into(), 80 + number);
                        port.node_port = port.node_port.map(|_| 30_000 + number);
                    }
                }
                let is_balancer = service_type == model::ServiceType::LoadBalancer;
                let is_external = service_type != model::ServiceType::ClusterIp;
                if !is_external {
                    for port in &mut ports {
                        port.node_port = None;
                    }
                }
                let external_ips = distinct(external_ips);
                let counts = is_external || !external_ips.is_empty();
                let external_policy = if counts { external_policy } else { model::TrafficPolicy::Cluster };
                let checks = is_balancer && external_policy == model::TrafficPolicy::Local;
                model::Service {
                    name,
                    created,
                    service_type,
                    cluster_ips: vec![cluster_ip],
                    external_ips,
                    load_balancer_ips: distinct(load_balancer_ips),
                    source_ranges: distinct(ranges).iter().map(|range| range.parse().unwrap()).collect(),
                    internal_policy,
                    external_policy,
                    affinity_timeout,
                    load_balancing: if hashes {
                        model::LoadBalancing::SourceHash
                    } else {
                        model::LoadBalancing::Random
                    },
                    health_check_node_port: checks.then_some(number),
                    ports,
                }
            })
    }

    fn slice() -> impl Strategy<Value = model::EndpointSlice> {
        let names = || vec("[a-z]{1,3}".prop_map(Arc::<str>::from), 0..3);
        let endpoint = move |is_v6: bool| {
            (0..250_u16, any::<(bool, bool, bool)>(), option::of("[a-z]{1,3}"), 0..=100_u16, names(), names())
                .prop_map(move |(last, (ready, serving, terminating), node, weight, zones, nodes)| {
                    model::Endpoint {
                        address: if is_v6 {
                            [0xfd01, 0, 0, 0, 0, 0, 0, last + 1].into()
                        } else {
                            [10, 9, 0, last as u8].into()
                        },
                        ready,
                        serving,
                        terminating,
                        node: node.map(Into::into),
                        // One address has one weight.
                        weight: (weight + last) % 101,
                        hints: model::Hints::new(zones, nodes),
                    }
                })
        };
        let port = ("[a-z]{0,3}", protocol(), 1..=u16::MAX)
            .prop_map(|(name, protocol, port)| model::EndpointPort { name: name.into(), protocol, port });
        let endpoints = any::<bool>().prop_flat_map(move |is_v6| vec(endpoint(is_v6), 0..4));
        (name(), "[a-z]{1,4}", vec(port, 0..3), endpoints).prop_map(
            |(name, service, ports, mut endpoints)| {
                let mut seen = std::collections::BTreeSet::new();
                endpoints.retain(|endpoint| seen.insert(endpoint.address));
                model::EndpointSlice { name, service: service.into(), ports, endpoints }
            },
        )
    }

    fn json(object: &Written<'_>) -> String {
        serde_json::to_string(object).unwrap()
    }

    fn context() -> Context {
        Context::default()
    }

    proptest! {
        #[test]
        fn a_service_is_read_back_as_it_was(service in service()) {
            let text = json(&Written::service(&service));
            let read: api::Service = serde_json::from_str(&text).unwrap();
            let id = ObjectId { kind: Kind::Service, name: service.name.clone() };
            let mut context = context();
            let (back, _) = read.to_model(&id, &mut context).unwrap().unwrap();
            prop_assert_eq!(back, service, "{}", text);
            prop_assert!(context.warnings.is_empty());
        }

        #[test]
        fn a_slice_is_read_back_as_it_was(slice in slice()) {
            let text = json(&Written::slice(&slice));
            let read: api::EndpointSlice = serde_json::from_str(&text).unwrap();
            let id = ObjectId { kind: Kind::EndpointSlice, name: slice.name.clone() };
            prop_assert_eq!(read.to_model(&id, &mut context()).unwrap().unwrap(), slice, "{}", text);
        }

        #[test]
        fn a_node_is_read_back_as_it_was(
            addresses in vec(address(4), 0..3).prop_map(distinct), zone in option::of("[a-z]{1,4}"),
        ) {
            let external_addresses = addresses.last().copied().into_iter().collect();
            let node = model::Node {
                name: "here".into(),
                addresses,
                external_addresses,
                zone: zone.map(Into::into),
                pod_cidrs: vec!["10.1.0.0/16".parse().unwrap()],
            };
            let read: api::Node = serde_json::from_str(&json(&Written::node(&node))).unwrap();
            let id = ObjectId { kind: Kind::Node, name: model::ObjectName::new("", "here") };
            prop_assert_eq!(read.to_model(&id, &mut context()).unwrap(), node);
        }
    }
}
