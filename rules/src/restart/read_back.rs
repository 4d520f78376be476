//! Services and endpoints as far as a ruleset of the kernel shows them: what can be explained without the agent.
//!
//! Frontends name their Services and ports in comments. What rules do not depend on is not there, and neither is what was
//! left out: Pods, endpoints that are not ready.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use super::leftovers::{is_on_this_node, owner_in, slices_of};
use crate::{
    frontends::FrontendKey,
    model::{EndpointSlice, ObjectName, Protocol, Service, ServicePort, ServiceType, TrafficPolicy},
    placement::{AdoptedSlots, FrontendSlots},
    plane::{Keys, Pick, SetName, attribute, number_from_value},
    ruleset::{Concat, Element, ElementData, Family, Ruleset, Table},
};

/// The endpoints of each port of a Service in one family, each with its weight.
type Endpoints = BTreeMap<(ObjectName, Family, Arc<str>, Protocol), BTreeMap<SocketAddr, u16>>;

/// The Services in a ruleset and their slices, on the node of this name.
pub fn read_back(kernel: &Ruleset, node: &Arc<str>) -> (Vec<Service>, Vec<EndpointSlice>) {
    let slots = AdoptedSlots::of(kernel);
    let mut services: BTreeMap<ObjectName, Service> = BTreeMap::new();
    let mut endpoints = Endpoints::new();
    for (family, table) in &kernel.tables {
        for frontend in frontends(*family, table) {
            let FoundFrontend { key, owner, port, affinity_timeout } = frontend;
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

struct FoundFrontend {
    key: FrontendKey,
    owner: ObjectName,
    /// The name of the port.
    port: Arc<str>,
    affinity_timeout: Option<u32>,
}

/// The timeout of session affinity of each class that has it, by the class's number.
fn affinity_timeouts(table: &Table) -> BTreeMap<u32, u32> {
    let classes = table.sets.get(SetName::Classes.name()).into_iter().flat_map(|set| set.elements.iter());
    classes
        .filter_map(|(key, element)| {
            let class = number_from_value(&ElementData::Value(key.clone()))?;
            match Pick::at_end_of(element.target()?) {
                Some(Pick::Affinity(timeout)) => Some((class.0, timeout)),
                _ => None,
            }
        })
        .collect()
}

/// The frontends of a table, those at addresses first, so that ports have their numbers.
fn frontends(family: Family, table: &Table) -> impl Iterator<Item = FoundFrontend> + '_ {
    let timeouts = affinity_timeouts(table);
    Keys::ALL.into_iter().filter_map(|keys| table.sets.get(keys.classes().name())).flat_map(move |set| {
        let timeouts = timeouts.clone();
        let found = move |(key, element): (&Concat, &Element)| {
            let key = FrontendKey::from_values(family, &key.values(&set.key)?)?;
            let comment = element.comment.as_deref()?;
            let (namespace, name) = owner_in(comment).split_once('/')?;
            let port = comment.split_once(':').map_or("", |(_, port)| port);
            let class = number_from_value(&element.data)?;
            let affinity_timeout = timeouts.get(&class.0).copied();
            Some(FoundFrontend {
                key,
                owner: ObjectName::new(namespace, name),
                port: port.into(),
                affinity_timeout,
            })
        };
        set.elements.iter().filter_map(found)
    })
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
pub fn node_addresses(kernel: &Ruleset) -> BTreeSet<std::net::IpAddr> {
    let sets = kernel.tables.values().filter_map(|table| table.sets.get(SetName::NodeAddresses.name()));
    let address = |set: &crate::ruleset::Set, key: &Concat| key.values(&set.key)?.first()?.address();
    sets.flat_map(|set| set.elements.keys().filter_map(move |key| address(set, key))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compile::Compiler,
        model::{Endpoint, EndpointPort, Node},
        plane::Config,
        state::State,
    };

    fn port(name: &str, port: u16, node_port: Option<u16>) -> ServicePort {
        ServicePort { name: name.into(), protocol: Protocol::Tcp, port, node_port }
    }

    #[test]
    fn what_is_compiled_is_read_back_with_names_frontends_and_endpoints() {
        let name = ObjectName::new("shop", "web");
        let mut service = Service::cluster_ip(
            name.clone(),
            vec![[10, 96, 0, 1].into(), "fd00::1".parse().unwrap()],
            vec![port("http", 80, Some(30_080)), port("other", 81, None)],
        );
        service.load_balancer_ips = vec![[192, 0, 2, 9].into()];
        service.service_type = ServiceType::LoadBalancer;
        service.external_policy = TrafficPolicy::Local;
        service.affinity_timeout = Some(600);
        let here: Arc<str> = "here".into();
        let mut state = State::new(Node { name: here.clone(), ..Node::default() });
        state.set_service(&name, Some(Arc::new(service.clone())));
        let endpoint = |last: u8, node: &str, weight| Endpoint {
            node: Some(node.into()),
            weight,
            ..Endpoint::ready([10, 1, 0, last].into())
        };
        let slice = EndpointSlice {
            name: ObjectName::new("shop", "web-1"),
            service: "web".into(),
            ports: vec![EndpointPort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }],
            endpoints: vec![endpoint(1, "here", 1), endpoint(2, "there", 2)],
        };
        state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
        let mut compiler = Compiler::new(Config::default());
        compiler.set_node_addresses(&[[192, 0, 2, 1].into()].into());
        compiler.load(&mut state, &Ruleset::default());
        let ruleset = compiler.ruleset();

        let (services, slices) = read_back(&ruleset, &here);
        assert_eq!(services, [service]);
        let endpoints: Vec<_> = slices.iter().flat_map(|slice| &slice.endpoints).collect();
        assert_eq!(endpoints.len(), 2);
        assert_eq!((endpoints[0].weight, endpoints[1].weight), (1, 2));
        assert_eq!(endpoints[0].node, Some(here), "it is on this node");
        assert_ne!(endpoints[1].node.as_deref(), Some("here"));
        assert_eq!(slices[0].ports[0].port, 8080);
        assert_eq!(node_addresses(&ruleset), [[192, 0, 2, 1].into()].into());
        assert_eq!(read_back(&Ruleset::default(), &"here".into()), (Vec::new(), Vec::new()));
    }
}
