//! Which UDP destinations changed hands since the last update.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use crate::{
    flows::{Flows, Serving, udp_destinations},
    model::Protocol,
    ruleset::Family,
};

use super::{CompiledPort, CompiledService, Compiler, Frontend, FrontendKey};

/// What changed since the last update that may have left flows where they should not go.
#[derive(Clone, Debug, Default)]
pub(super) struct TouchedFlows {
    /// The addresses that answer node ports now.
    node_addresses: BTreeSet<IpAddr>,
    /// UDP frontends that were compiled again or changed owner: the endpoints that served them before, `None`
    /// if they were no frontends.
    frontends: HashMap<FrontendKey, Option<Serving>>,
    /// Node ports on addresses that became the node's or are no longer.
    node_ports: BTreeSet<SocketAddr>,
}

impl TouchedFlows {
    /// Forgets what changed.
    pub(super) fn clear(&mut self) {
        self.frontends.clear();
        self.node_ports.clear();
    }

    /// Notes who served a frontend before it changes. Only the first note of an update counts.
    pub(super) fn note(&mut self, port: &CompiledPort, frontend: &Frontend, existed: bool) {
        if port.protocol == Protocol::Udp {
            self.frontends.entry(frontend.key).or_insert_with(|| existed.then(|| port.serving.clone()));
        }
    }
}

impl Compiler {
    /// Of these UDP destinations, who may answer the flows to them. A destination stands on its own: an
    /// address and a port, be they a frontend's, a node port on one of the node's addresses, or nobody's.
    pub fn flows(&self, destinations: impl IntoIterator<Item = SocketAddr>) -> Flows {
        let address = |at: &SocketAddr| FrontendKey::Address(at.ip(), Protocol::Udp, at.port());
        let node_port = |at: &SocketAddr| {
            let is_own = self.flows.node_addresses.contains(&at.ip());
            is_own.then(|| FrontendKey::NodePort(Family::of(at.ip()), Protocol::Udp, at.port()))
        };
        let destinations: Vec<SocketAddr> = destinations.into_iter().collect();
        let serving =
            self.serving(destinations.iter().flat_map(|at| [Some(address(at)), node_port(at)]).flatten());
        let of = |at: &SocketAddr| {
            let of_node_port = || serving.get(&node_port(at)?);
            serving.get(&address(at)).or_else(of_node_port).map(|serving| Serving::clone(serving))
        };
        destinations.iter().map(|at| (*at, of(at))).collect()
    }

    /// Every UDP destination that is a frontend's.
    pub fn udp_destinations(&self) -> BTreeSet<SocketAddr> {
        let frontends = self.services.values().flat_map(CompiledService::owned);
        let udp = frontends.filter(|(port, _)| port.protocol == Protocol::Udp);
        udp.flat_map(|(_, frontend)| udp_destinations(frontend.key, &self.flows.node_addresses)).collect()
    }

    /// The endpoints that serve these UDP frontends, and all others of the Services that these are of. Each Service is
    /// looked at once.
    fn serving(&self, keys: impl IntoIterator<Item = FrontendKey>) -> HashMap<FrontendKey, &Serving> {
        let owners: HashSet<_> = keys.into_iter().filter_map(|key| self.claims.owner(&key)).collect();
        let services = owners.into_iter().filter_map(|owner| self.services.get(owner));
        let frontends = services.flat_map(CompiledService::owned);
        frontends.map(|(port, frontend)| (frontend.key, &port.serving)).collect()
    }

    /// Notes that node ports begin or cease to answer on an address.
    pub(super) fn touch_node_address(&mut self, address: IpAddr, answers: bool) {
        if answers {
            self.flows.node_addresses.insert(address);
        } else {
            self.flows.node_addresses.remove(&address);
        }
        let frontends = self.services.values().flat_map(CompiledService::owned);
        let at = frontends.filter_map(|(_, frontend)| match frontend.key {
            FrontendKey::NodePort(..) => udp_destinations(frontend.key, [&address]).next(),
            FrontendKey::Address(..) => None,
        });
        let at: Vec<_> = at.collect();
        self.flows.node_ports.extend(at);
    }

    /// The UDP destinations since the last call that began or ceased to be a frontend, or lost an endpoint.
    pub(super) fn take_stale(&mut self) -> BTreeSet<SocketAddr> {
        let mut stale = std::mem::take(&mut self.flows.node_ports);
        let touched = std::mem::take(&mut self.flows.frontends);
        let serving = self.serving(touched.keys().copied());
        for (frontend, before) in touched {
            let changed_hands = match (&before, serving.get(&frontend)) {
                (None, None) => false,
                (Some(_), None) | (None, Some(_)) => true,
                (Some(before), Some(after)) => before.iter().any(|e| after.binary_search(e).is_err()),
            };
            if changed_hands {
                stale.extend(udp_destinations(frontend, &self.flows.node_addresses));
            }
        }
        stale
    }
}
