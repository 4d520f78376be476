//! Services and endpoints as far as a ruleset of the kernel shows them, to explain rules without the agent.
//!
//! Frontends name their Services and ports in comments. Objects that the rules do not depend on, or that were left out,
//! are missing: Pods, and endpoints that are not ready.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::leftovers::{is_on_this_node, owner_in, slices_of};
use crate::{
    frontends::FrontendKey,
    model::{EndpointSlice, ObjectName, Protocol, Service, ServicePort, ServiceType, TrafficPolicy},
    placement::{AdoptedSlots, FrontendSlots},
    plane::{Keys, Pick, SetName, attribute, number_from_value},
    ruleset::{Concat, Family, Ruleset, Table},
};

/// The endpoints of each port of a Service in one family, each with its weight.
type Endpoints = BTreeMap<(ObjectName, Family, Arc<str>, Protocol), BTreeMap<SocketAddr, u16>>;

/// The Services in a ruleset and their slices, on the node of this name.
pub fn read_back(kernel: &Ruleset, node: &Arc<str>) -> (Vec<Service>, Vec<EndpointSlice>) {
    let slots = AdoptedSlots::of(kernel);
    let mut services: BTreeMap<ObjectName, Service> = BTreeMap::new();
    let mut endpoints = Endpoints::new();
    for (family, table) in &kernel.tables {
        let chains = table.class_chains();
        for (key, element) in table.frontends(*family) {
            let Some((class, comment)) = number_from_value(&element.data).zip(element.comment.as_deref())
            else {
                continue;
            };
            let Some((namespace, name)) = owner_in(comment).split_once('/') else { continue };
            let owner = ObjectName::new(namespace, name);
            let port: Arc<str> = comment.split_once(':').map_or("", |(_, port)| port).into();
            let affinity_timeout = match chains.get(&class.0).and_then(|chain| Pick::at_end_of(chain)) {
                Some(Pick::Affinity(timeout)) => Some(timeout),
                _ => None,
            };
            let service = services
                .entry(owner.clone())
                .or_insert_with(|| Service::cluster_ip(owner.clone(), Vec::new(), Vec::new()));
            service.affinity_timeout = service.affinity_timeout.or(affinity_timeout);
            add(service, table, &key, &port);
            let of_port = endpoints.entry((owner, *family, port, key.protocol())).or_default();
            let mut counted: BTreeMap<SocketAddr, u16> = BTreeMap::new();
            for endpoint in slots.get(&key).into_iter().flat_map(FrontendSlots::endpoints) {
                *counted.entry(endpoint).or_default() += 1;
            }
            for (endpoint, weight) in counted {
                let known = of_port.entry(endpoint).or_default();
                *known = weight.max(*known);
            }
        }
    }
    let mut slices = Vec::new();
    for ((owner, family, port, protocol), endpoints) in endpoints {
        let here = |endpoint| is_on_this_node(kernel, family, endpoint).then(|| Arc::clone(node));
        slices.extend(slices_of(&owner, (&port, protocol), endpoints, here));
    }
    (services.into_values().collect(), slices)
}

/// Adds a frontend to a Service.
fn add(service: &mut Service, table: &Table, key: &FrontendKey, port: &Arc<str>) {
    let (protocol, number, node_port) = match *key {
        FrontendKey::Address(address, protocol, number) => {
            let cluster_ips = table.sets.get(SetName::ClusterIps.name());
            let is_cluster_ip =
                cluster_ips.is_some_and(|set| set.elements.contains_key(&Concat::new(&[address.into()])));
            let list = if is_cluster_ip { &mut service.cluster_ips } else { &mut service.load_balancer_ips };
            if !list.contains(&address) {
                list.push(address);
            }
            if !is_cluster_ip {
                service.service_type = ServiceType::LoadBalancer;
            }
            (protocol, number, None)
        }
        FrontendKey::NodePort(_, protocol, number) => {
            if service.service_type == ServiceType::ClusterIp {
                service.service_type = ServiceType::NodePort;
            }
            // Without a frontend at an address, the port's own number is not known.
            (protocol, number, Some(number))
        }
    };
    let attributes = table.sets.get(Keys::of(key).attributes().name());
    if attributes.is_some_and(|set| set.elements.contains_key(&key.slot(attribute::DIRECT))) {
        service.external_policy = TrafficPolicy::Local;
    }
    match service.ports.iter_mut().find(|known| known.name == *port && known.protocol == protocol) {
        Some(known) => known.node_port = node_port.or(known.node_port),
        None => service.ports.push(ServicePort { name: Arc::clone(port), protocol, port: number, node_port }),
    }
}

/// The addresses that answer node ports in a ruleset.
pub fn node_addresses(kernel: &Ruleset) -> BTreeSet<IpAddr> {
    kernel.tables.values().flat_map(Table::node_addresses).collect()
}
