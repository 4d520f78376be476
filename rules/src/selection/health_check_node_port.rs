//! The answer of a node at a Service's `healthCheckNodePort`: the number of endpoints that the node has.

use std::{collections::BTreeSet, net::IpAddr};

use super::{SlicesByPort, is_local, merge};
use crate::{
    model::{Endpoint, Node},
    ruleset::Family,
    state::ServiceState,
};

/// The answer for one Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// `spec.healthCheckNodePort`.
    pub port: u16,
    /// Number of addresses of ready endpoints on this node, over all ports of the Service, by family; `None` for a
    /// family without a ClusterIP, which has no frontends.
    pub local_endpoints: [Option<usize>; Family::ALL.len()],
}

/// The health check of a Service; `None` if it has no port for it.
///
/// An endpoint that terminates does not count, although it still serves its connections and, if there is no other
/// endpoint, new ones (KEP-1669): load balancers are to choose other nodes. An endpoint that its weight drains does not
/// count either.
pub fn health_check(state: &ServiceState, node: &Node) -> Option<HealthCheck> {
    let service = state.service.as_deref()?;
    let port = service.health_check_node_port?;
    let counts = |endpoint: &Endpoint| {
        is_local(endpoint, node) && endpoint.ready && !endpoint.terminating && endpoint.weight > 0
    };
    let slices = SlicesByPort::of_service(state);
    let local_endpoints = Family::ALL.map(|family| {
        service.cluster_ips.iter().find(|address| Family::of(**address) == family)?;
        let merged = service.ports.iter().flat_map(|port| merge(&slices, port, family));
        let local = merged.filter(|(_, endpoint)| counts(endpoint));
        Some(local.map(|(address, _)| address.ip()).collect::<BTreeSet<IpAddr>>().len())
    });
    Some(HealthCheck { port, local_endpoints })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        model::{EndpointPort, EndpointSlice, ObjectName, Protocol, Service, ServicePort, TrafficPolicy},
        state::State,
    };

    const HERE: &str = "here";

    fn service(cluster_ips: &[&str], health_check_node_port: Option<u16>) -> Service {
        let port = |name: &str, port| ServicePort {
            name: name.into(),
            protocol: Protocol::Tcp,
            port,
            node_port: None,
        };
        let cluster_ips = cluster_ips.iter().map(|ip| ip.parse().unwrap()).collect();
        let ports = vec![port("http", 80), port("https", 443)];
        Service {
            external_policy: TrafficPolicy::Local,
            health_check_node_port,
            ..Service::cluster_ip(ObjectName::new("default", "web"), cluster_ips, ports)
        }
    }

    fn endpoint(address: &str, node: &str) -> Endpoint {
        Endpoint { node: Some(node.into()), ..Endpoint::ready(address.parse().unwrap()) }
    }

    fn checked(service: Service, endpoints: &[Endpoint]) -> Option<HealthCheck> {
        let node = Node { name: HERE.into(), ..Node::default() };
        let name = service.name.clone();
        let mut state = State::new(node.clone());
        state.set_service(&name, Some(Arc::new(service)));
        let port = |name: &str, port| EndpointPort { name: name.into(), protocol: Protocol::Tcp, port };
        let slice = EndpointSlice {
            name: ObjectName::new("default", "web-1"),
            service: "web".into(),
            ports: vec![port("http", 8080), port("https", 8443)],
            endpoints: endpoints.to_vec(),
        };
        state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
        health_check(state.get(&name).unwrap(), &node)
    }

    /// Of IPv4.
    fn count(endpoints: &[Endpoint]) -> usize {
        let check = checked(service(&["10.96.0.1", "fd00::1"], Some(32_000)), endpoints).unwrap();
        check.local_endpoints[Family::Ip as usize].unwrap()
    }

    #[test]
    fn an_address_counts_once_whatever_its_ports() {
        assert_eq!(count(&[endpoint("10.0.0.1", HERE), endpoint("10.0.0.2", HERE)]), 2);
        assert_eq!(count(&[endpoint("10.0.0.1", HERE), endpoint("10.0.0.1", HERE)]), 1);
    }

    #[test]
    fn what_is_elsewhere_terminates_is_not_ready_or_drained_does_not_count() {
        let here = || endpoint("10.0.0.1", HERE);
        assert_eq!(count(&[endpoint("10.0.0.1", "there")]), 0);
        assert_eq!(count(&[Endpoint { node: None, ..here() }]), 0);
        assert_eq!(count(&[Endpoint { ready: false, terminating: true, ..here() }]), 0);
        assert_eq!(count(&[Endpoint { terminating: true, ..here() }]), 0, "published although not ready");
        assert_eq!(count(&[Endpoint { ready: false, ..here() }]), 0);
        assert_eq!(count(&[Endpoint { weight: 0, ..here() }]), 0);
        assert_eq!(count(&[here(), endpoint("10.0.0.2", "there")]), 1);
    }

    #[test]
    fn each_family_counts_its_own() {
        let endpoints = [endpoint("10.0.0.1", HERE), endpoint("10.0.0.2", HERE), endpoint("fd00::a", HERE)];
        let count = |cluster_ips: &[&str]| {
            checked(service(cluster_ips, Some(32_000)), &endpoints).unwrap().local_endpoints
        };
        assert_eq!(count(&["10.96.0.1", "fd00::1"]), [Some(2), Some(1)]);
        assert_eq!(count(&["10.96.0.1"]), [Some(2), None]);
    }

    #[test]
    fn without_a_port_there_is_no_check() {
        assert_eq!(checked(service(&["10.96.0.1"], None), &[endpoint("10.0.0.1", HERE)]), None);
    }
}
