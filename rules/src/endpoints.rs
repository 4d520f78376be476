//! Which endpoints serve a ServicePort: slices merged, then selected by readiness, topology and locality.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Deref,
    sync::Arc,
};

use crate::{
    model::{Endpoint, EndpointSlice, Node, ServicePort},
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
    /// If `cluster` is simply every ready endpoint that this topology admits, each once: that topology. Whether
    /// another endpoint is among them is then decided by that endpoint alone, while the [topology
    /// stays](Topology::stays).
    pub plain: Option<Topology>,
}

/// Merges the slices of a Service for one port and family: one entry an address and port, sorted. An address may
/// stand in two slices while it moves between them, or when a pod reuses the IP of one that is leaving:
/// a terminating copy never displaces another, any other copy always does. What cannot be an endpoint is left out.
pub fn merge<'a>(
    state: &'a ServiceState,
    port: &ServicePort,
    family: Family,
) -> Vec<(SocketAddr, &'a Endpoint)> {
    merge_some(&state.slices, port, family, |address| !state.leaves_out(address))
}

/// The same of these slices, in order of their names, and of those addresses only that are `wanted`.
pub fn merge_some<'a>(
    slices: &'a [impl Deref<Target = EndpointSlice>],
    port: &ServicePort,
    family: Family,
    wanted: impl Fn(IpAddr) -> bool,
) -> Vec<(SocketAddr, &'a Endpoint)> {
    let mut merged = Vec::with_capacity(slices.iter().map(|slice| slice.endpoints.len()).sum());
    for slice in slices {
        for target in slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol) {
            let of_family = slice.endpoints.iter().filter(|e| Family::of(e.address) == family);
            let wanted = of_family.filter(|e| wanted(e.address));
            merged.extend(wanted.map(|e| (SocketAddr::new(e.address, target.port), e)));
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Those to this node.
    SameNode,
    /// Those to its zone.
    SameZone,
    /// None.
    Anywhere,
}

impl Topology {
    /// Decided by the ready endpoints only: a level counts if each of them has a hint of that level and
    /// one of these names this node or zone.
    fn of(endpoints: &[(SocketAddr, &Endpoint)], node: &Node) -> Self {
        let level = |hints: fn(&Endpoint) -> &[Arc<str>], own: &str| {
            let mut ready = endpoints.iter().map(|(_, e)| *e).filter(|e| e.ready).peekable();
            ready.peek().is_some()
                && !own.is_empty()
                && ready.clone().all(|e| !hints(e).is_empty())
                && ready.any(|e| hints(e).iter().any(|hint| **hint == *own))
        };
        if level(|e| &e.hints.nodes, &node.name) {
            Self::SameNode
        } else if level(|e| &e.hints.zones, node.zone.as_deref().unwrap_or_default()) {
            Self::SameZone
        } else {
            Self::Anywhere
        }
    }

    /// Whether a ready endpoint is chosen from.
    pub fn admits(self, endpoint: &Endpoint, node: &Node) -> bool {
        let own_zone = node.zone.as_deref().unwrap_or_default();
        match self {
            Self::SameNode => endpoint.hints.nodes.iter().any(|hint| **hint == *node.name),
            Self::SameZone => endpoint.hints.zones.iter().any(|hint| **hint == *own_zone),
            Self::Anywhere => true,
        }
    }

    /// Whether this one of the ready endpoints is reason enough not to go down to another level.
    pub fn is_held_by(self, endpoint: &Endpoint, node: &Node) -> bool {
        let (hints, has_zone) = (&*endpoint.hints, node.zone.as_ref().is_some_and(|zone| !zone.is_empty()));
        let holds = match self {
            Self::SameNode => true,
            Self::SameZone => hints.nodes.is_empty(),
            Self::Anywhere => hints.nodes.is_empty() && (hints.zones.is_empty() || !has_zone),
        };
        endpoint.ready && holds && self.admits(endpoint, node)
    }

    /// Whether it stays this topology when these endpoints come to those that made it so. False if that depends on
    /// others.
    pub fn stays(self, endpoints: &[&Endpoint], node: &Node) -> bool {
        let has_hint = |endpoint: &Endpoint| match self {
            Self::SameNode => !endpoint.hints.nodes.is_empty(),
            Self::SameZone => !endpoint.hints.zones.is_empty(),
            Self::Anywhere => true,
        };
        endpoints.iter().all(|e| !e.ready || has_hint(e))
            && endpoints.iter().any(|e| self.is_held_by(e, node))
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

    let ready = pick(&|e| e.ready && topology.admits(e, node));
    let even = endpoints.iter().all(|(_, endpoint)| endpoint.weight == 1);
    let plain = (even && !ready.is_empty()).then_some(topology);
    let cluster = or_else(ready, &|e| e.serving && e.terminating);
    let weighted = |chosen: Vec<SocketAddr>| if even { chosen } else { weighted(&chosen, endpoints) };
    if !endpoints.iter().any(|(_, e)| e.node.is_none() || is_local(e)) {
        // Most Services have no endpoint on this node: nothing more to compare names for.
        return Selection { cluster: weighted(cluster), plain, ..Selection::default() };
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
    Selection { cluster: weighted(cluster), local: weighted(local), on_this_node, plain }
}

/// Repeats each endpoint as often as its weight says, divided by what all weights have in common.
fn weighted(chosen: &[SocketAddr], endpoints: &[(SocketAddr, &Endpoint)]) -> Vec<SocketAddr> {
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
