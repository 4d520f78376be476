//! Which endpoints serve a ServicePort: slices merged, then selected by readiness, topology and locality.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use smallvec::SmallVec;

use crate::{
    model::{Endpoint, EndpointSlice, Node, Protocol, ServicePort},
    ruleset::Family,
    state::ServiceState,
};

/// The endpoints of one ServicePort in one family that this node may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The endpoints that policy `Cluster` leads to.
    pub cluster: Chosen,
    /// The endpoints that policy `Local` leads to.
    pub local: Chosen,
    /// Those of both that run on this node, or may: their node is not known. Sorted.
    pub on_this_node: Vec<IpAddr>,
    /// If `cluster` is simply every ready endpoint that this topology admits, each once: that topology. Whether
    /// another endpoint is among them is then decided by that endpoint alone, while the [topology
    /// stays](Topology::stays).
    pub plain: Option<Topology>,
}

/// The slices of a Service by what they resolve: a Service with many ports looks at each slice once, not once a port.
#[derive(Debug)]
pub struct SlicesByPort<'a> {
    resolved: SmallVec<[Resolved<'a>; 2]>,
    /// The Service's state, which says what cannot be an endpoint.
    state: Option<&'a ServiceState>,
}

/// That a slice resolves a name and protocol to a port number.
#[derive(Clone, Copy, Debug)]
struct Resolved<'a> {
    name: &'a str,
    protocol: Protocol,
    port: u16,
    slice: &'a EndpointSlice,
}

impl<'a> SlicesByPort<'a> {
    /// The slices of a Service.
    pub fn of_service(state: &'a ServiceState) -> Self {
        Self { state: Some(state), ..Self::new(state.slices.iter().map(|slice| &**slice)) }
    }

    /// These slices, in order of their names, with all that they list.
    pub fn new(slices: impl IntoIterator<Item = &'a EndpointSlice>) -> Self {
        let resolved = |slice: &'a EndpointSlice| {
            slice.ports.iter().map(move |port| Resolved {
                name: &port.name,
                protocol: port.protocol,
                port: port.port,
                slice,
            })
        };
        let mut all: SmallVec<[Resolved<'a>; 2]> = slices.into_iter().flat_map(resolved).collect();
        // Stable: of the same port, the slices stay in order.
        all.sort_by_key(|resolved| (resolved.name, resolved.protocol));
        Self { resolved: all, state: None }
    }

    /// Those that resolve a port, each with the number that it resolves it to.
    fn of(&self, port: &ServicePort) -> &[Resolved<'a>] {
        let wanted = (&*port.name, port.protocol);
        let start = self.resolved.partition_point(|other| (other.name, other.protocol) < wanted);
        let rest = &self.resolved[start..];
        &rest[..rest.partition_point(|other| (other.name, other.protocol) == wanted)]
    }
}

/// Merges the slices of a Service for one port and family: one entry an address and port, sorted. An address may
/// stand in two slices while it moves between them, or when a pod reuses the IP of one that is leaving:
/// a terminating copy never displaces another, any other copy always does. What cannot be an endpoint is left out.
pub fn merge<'a>(
    slices: &SlicesByPort<'a>,
    port: &ServicePort,
    family: Family,
) -> Vec<(SocketAddr, &'a Endpoint)> {
    merge_some(slices, port, family, |_| true)
}

/// The same of those addresses only that are `wanted`.
pub fn merge_some<'a>(
    slices: &SlicesByPort<'a>,
    port: &ServicePort,
    family: Family,
    wanted: impl Fn(IpAddr) -> bool,
) -> Vec<(SocketAddr, &'a Endpoint)> {
    let targets = slices.of(port);
    let mut merged = Vec::with_capacity(targets.iter().map(|target| target.slice.endpoints.len()).sum());
    for target in targets {
        let of_family = target.slice.endpoints.iter().filter(|e| Family::of(e.address) == family);
        let is_endpoint = |address| slices.state.is_none_or(|state| !state.leaves_out(address));
        let wanted = of_family.filter(|e| wanted(e.address) && is_endpoint(e.address));
        merged.extend(wanted.map(|e| (SocketAddr::new(e.address, target.port), e)));
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

/// Endpoints to choose from, sorted, each once, with the shares that their weights give them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    addresses: Vec<SocketAddr>,
    /// What each weighs, divided by what all weights have in common; empty if all weigh the same.
    weights: Vec<u16>,
}

impl Chosen {
    fn new(addresses: Vec<SocketAddr>, endpoints: &[(SocketAddr, &Endpoint)]) -> Self {
        let weight = |address: &SocketAddr| {
            let found = endpoints.binary_search_by_key(address, |(address, _)| *address);
            found.ok().and_then(|i| endpoints.get(i)).map_or(1, |(_, endpoint)| endpoint.weight)
        };
        let mut weights: Vec<u16> = addresses.iter().map(weight).collect();
        let common = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
        for weight in &mut weights {
            *weight /= common;
        }
        if weights.iter().all(|weight| *weight == 1) {
            weights = Vec::new();
        }
        Self { addresses, weights }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// How many slots they take if each has as many as it weighs.
    pub fn slots(&self) -> usize {
        if self.weights.is_empty() { self.len() } else { self.weights.iter().copied().map(usize::from).sum() }
    }

    /// Repeats each endpoint as often as its weight says, for `most` slots at most. Beyond that weights are made
    /// coarser, and if there are more endpoints than slots, the first ones have one each.
    pub fn spread(mut self, most: usize) -> Vec<SocketAddr> {
        let (slots, count) = (self.slots(), self.len());
        if count > most {
            self.addresses.truncate(most);
            return self.addresses;
        }
        if self.weights.is_empty() {
            return self.addresses;
        }
        let times = |weight: u16| {
            let weight = usize::from(weight);
            if slots <= most {
                return weight;
            }
            // Each has one slot, and what is left is divided: together they fit.
            1 + weight.saturating_sub(1) * (most - count) / (slots - count)
        };
        let mut spread = Vec::with_capacity(slots.min(most));
        for (address, weight) in self.addresses.into_iter().zip(self.weights) {
            spread.extend(std::iter::repeat_n(address, times(weight)));
        }
        spread
    }
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
    pub(crate) fn of(endpoints: &[(SocketAddr, &Endpoint)], node: &Node) -> Self {
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
    let weighted = |addresses: Vec<SocketAddr>| {
        if even { Chosen { addresses, weights: Vec::new() } } else { Chosen::new(addresses, endpoints) }
    };
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

fn greatest_common_divisor(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
