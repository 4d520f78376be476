//! Which endpoints serve a ServicePort: slices merged, then selected by readiness, topology and locality.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    model::{Endpoint, Node, ServicePort},
    ruleset::Family,
    state::ServiceState,
};

/// The endpoints of one ServicePort in one family that this node may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The endpoints that policy `Cluster` leads to, sorted; each as often as its weight says.
    pub cluster: Vec<SocketAddr>,
    /// The endpoints that policy `Local` leads to, likewise.
    pub local: Vec<SocketAddr>,
    /// Those of both that run on this node, or may: their node is not known. Sorted.
    pub on_this_node: Vec<IpAddr>,
}

/// Merges the slices of a Service for one port and family: one entry an address and port, sorted. An address may
/// stand in two slices while it moves between them, or when a pod reuses the IP of one that is leaving:
/// a terminating copy never displaces another, any other copy always does.
pub fn merge<'a>(
    state: &'a ServiceState,
    port: &ServicePort,
    family: Family,
) -> Vec<(SocketAddr, &'a Endpoint)> {
    let mut merged = Vec::with_capacity(state.slices.iter().map(|slice| slice.endpoints.len()).sum());
    for slice in &state.slices {
        for target in slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol) {
            let of_family = slice.endpoints.iter().filter(|e| Family::of(e.address) == family);
            merged.extend(of_family.map(|e| (SocketAddr::new(e.address, target.port), e)));
        }
    }
    // Stable: of the same address, the slices stay in order.
    merged.sort_by_key(|(address, _)| *address);
    merged.dedup_by(|(address, endpoint), (kept_address, kept)| {
        if address == kept_address && !endpoint.terminating {
            *kept = endpoint;
        }
        address == kept_address
    });
    merged
}

/// Which hints restrict the choice (KEP-2433, KEP-3015).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Topology<'a> {
    SameNode(&'a str),
    SameZone(&'a str),
    Anywhere,
}

impl<'a> Topology<'a> {
    /// Decided by the ready endpoints only: a level counts if each of them has a hint of that level and
    /// one of these names this node or zone.
    fn of(endpoints: &[(SocketAddr, &Endpoint)], node: &'a Node) -> Self {
        let level = |hints: fn(&Endpoint) -> &[Arc<str>], own: &str| {
            let mut ready = endpoints.iter().map(|(_, e)| *e).filter(|e| e.ready).peekable();
            ready.peek().is_some()
                && !own.is_empty()
                && ready.clone().all(|e| !hints(e).is_empty())
                && ready.any(|e| hints(e).iter().any(|hint| **hint == *own))
        };
        let zone = node.zone.as_deref().unwrap_or_default();
        if level(|e| &e.hints.nodes, &node.name) {
            Self::SameNode(&node.name)
        } else if level(|e| &e.hints.zones, zone) {
            Self::SameZone(zone)
        } else {
            Self::Anywhere
        }
    }

    fn admits(self, endpoint: &Endpoint) -> bool {
        match self {
            Self::SameNode(name) => endpoint.hints.nodes.iter().any(|hint| **hint == *name),
            Self::SameZone(zone) => endpoint.hints.zones.iter().any(|hint| **hint == *zone),
            Self::Anywhere => true,
        }
    }
}

/// The endpoints that may keep the UDP flows they have: all that serve, terminating or not, and whatever
/// policy and topology say of new flows. One that is ready gets new flows, so it keeps the old ones even if
/// it claims not to serve (`publishNotReadyAddresses`).
pub fn serving(endpoints: &[(SocketAddr, &Endpoint)]) -> Arc<[SocketAddr]> {
    endpoints.iter().filter(|(_, e)| e.ready || e.serving).map(|(address, _)| *address).collect()
}

/// Selects endpoints as KEP-1669 (terminating endpoints) and the topology KEPs say: the ready ones, or
/// if there is none at all, those that terminate but still serve. Both sets fall back independently.
///
/// A weight of 0 counts as if the endpoint were not there: draining the last one of a zone sends the zone's
/// traffic elsewhere instead of refusing it.
pub fn select(endpoints: &[(SocketAddr, &Endpoint)], node: &Node) -> Selection {
    let undrained: Vec<(SocketAddr, &Endpoint)>;
    let endpoints = if endpoints.iter().any(|(_, e)| e.weight == 0) {
        undrained = endpoints.iter().filter(|(_, e)| e.weight > 0).copied().collect();
        undrained.as_slice()
    } else {
        endpoints
    };
    let topology = Topology::of(endpoints, node);
    let is_local = |e: &Endpoint| e.node.as_ref().is_some_and(|name| *name == node.name);
    let pick = |admits: &dyn Fn(&Endpoint) -> bool| -> Vec<SocketAddr> {
        // Nearly always all of them. What is too much is given back: it is kept for each of very many ports.
        let mut picked = Vec::with_capacity(endpoints.len());
        picked.extend(endpoints.iter().filter(|(_, e)| admits(e)).map(|(address, _)| *address));
        picked.shrink_to_fit();
        picked
    };
    let or_else = |first: Vec<SocketAddr>, admits: &dyn Fn(&Endpoint) -> bool| {
        if first.is_empty() { pick(admits) } else { first }
    };

    let cluster = or_else(pick(&|e| e.ready && topology.admits(e)), &|e| e.serving && e.terminating);
    let weighted = |chosen| weighted(chosen, endpoints);
    if !endpoints.iter().any(|(_, e)| e.node.is_none() || is_local(e)) {
        // Most Services have no endpoint on this node: nothing more to compare names for.
        return Selection { cluster: weighted(cluster), ..Selection::default() };
    }
    let local = or_else(pick(&|e| e.ready && is_local(e)), &|e| e.serving && e.terminating && is_local(e));
    let mut on_this_node: Vec<IpAddr> = endpoints
        .iter()
        .filter(|(address, e)| {
            let chosen = |selection: &[SocketAddr]| selection.binary_search(address).is_ok();
            (is_local(e) || e.node.is_none()) && (chosen(&cluster) || chosen(&local))
        })
        .map(|(address, _)| address.ip())
        .collect();
    on_this_node.dedup();
    Selection { cluster: weighted(cluster), local: weighted(local), on_this_node }
}

/// Repeats each endpoint as often as its weight says, divided by what all weights have in common.
fn weighted(chosen: Vec<SocketAddr>, endpoints: &[(SocketAddr, &Endpoint)]) -> Vec<SocketAddr> {
    if endpoints.iter().all(|(_, endpoint)| endpoint.weight == 1) {
        return chosen;
    }
    let weight = |address: &SocketAddr| {
        let found = endpoints.binary_search_by_key(address, |(address, _)| *address);
        found.ok().and_then(|i| endpoints.get(i)).map_or(1, |(_, endpoint)| endpoint.weight)
    };
    let common = chosen.iter().map(weight).fold(0, greatest_common_divisor).max(1);
    let times = |address: &SocketAddr| usize::from(weight(address) / common);
    chosen.iter().flat_map(|address| std::iter::repeat_n(*address, times(address))).collect()
}

fn greatest_common_divisor(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
