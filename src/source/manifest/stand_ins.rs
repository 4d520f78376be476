//! Stand-ins for the values that a cluster would assign to objects as people write them.
//!
//! Each stand-in is chosen by a hash of the object's name; if it is taken, the next free one is used. Objects get
//! their stand-ins in order of their names, so that the order of the input does not matter. A value that an object of
//! the input has is never given to another object.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hasher as _,
    net::IpAddr,
    sync::Arc,
};

use ipnetwork::IpNetwork;
use portolan_rules::{
    explanation::StandIns,
    model::{EndpointSlice, Node, ObjectName, Service},
    ruleset::Family,
};
use siphasher::sip::SipHasher13;

use super::contents::ServiceEntry;
use crate::api::{PodCount, PodFacts, PodSet, WantedFamilies};

/// `ClusterIPs`, unless `--service-cluster-ip-range` or a `ServiceCIDR` gives a range: the default of kubeadm, and a
/// range of unique local addresses.
const CLUSTER_IPS: [&str; 2] = ["10.96.0.0/12", "fd00:10:96::/112"];
/// Addresses of Pods, unless their Node or `--cluster-cidr` gives a range.
const PODS: [&str; 2] = ["10.244.0.0/16", "fd00:10:244::/64"];
/// Addresses of load balancers: ranges for documentation (RFC 5737, RFC 3849).
const LOAD_BALANCERS: [&str; 3] = ["198.51.100.0/24", "203.0.113.0/24", "2001:db8:113::/112"];
/// Addresses of this node if the input has no Nodes: ranges for documentation.
const NODES: [&str; 2] = ["192.0.2.0/24", "2001:db8:192::/112"];
/// The API server's default of `--service-node-port-range`.
const FIRST_NODE_PORT: u16 = 30_000;
const NODE_PORTS: u128 = 2768;

/// Maximum number of Pods that one workload stands for. Manifests are tried with fewer Pods, and Pods cost memory.
const MAX_PODS: u32 = 1000;

/// The ranges of stand-ins.
#[derive(Clone, Debug, Default)]
pub struct StandInRanges {
    /// The ranges of `ClusterIPs` (`--service-cluster-ip-range`).
    pub services: Vec<IpNetwork>,
    /// The ranges of Pods (`--cluster-cidr`).
    pub pods: Vec<IpNetwork>,
    /// Whether this node gets stand-ins, too, if the input has no Nodes.
    pub has_node: bool,
}

/// Chooses stand-ins.
#[derive(Debug)]
pub(super) struct Chooser<'a> {
    ranges: &'a StandInRanges,
    /// All nodes of the input, in order of their names.
    nodes: &'a [Arc<Node>],
    /// This node.
    node_name: &'a Arc<str>,
    taken: BTreeSet<IpAddr>,
    taken_ports: BTreeSet<u16>,
    chosen: StandIns,
    /// Objects for which no stand-in was left, as text.
    without: Vec<String>,
}

impl<'a> Chooser<'a> {
    /// A chooser that knows the addresses and node ports that the objects of the input already have.
    pub fn new(
        ranges: &'a StandInRanges,
        nodes: &'a [Arc<Node>],
        node_name: &'a Arc<str>,
        services: &[Arc<ServiceEntry>],
        slices: &[Arc<EndpointSlice>],
        pods: &BTreeMap<ObjectName, Arc<PodFacts>>,
    ) -> Self {
        let (mut taken, mut taken_ports) = (BTreeSet::new(), BTreeSet::new());
        for service in services.iter().map(|entry| &entry.service) {
            taken.extend(service.cluster_ips.iter().chain(&service.external_ips));
            taken.extend(&service.load_balancer_ips);
            taken_ports.extend(service.ports.iter().filter_map(|port| port.node_port));
            taken_ports.extend(service.health_check_node_port);
        }
        taken.extend(slices.iter().flat_map(|slice| &slice.endpoints).map(|endpoint| endpoint.address));
        taken.extend(pods.values().flat_map(|pod| &pod.addresses));
        taken.extend(nodes.iter().flat_map(|node| &node.addresses));
        let (chosen, without) = (StandIns::default(), Vec::new());
        Self { ranges, nodes, node_name, taken, taken_ports, chosen, without }
    }

    /// The stand-ins that were chosen, and the objects for which no stand-in was left.
    pub fn finish(self) -> (StandIns, Vec<String>) {
        (self.chosen, self.without)
    }

    /// Gives Services the values that they lack. A Service that gets no `ClusterIP` is left out.
    pub fn complete_services(&mut self, services: &mut Vec<Arc<ServiceEntry>>) {
        services.retain_mut(|entry| {
            let Some(lacks) = &entry.lacks else { return true };
            let mut service = Service::clone(&entry.service);
            let key = service.name.to_string();
            for family in lacks.cluster_ips.iter().flat_map(|wanted| families(wanted, self.ranges)) {
                if service.cluster_ips.iter().any(|address| Family::of(*address) == family) {
                    continue;
                }
                let Some(range) = range(&self.ranges.services, CLUSTER_IPS, family) else { continue };
                match self.address(&key, &[range], true) {
                    Some(address) => service.cluster_ips.push(address),
                    None => self.without.push(format!("Service {key}: no ClusterIP in {range}")),
                }
            }
            if lacks.node_ports {
                self.node_ports(&mut service);
            }
            if lacks.health_check_node_port {
                service.health_check_node_port = self.node_port(&format!("{key}/healthCheckNodePort"));
            }
            if lacks.load_balancer {
                for family in Family::ALL {
                    let is_served = |address: &IpAddr| Family::of(*address) == family;
                    if !service.cluster_ips.iter().any(is_served) {
                        continue;
                    }
                    let ranges: Vec<IpNetwork> = of_family(LOAD_BALANCERS, family).collect();
                    match self.address(&key, &ranges, false) {
                        Some(address) => service.load_balancer_ips.push(address),
                        None => self.without.push(format!("Service {key}: no address of a load balancer")),
                    }
                }
            }
            let selection = entry.selection.clone().map(|mut selection| {
                selection.has_load_balancer |= lacks.load_balancer;
                selection
            });
            let is_served = !service.cluster_ips.is_empty();
            *entry = Arc::new(ServiceEntry { service: Arc::new(service), selection, lacks: None });
            is_served
        });
    }

    /// This node, if the input has no Nodes, and Services have node ports.
    pub fn node(&mut self, services: &[Arc<ServiceEntry>]) -> Option<Arc<Node>> {
        let mut ports = services.iter().flat_map(|entry| &entry.service.ports);
        if !self.ranges.has_node || !self.nodes.is_empty() || ports.all(|port| port.node_port.is_none()) {
            return None;
        }
        let key = format!("node {}", self.node_name);
        let ranges = families_of(services).into_iter().flat_map(|family| of_family(NODES, family));
        let addresses = ranges.filter_map(|range| self.address(&key, &[range], false)).collect();
        Some(Arc::new(Node { name: Arc::clone(self.node_name), addresses, ..Node::default() }))
    }

    /// Gives addresses to Pods that were never in a cluster, and adds the Pods that workloads stand for, unless the
    /// input has Pods with the labels of the workload's template. Returns these Pods.
    pub fn complete_pods(
        &mut self,
        pods: &mut BTreeMap<ObjectName, Arc<PodFacts>>,
        workloads: &[(&ObjectName, &Arc<PodSet>)],
        services: &[Arc<ServiceEntry>],
    ) -> Vec<(ObjectName, Arc<PodFacts>)> {
        let mut new = Vec::new();
        for (name, set) in workloads {
            let has_all = |pod: &PodFacts| set.pod.labels.iter().all(|label| pod.labels.contains(label));
            let start = ObjectName::new(Arc::clone(&name.namespace), "");
            let mut of_namespace =
                pods.range(start..).take_while(|(other, _)| other.namespace == name.namespace);
            if !set.pod.labels.is_empty() && of_namespace.any(|(_, pod)| has_all(pod)) {
                continue;
            }
            let nodes: Vec<Arc<str>> = match self.nodes {
                [] => vec![Arc::clone(self.node_name)],
                nodes => nodes.iter().map(|node| Arc::clone(&node.name)).collect(),
            };
            let count = match set.count {
                PodCount::Number(count) if count > MAX_PODS => {
                    self.without.push(format!("{name}: no Pods beyond the first {MAX_PODS}"));
                    MAX_PODS
                }
                PodCount::Number(count) => count,
                PodCount::OnEachNode => nodes.len() as u32,
            };
            for (number, node) in (0..count).zip(nodes.iter().cycle()) {
                let mut pod = set.pod.clone();
                pod.node = Some(Arc::clone(node));
                let pod_name =
                    ObjectName::new(Arc::clone(&name.namespace), format!("{}-{number}", name.name));
                new.push((pod_name, pod));
            }
        }
        // Pods of the input take precedence.
        new.retain(|(name, _)| !pods.contains_key(name));
        let unborn = pods.iter().filter(|(_, pod)| pod.is_unborn && pod.addresses.is_empty());
        new.extend(unborn.map(|(name, pod)| {
            let mut pod = PodFacts::clone(pod);
            pod.node.get_or_insert_with(|| Arc::clone(self.node_name));
            (name.clone(), pod)
        }));
        new.sort_by(|a, b| a.0.cmp(&b.0));
        new.dedup_by(|later, earlier| later.0 == earlier.0);
        let mut complete = Vec::with_capacity(new.len());
        let families = families_of(services);
        for (name, mut pod) in new {
            self.pod_addresses(&name, &mut pod, &families);
            let pod = Arc::new(pod);
            pods.insert(name.clone(), Arc::clone(&pod));
            complete.push((name, pod));
        }
        complete
    }

    fn pod_addresses(&mut self, name: &ObjectName, pod: &mut PodFacts, families: &[Family]) {
        let node = self.nodes.iter().find(|node| Some(&node.name) == pod.node.as_ref());
        pod.ready = true;
        if let Some(node) = node.filter(|node| pod.is_on_host && !node.addresses.is_empty()) {
            let first = |family| node.addresses.iter().find(|address| Family::of(**address) == family);
            pod.addresses = Family::ALL.into_iter().filter_map(first).copied().collect();
            return;
        }
        let of_node = node.map_or(&[][..], |node| &node.pod_cidrs);
        for &family in families {
            let given = [of_node, &self.ranges.pods].concat();
            let Some(range) = range(&given, PODS, family) else { continue };
            match self.address(&name.to_string(), &[range], false) {
                Some(address) => pod.addresses.push(address),
                None => self.without.push(format!("Pod {name}: no address in {range}")),
            }
        }
    }

    /// A free address of the first of these ranges that has one. With `has_static_part`, addresses in the lower part
    /// of the range come last: as in the API server, they are for `ClusterIPs` that people choose.
    fn address(&mut self, key: &str, ranges: &[IpNetwork], has_static_part: bool) -> Option<IpAddr> {
        let address = ranges.iter().find_map(|range| {
            // The first address of a network denotes the network, the last address of an IPv4 network all of its hosts.
            let usable = size(*range).checked_sub(2).filter(|usable| *usable > 0)?;
            let lower = if has_static_part { (usable / 16).clamp(16, 256).min(usable / 2) } else { 0 };
            choose(key, usable, lower, |offset| {
                let address = nth(*range, offset + 1);
                (!self.taken.contains(&address)).then_some(address)
            })
        })?;
        self.taken.insert(address);
        self.chosen.addresses.insert(address);
        Some(address)
    }

    fn node_ports(&mut self, service: &mut Service) {
        for i in 0..service.ports.len() {
            let (before, rest) = service.ports.split_at_mut(i);
            let Some(port) = rest.first_mut().filter(|port| port.node_port.is_none()) else { continue };
            // The API server gives ports with the same number and different protocols the same node port.
            let shared =
                before.iter().find(|other| other.port == port.port && other.protocol != port.protocol);
            let shared = shared
                .and_then(|other| other.node_port)
                .filter(|number| self.chosen.node_ports.contains(number));
            let key = format!("{}/{}", service.name, port.port);
            port.node_port = shared.or_else(|| self.node_port(&key));
            if port.node_port.is_none() {
                self.without.push(format!("Service {}: no node port for port {}", service.name, port.port));
            }
        }
    }

    fn node_port(&mut self, key: &str) -> Option<u16> {
        // As in the API server, the first ports are for node ports that people choose.
        let port = choose(key, NODE_PORTS, 86, |offset| {
            let port = FIRST_NODE_PORT + u16::try_from(offset).ok()?;
            (!self.taken_ports.contains(&port)).then_some(port)
        })?;
        self.taken_ports.insert(port);
        self.chosen.node_ports.insert(port);
        Some(port)
    }
}

fn of_family<const N: usize>(ranges: [&'static str; N], family: Family) -> impl Iterator<Item = IpNetwork> {
    let ranges = ranges.into_iter().filter_map(|text| text.parse::<IpNetwork>().ok());
    ranges.filter(move |range| Family::of(range.ip()) == family)
}

/// The first range of a family among the given ranges, otherwise among the defaults.
fn range(given: &[IpNetwork], defaults: [&'static str; 2], family: Family) -> Option<IpNetwork> {
    let given = given.iter().copied().filter(|range| Family::of(range.ip()) == family);
    given.chain(of_family(defaults, family)).next()
}

/// The families that Services have; IPv4 if there are none.
fn families_of(services: &[Arc<ServiceEntry>]) -> Vec<Family> {
    let addresses = || services.iter().flat_map(|entry| &entry.service.cluster_ips);
    let has = |family: &Family| addresses().any(|address| Family::of(*address) == *family);
    let families: Vec<Family> = Family::ALL.into_iter().filter(has).collect();
    if families.is_empty() { vec![Family::Ip] } else { families }
}

/// The families in which a Service gets a `ClusterIP`.
fn families(wanted: &WantedFamilies, ranges: &StandInRanges) -> Vec<Family> {
    let mut families = wanted.families.clone();
    if families.is_empty() {
        families.push(ranges.services.first().map_or(Family::Ip, |range| Family::of(range.ip())));
    }
    if wanted.dual_stack {
        let others: Vec<Family> =
            Family::ALL.into_iter().filter(|family| !families.contains(family)).collect();
        families.extend(others);
    }
    families
}

/// How many addresses a range has, but at most 2^64.
fn size(range: IpNetwork) -> u128 {
    let bits = if range.is_ipv4() { 32 } else { 128 };
    1_u128 << (bits - u32::from(range.prefix())).min(64)
}

/// The address at this place of a range.
fn nth(range: IpNetwork, offset: u128) -> IpAddr {
    match range.network() {
        IpAddr::V4(first) => IpAddr::V4(u32::from(first).wrapping_add(offset as u32).into()),
        IpAddr::V6(first) => IpAddr::V6(u128::from(first).wrapping_add(offset).into()),
    }
}

/// The first free value among `count` places, beginning at the place that a hash of the key gives. Places below
/// `lower` come last.
fn choose<T>(key: &str, count: u128, lower: u128, mut free: impl FnMut(u128) -> Option<T>) -> Option<T> {
    let mut hasher = SipHasher13::new();
    hasher.write(key.as_bytes());
    let upper = count - lower;
    let start = u128::from(hasher.finish()) % upper.max(1);
    // No input has more objects.
    let turns = (0..upper.min(1 << 24)).map(|step| lower + (start + step) % upper);
    turns.chain(0..lower).find_map(&mut free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_found_before_there_is_none() {
        for (count, lower) in [(1, 0), (7, 3), (254, 0), (14, 7)] {
            let mut taken = BTreeSet::new();
            for _ in 0..count {
                let place =
                    choose("shop/web", count, lower, |at| (!taken.contains(&at)).then_some(at)).unwrap();
                assert!(place < count);
                taken.insert(place);
            }
            assert_eq!(choose("shop/web", count, lower, |at| (!taken.contains(&at)).then_some(at)), None);
        }
    }

    #[test]
    fn addresses_are_counted_from_the_network() {
        let at = |range: &str, offset| nth(range.parse().unwrap(), offset).to_string();
        assert_eq!(at("10.96.0.0/12", 257), "10.96.1.1");
        assert_eq!(at("fd00:10:96::/112", 257), "fd00:10:96::101");
        assert_eq!(size("198.51.100.0/24".parse().unwrap()), 256);
        assert_eq!(size("::/0".parse().unwrap()), 1 << 64);
    }
}
