//! Writes the model as objects of the API. They hold what the model keeps, and are read back to the same model.

use std::{net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1 as core,
        discovery::v1 as discovery,
        networking::v1::{ServiceCIDR, ServiceCIDRSpec},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use portolan_rules::model;

use super::{
    address::family,
    annotations::{LOAD_BALANCING, WEIGHTS},
    metadata::Label,
};

/// A `v1` Service.
pub fn service(service: &model::Service) -> core::Service {
    let port = |port: &model::ServicePort| core::ServicePort {
        name: Some(port.name.to_string()).filter(|name| !name.is_empty()),
        protocol: Some(protocol(port.protocol)),
        port: port.port.into(),
        node_port: port.node_port.map(Into::into),
        ..Default::default()
    };
    let affinity = service.affinity_timeout.map(|timeout| core::SessionAffinityConfig {
        client_ip: Some(core::ClientIPConfig { timeout_seconds: i32::try_from(timeout).ok() }),
    });
    let ingress = |ip: &IpAddr| core::LoadBalancerIngress { ip: Some(ip.to_string()), ..Default::default() };
    let ingress = list(&service.load_balancer_ips, ingress);
    let status = ingress.map(|ingress| core::ServiceStatus {
        load_balancer: Some(core::LoadBalancerStatus { ingress: Some(ingress) }),
        ..Default::default()
    });
    let created = service.created.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let is_random = service.load_balancing == model::LoadBalancing::Random;
    let annotation = (LOAD_BALANCING.to_owned(), service.load_balancing.to_string());
    core::Service {
        metadata: ObjectMeta {
            annotations: (!is_random).then(|| [annotation].into()),
            creation_timestamp: created.map(Time),
            ..metadata(&service.name)
        },
        spec: Some(core::ServiceSpec {
            type_: Some(service.service_type.name().to_owned()),
            cluster_ips: list(&service.cluster_ips, ToString::to_string),
            external_ips: list(&service.external_ips, ToString::to_string),
            load_balancer_source_ranges: list(&service.source_ranges, ToString::to_string),
            internal_traffic_policy: Some(service.internal_policy.to_string()),
            external_traffic_policy: Some(service.external_policy.to_string()),
            session_affinity: affinity.as_ref().map(|_| "ClientIP".to_owned()),
            session_affinity_config: affinity,
            health_check_node_port: service.health_check_node_port.map(Into::into),
            ports: list(&service.ports, port),
            ..Default::default()
        }),
        status,
    }
}

/// A `discovery.k8s.io/v1` `EndpointSlice`. A slice that the agent made from the contents of the kernel has a name with
/// colons, which are replaced with dashes.
pub fn slice(slice: &model::EndpointSlice) -> discovery::EndpointSlice {
    let port = |port: &model::EndpointPort| discovery::EndpointPort {
        name: Some(port.name.to_string()),
        protocol: Some(protocol(port.protocol)),
        port: Some(port.port.into()),
        ..Default::default()
    };
    let zone = |name: &Arc<str>| discovery::ForZone { name: name.to_string() };
    let node = |name: &Arc<str>| discovery::ForNode { name: name.to_string() };
    let endpoint = |endpoint: &model::Endpoint| discovery::Endpoint {
        addresses: vec![endpoint.address.to_string()],
        conditions: Some(discovery::EndpointConditions {
            ready: Some(endpoint.ready),
            serving: Some(endpoint.serving),
            terminating: Some(endpoint.terminating),
        }),
        node_name: endpoint.node.as_deref().map(str::to_owned),
        hints: (endpoint.hints != model::Hints::default()).then(|| discovery::EndpointHints {
            for_zones: list(&endpoint.hints.zones, zone),
            for_nodes: list(&endpoint.hints.nodes, node),
        }),
        ..Default::default()
    };
    let weighted = slice.endpoints.iter().filter(|endpoint| endpoint.weight != 1);
    let weights: Vec<String> =
        weighted.map(|endpoint| format!("{}={}", endpoint.address, endpoint.weight)).collect();
    discovery::EndpointSlice {
        metadata: ObjectMeta {
            name: Some(slice.name.name.replace(':', "-")),
            labels: Some([(Label::Service.to_string(), slice.service.to_string())].into()),
            annotations: (!weights.is_empty()).then(|| [(WEIGHTS.to_owned(), weights.join(","))].into()),
            ..metadata(&slice.name)
        },
        address_type: slice.endpoints.first().map_or("IPv4", |endpoint| family(endpoint.address)).to_owned(),
        ports: list(&slice.ports, port),
        endpoints: slice.endpoints.iter().map(endpoint).collect(),
    }
}

/// A `v1` Node.
pub fn node(node: &model::Node) -> core::Node {
    let address = |address: &IpAddr| {
        let is_external = node.external_addresses.contains(address);
        let type_ = if is_external { "ExternalIP" } else { "InternalIP" }.to_owned();
        core::NodeAddress { type_, address: address.to_string() }
    };
    let zone = node.zone.as_deref().map(|zone| [(Label::Zone.to_string(), zone.to_owned())].into());
    core::Node {
        metadata: ObjectMeta { name: Some(node.name.to_string()), labels: zone, ..Default::default() },
        spec: Some(core::NodeSpec {
            pod_cidrs: list(&node.pod_cidrs, ToString::to_string),
            ..Default::default()
        }),
        status: Some(core::NodeStatus { addresses: list(&node.addresses, address), ..Default::default() }),
    }
}

/// A `networking.k8s.io/v1` `ServiceCIDR` with the networks of ClusterIPs.
pub fn service_cidr(networks: &[IpNetwork]) -> ServiceCIDR {
    ServiceCIDR {
        metadata: ObjectMeta { name: Some("all".to_owned()), ..Default::default() },
        spec: Some(ServiceCIDRSpec { cidrs: list(networks, ToString::to_string) }),
        status: None,
    }
}

fn metadata(name: &model::ObjectName) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.name.to_string()),
        namespace: Some(name.namespace.to_string()),
        ..Default::default()
    }
}

/// A list, which is left out if it is empty.
fn list<T, U>(list: &[T], convert: impl FnMut(&T) -> U) -> Option<Vec<U>> {
    (!list.is_empty()).then(|| list.iter().map(convert).collect())
}

fn protocol(protocol: model::Protocol) -> String {
    protocol.name().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*, sample::select};
    use serde::Serialize;

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
                    // Each port needs its own name, and its own protocol and number.
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

    fn json(object: &impl Serialize) -> String {
        serde_json::to_string(object).unwrap()
    }

    fn context() -> Context {
        Context::default()
    }

    proptest! {
        #[test]
        fn a_service_is_read_back_as_it_was(service in service()) {
            let text = json(&super::service(&service));
            let read: api::Service = serde_json::from_str(&text).unwrap();
            let id = ObjectId { kind: Kind::Service, name: service.name.clone() };
            let mut context = context();
            let (back, _) = read.to_model(&id, &mut context).unwrap().unwrap();
            prop_assert_eq!(back, service, "{}", text);
            prop_assert!(context.warnings.is_empty());
        }

        #[test]
        fn a_slice_is_read_back_as_it_was(slice in slice()) {
            let text = json(&super::slice(&slice));
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
            let read: api::Node = serde_json::from_str(&json(&super::node(&node))).unwrap();
            let id = ObjectId { kind: Kind::Node, name: model::ObjectName::new("", "here") };
            prop_assert_eq!(read.to_model(&id, &mut context()).unwrap(), node);
        }
    }
}
