//! The slices of a Service, merged into its endpoints.

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use crate::{
    model::{Endpoint, EndpointSlice, Protocol, ServicePort},
    ruleset::Family,
    state::ServiceState,
};

/// The slices of a Service by the ports that they resolve, so that each slice is examined once, not once for each port.
#[derive(Debug)]
pub struct SlicesByPort<'a> {
    resolved: SmallVec<[Resolved<'a>; 2]>,
    /// The Service's state, which knows the addresses that cannot be endpoints.
    state: Option<&'a ServiceState>,
}

/// A slice that resolves a name and protocol to a port number.
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

    /// These slices, in order of their names, with all endpoints that they list.
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

    /// The slices that resolve a port, each with the number to which it resolves the port.
    fn of(&self, port: &ServicePort) -> &[Resolved<'a>] {
        let wanted = (&*port.name, port.protocol);
        let start = self.resolved.partition_point(|other| (other.name, other.protocol) < wanted);
        let rest = &self.resolved[start..];
        &rest[..rest.partition_point(|other| (other.name, other.protocol) == wanted)]
    }
}

/// Merges the slices of a Service for one port and family: one entry for each address and port, sorted. An address may
/// be in two slices while it moves between them, or when a pod reuses the IP of a pod that terminates: a terminating
/// copy never replaces another copy, any other copy always does. Addresses that cannot be endpoints are left out.
pub fn merge<'a>(
    slices: &SlicesByPort<'a>,
    port: &ServicePort,
    family: Family,
) -> Vec<(SocketAddr, &'a Endpoint)> {
    merge_some(slices, port, family, |_| true)
}

/// The same for the `wanted` addresses only.
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
