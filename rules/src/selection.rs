//! Which endpoints a frontend leads to.
//!
//! Each field that decides this has a file, and only that file evaluates the field:
//!
//! | File | Field |
//! |---|---|
//! | `traffic_policy` | `internalTrafficPolicy`, `externalTrafficPolicy` |
//! | `topology_hints` | `hints` of endpoints, which follow from `trafficDistribution` |
//! | `terminating_endpoints` | `conditions` of endpoints, `publishNotReadyAddresses` |
//! | `weights` | annotation `portolan.io/weights` |
//! | `session_affinity` | `sessionAffinity`, `sessionAffinityConfig` |
//! | `load_balancer_source_ranges` | `loadBalancerSourceRanges` |
//! | `health_check_node_port` | `healthCheckNodePort` |
//! | `node_port_addresses` | `--nodeport-addresses` |
//!
//! `select` combines the first four, for the endpoints that `merge` finds in the slices of a Service.

pub mod health_check_node_port;
pub(crate) mod load_balancer_source_ranges;
pub mod node_port_addresses;
pub(crate) mod session_affinity;
mod slices;
mod terminating_endpoints;
mod topology_hints;
mod traffic_policy;
mod weights;

use std::net::{IpAddr, SocketAddr};

use crate::model::{Endpoint, Node};

use self::terminating_endpoints::{or_terminating, ready};
pub(crate) use self::{
    slices::{SlicesByPort, merge, merge_some},
    terminating_endpoints::{Serving, serving},
    topology_hints::Topology,
    traffic_policy::{EndpointScope, is_local, is_remote, may_use_local},
    weights::Chosen,
};

/// The endpoints of one ServicePort in one family that this node may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// The endpoints that policy `Cluster` leads to.
    pub cluster: Chosen,
    /// The endpoints that policy `Local` leads to.
    pub local: Chosen,
    /// The addresses of the endpoints of both that are not known to run on another node, sorted.
    pub on_this_node: Vec<IpAddr>,
    /// The topology, if `cluster` is simply every ready endpoint that it admits, each once. Whether another endpoint
    /// belongs to `cluster` then depends on that endpoint alone, while the [topology stays](Topology::stays).
    pub plain: Option<Topology>,
}

/// Selects endpoints as KEP-1669 (terminating endpoints) and the topology KEPs specify: the ready endpoints, or,
/// if there are none at all, those that terminate but still serve. Both sets fall back independently.
///
/// An endpoint with a weight of 0 is treated as absent: draining the last endpoint of a zone sends the zone's
/// traffic elsewhere instead of refusing it.
pub(crate) fn select(endpoints: &[(SocketAddr, &Endpoint)], node: &Node) -> Selection {
    let undrained: Vec<(SocketAddr, &Endpoint)>;
    let endpoints = if endpoints.iter().any(|(_, e)| e.weight == 0) {
        undrained = endpoints.iter().filter(|(_, e)| e.weight > 0).copied().collect();
        undrained.as_slice()
    } else {
        endpoints
    };
    let even = endpoints.iter().all(|(_, endpoint)| endpoint.weight == 1);
    let weighted = |addresses: Vec<SocketAddr>| {
        if even { Chosen::even(addresses) } else { Chosen::new(addresses, endpoints) }
    };
    let topology = Topology::of(endpoints, node);
    let cluster = ready(endpoints, |e| topology.admits(e, node));
    let plain = (even && !cluster.is_empty()).then_some(topology);
    let cluster = or_terminating(cluster, endpoints, |_| true);
    if endpoints.iter().all(|(_, e)| is_remote(e, node)) {
        // Most Services have no endpoint on this node, so that no more names need comparing.
        return Selection { cluster: weighted(cluster), plain, ..Selection::default() };
    }
    let is_local = |e: &Endpoint| is_local(e, node);
    let local = or_terminating(ready(endpoints, is_local), endpoints, is_local);
    let is_selected =
        |address| cluster.binary_search(address).is_ok() || local.binary_search(address).is_ok();
    let mut on_this_node: Vec<IpAddr> = endpoints
        .iter()
        .filter(|(address, e)| !is_remote(e, node) && is_selected(address))
        .map(|(address, _)| address.ip())
        .collect();
    on_this_node.dedup();
    Selection { cluster: weighted(cluster), local: weighted(local), on_this_node, plain }
}
