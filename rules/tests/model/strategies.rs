//! Random clusters and packets, with so few addresses, ports and names that they often collide.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;
use portolan_rules::{
    model::{
        Endpoint, EndpointPort, EndpointSlice, Hints, LoadBalancing, Node, ObjectName, Protocol, Service,
        ServicePort, ServiceType, TrafficPolicy,
    },
    plane::{Config, PodDetector},
    ruleset::Family,
    selection::node_port_addresses::NodePortAddresses,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::{cluster::Cluster, places::Place};

/// Node ports are among the ports of Services, so that both occur at the node's addresses.
pub const PORTS: [u16; 4] = [80, 81, 30080, 30081];
/// Some endpoints have, by mistake, a ClusterIP up to this number. The last numbers belong to no Service.
pub const CLUSTER_IPS: u8 = 6;
const PORT_NAMES: [&str; 2] = ["", "web"];

pub fn family() -> impl Strategy<Value = Family> {
    prop_oneof![3 => Just(Family::Ip), 2 => Just(Family::Ip6)]
}

pub fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![3 => Just(Protocol::Tcp), 2 => Just(Protocol::Udp), 1 => Just(Protocol::Sctp)]
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    prop_oneof![Just(TrafficPolicy::Cluster), Just(TrafficPolicy::Local)]
}

/// A namespace and a Service's name.
fn owner() -> impl Strategy<Value = ObjectName> {
    let names = [("one", "a"), ("one", "a"), ("one", "b"), ("one", "b"), ("two", "a")];
    select(names.to_vec()).prop_map(|(namespace, name)| ObjectName::new(namespace, name))
}

fn service_port() -> impl Strategy<Value = ServicePort> {
    let number = || select(&PORTS[..]);
    (select(&PORT_NAMES[..]), protocol(), number(), option::of(number())).prop_map(
        |(name, protocol, port, node_port)| ServicePort { name: name.into(), protocol, port, node_port },
    )
}

/// Addresses for external traffic: those of load balancers, nodes, or other Services.
fn external() -> impl Strategy<Value = IpAddr> {
    let place = prop_oneof![
        6 => (1..=3u8).prop_map(Place::External),
        2 => (1..=2u8).prop_map(Place::ThisNode),
        2 => (1..=2u8).prop_map(Place::ClusterIp),
        1 => Just(Place::Outside(1)),
    ];
    (place, family()).prop_map(|(place, family)| place.address(family))
}

pub fn source_range() -> impl Strategy<Value = IpNetwork> {
    let ranges = [
        "198.51.100.0/24",
        "198.51.100.0/25",
        "198.51.100.1/32",
        "192.0.2.0/24",
        "192.0.2.1/24",
        "10.1.1.0/24",
        "10.0.0.0/8",
        "0.0.0.0/0",
        "2001:db8:51::/48",
        "2001:db8:51::/127",
        "2001:db8:2::/64",
        "fd00:1::/32",
        "::/0",
    ];
    select(ranges.map(|range| range.parse().expect("a network")).to_vec())
}

pub fn service() -> impl Strategy<Value = Service> {
    let cluster_ips = prop_oneof![
        3 => (1..=4u8).prop_map(|n| vec![(n, Family::Ip)]),
        1 => (1..=4u8).prop_map(|n| vec![(n, Family::Ip6)]),
        3 => (1..=4u8, 1..=4u8).prop_map(|(n, m)| vec![(n, Family::Ip), (m, Family::Ip6)]),
    ];
    let ranges = prop_oneof![2 => Just(vec![]), 1 => vec(source_range(), 1..4)];
    (
        (owner(), option::of(0..3i64), cluster_ips),
        (vec(external(), 0..3), vec(external(), 0..3), ranges),
        (policy(), policy(), vec(service_port(), 1..4)),
        (option::weighted(0.3, select(vec![1, 60, 86_400])), prop::bool::weighted(0.02)),
    )
        .prop_map(
            |((name, created, cluster_ips), (external_ips, load_balancer_ips, ranges), rest, choice)| {
                Service {
                    name,
                    created,
                    service_type: ServiceType::ClusterIp,
                    cluster_ips: cluster_ips
                        .into_iter()
                        .map(|(n, f)| Place::ClusterIp(n).address(f))
                        .collect(),
                    external_ips,
                    load_balancer_ips,
                    source_ranges: ranges,
                    internal_policy: rest.0,
                    external_policy: rest.1,
                    affinity_timeout: choice.0,
                    load_balancing: if choice.1 { LoadBalancing::SourceHash } else { LoadBalancing::Random },
                    health_check_node_port: None,
                    ports: rest.2,
                }
            },
        )
}

/// A pod or a process in a node's own network, mostly with the name of the node it is on; or, by mistake, a ClusterIP.
pub fn endpoint(family: Family) -> impl Strategy<Value = Endpoint> {
    let place = prop_oneof![
        4 => (1..=3u8).prop_map(Place::Pod),
        4 => (1..=3u8).prop_map(Place::RemotePod),
        1 => (1..=2u8).prop_map(Place::ThisNode),
        1 => Just(Place::OtherNode(1)),
        1 => (1..=CLUSTER_IPS).prop_map(Place::ClusterIp),
    ];
    let conditions = prop_oneof![
        6 => Just((true, true, false)),
        2 => Just((false, true, true)),
        3 => any::<(bool, bool, bool)>(),
    ];
    let zones =
        prop_oneof![3 => Just(vec!["east"]), 2 => Just(vec!["west"]), 1 => Just(vec!["east", "west"])];
    let nodes =
        prop_oneof![2 => Just(vec!["here"]), 2 => Just(vec!["there"]), 1 => Just(vec!["there", "here"])];
    let hints = (option::weighted(0.8, zones), option::weighted(0.6, nodes));
    let known_node = prop_oneof![8 => Just(Some(true)), 1 => Just(Some(false)), 1 => Just(None)];
    let names = |names: Option<Vec<&str>>| -> Vec<Arc<str>> {
        names.unwrap_or_default().into_iter().map(Arc::from).collect()
    };
    let weight = prop_oneof![8 => Just(1), 1 => Just(0), 1 => select(vec![2, 3, 100])];
    (place, conditions, hints, known_node, weight).prop_map(
        move |(place, (ready, serving, terminating), hints, known_node, weight)| {
            let here = matches!(place, Place::Pod(_) | Place::ThisNode(_));
            Endpoint {
                address: place.address(family),
                ready,
                serving,
                terminating,
                node: known_node.map(|right| if here == right { "here".into() } else { "there".into() }),
                weight,
                hints: Hints::new(names(hints.0), names(hints.1)),
            }
        },
    )
}

/// The ports that all Services ask for.
pub fn every_port() -> Vec<EndpointPort> {
    let names = PORT_NAMES.iter().flat_map(|name| Protocol::ALL.map(|protocol| (*name, protocol)));
    names.map(|(name, protocol)| EndpointPort { name: name.into(), protocol, port: 8080 }).collect()
}

fn slice() -> impl Strategy<Value = EndpointSlice> {
    let port = (select(&PORT_NAMES[..]), protocol(), select(&[80_u16, 8080][..]))
        .prop_map(|(name, protocol, port)| EndpointPort { name: name.into(), protocol, port });
    let endpoints = family().prop_flat_map(|family| vec(endpoint(family), 0..6));
    (owner(), 0..3u8, vec(port, 1..4), endpoints, prop::bool::weighted(0.8)).prop_map(
        |(owner, number, mut ports, endpoints, is_complete)| {
            if is_complete {
                // The usual case: the slice has everything that the Service's ports ask for.
                ports = every_port();
            }
            let name = ObjectName::new(owner.namespace, format!("{}-{number}", owner.name));
            EndpointSlice { name, service: owner.name, ports, endpoints }
        },
    )
}

fn node() -> impl Strategy<Value = Node> {
    let zone = prop_oneof![3 => Just(Some("east")), 1 => Just(None), 1 => Just(Some(""))];
    let addresses = select(vec![
        vec![],
        vec![(1, Family::Ip)],
        vec![(2, Family::Ip), (1, Family::Ip)],
        vec![(1, Family::Ip), (2, Family::Ip6)],
    ]);
    (zone, addresses).prop_map(|(zone, addresses)| Node {
        name: "here".into(),
        addresses: addresses.into_iter().map(|(n, family)| Place::ThisNode(n).address(family)).collect(),
        zone: zone.map(Arc::from),
        external_addresses: Vec::new(),
        pod_cidrs: Vec::new(),
    })
}

/// The addresses of the node's interfaces; a load balancer's address may be one.
fn host() -> impl Strategy<Value = BTreeSet<IpAddr>> {
    option::weighted(0.3, Just(Place::External(1))).prop_map(|bound| {
        let places = [Place::ThisNode(1), Place::ThisNode(2)].into_iter().chain(bound);
        places.flat_map(|place| Family::ALL.map(|family| place.address(family))).collect()
    })
}

fn networks(list: &[&str]) -> Vec<IpNetwork> {
    list.iter().map(|network| network.parse().expect("a network")).collect()
}

fn node_port_addresses() -> impl Strategy<Value = NodePortAddresses> {
    select(vec![
        "primary",
        "0.0.0.0/0,::/0",
        "192.0.2.0/30",
        "192.0.2.2/32,2001:db8:2::2/128,198.51.100.0/24",
        "primary,192.0.2.2/32",
        "localhost,192.0.2.2/32",
        "localhost",
        "all",
    ])
    .prop_map(|setting| setting.parse().expect("a setting"))
}

fn config() -> impl Strategy<Value = Config> {
    let interface = |name: &str, prefix| PodDetector::Interface { name: name.into(), prefix };
    let pods = select(vec![
        PodDetector::Networks(networks(&["10.0.0.0/12", "fd00::/28"])),
        PodDetector::Networks(networks(&["10.1.1.0/24", "fd00:1:1::/48"])),
        PodDetector::Networks(networks(&["10.1.0.0/16"])),
        PodDetector::None,
        interface("cni0", false),
        interface("veth", true),
    ]);
    (pods, prop::bool::weighted(0.2), select(vec![14, 0, 31]), any::<bool>()).prop_map(
        |(pods, masquerade_all, masquerade_bit, endpoint_counters)| Config {
            pods,
            masquerade_all,
            masquerade_bit,
            endpoint_counters,
            ..Config::default()
        },
    )
}

pub fn cluster() -> impl Strategy<Value = Cluster> {
    let service_cidrs = select(vec![
        networks(&["10.96.0.0/16", "fd00:96::/64"]),
        networks(&[]),
        networks(&["10.96.0.0/30", "10.96.0.2/31"]),
    ]);
    let surroundings = (node(), host(), node_port_addresses(), service_cidrs, config());
    (vec(service(), 1..5), vec(slice(), 0..10), surroundings).prop_map(
        |(mut services, mut slices, (node, host, node_port_addresses, service_cidrs, config))| {
            services.sort_by(|a, b| a.name.cmp(&b.name));
            services.dedup_by(|a, b| a.name == b.name);
            slices.sort_by(|a, b| a.name.cmp(&b.name));
            slices.dedup_by(|a, b| a.name == b.name);
            Cluster { services, slices, node, host, node_port_addresses, service_cidrs, config }
        },
    )
}
