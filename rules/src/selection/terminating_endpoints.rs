//! The conditions `ready`, `serving` and `terminating` of endpoints (KEP-1669).
//!
//! `publishNotReadyAddresses` needs no special rule: with it, the API server's controller marks every endpoint as
//! ready.

use std::{net::SocketAddr, sync::Arc};

use crate::model::Endpoint;

/// The endpoints that serve a ServicePort, sorted: those that are ready or serving, regardless of how policy, topology
/// and termination restrict new flows.
pub type Serving = Arc<[SocketAddr]>;

/// The endpoints that may keep the UDP flows they have: all that serve, terminating or not, regardless of how policy
/// and topology restrict new flows. A ready endpoint gets new flows, so it keeps its old flows even if its conditions
/// state that it does not serve (`publishNotReadyAddresses`).
pub fn serving(endpoints: &[(SocketAddr, &Endpoint)]) -> Serving {
    endpoints.iter().filter(|(_, e)| e.ready || e.serving).map(|(address, _)| *address).collect()
}

/// The ready endpoints among those that are admitted.
pub fn ready(endpoints: &[(SocketAddr, &Endpoint)], admits: impl Fn(&Endpoint) -> bool) -> Vec<SocketAddr> {
    filtered(endpoints, |endpoint| endpoint.ready && admits(endpoint))
}

/// These ready endpoints, or, if there are none, the admitted endpoints that terminate but still serve.
pub fn or_terminating(
    ready: Vec<SocketAddr>,
    endpoints: &[(SocketAddr, &Endpoint)],
    admits: impl Fn(&Endpoint) -> bool,
) -> Vec<SocketAddr> {
    if ready.is_empty() {
        filtered(endpoints, |endpoint| endpoint.serving && endpoint.terminating && admits(endpoint))
    } else {
        ready
    }
}

fn filtered(endpoints: &[(SocketAddr, &Endpoint)], admits: impl Fn(&Endpoint) -> bool) -> Vec<SocketAddr> {
    // Nearly always all endpoints. Excess capacity is given back: the list is kept for each of very many ports.
    let mut filtered = Vec::with_capacity(endpoints.len());
    filtered.extend(endpoints.iter().filter(|(_, e)| admits(e)).map(|(address, _)| *address));
    filtered.shrink_to_fit();
    filtered
}
