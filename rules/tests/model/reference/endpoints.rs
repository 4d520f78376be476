//! Which endpoints a frontend leads to.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use portolan_rules::{
    model::{Endpoint, Node, Service, ServicePort, TrafficPolicy},
    ruleset::Family,
};

use super::frontends::{Frontend, is_of_services};
use crate::cluster::Cluster;

/// The endpoints of one port of a Service in one family.
pub struct Endpoints<'a> {
    node: &'a Node,
    all: BTreeMap<SocketAddr, &'a Endpoint>,
}

impl<'a> Endpoints<'a> {
    pub fn of(cluster: &'a Cluster, frontend: &Frontend<'_>, family: Family) -> Self {
        Self::of_port(cluster, frontend.service, frontend.port, family)
    }

    /// All endpoints that the policies of a port lead to. Policy Local for connections from outside counts only if the
    /// port can be reached from outside.
    pub fn reachable(&self, service: &Service, port: &ServicePort, family: Family) -> Vec<SocketAddr> {
        let mut external = service.load_balancer_ips.iter().chain(&service.external_ips);
        let is_exposed = port.node_port.is_some() || external.any(|ip| Family::of(*ip) == family);
        let uses_local = service.internal_policy == TrafficPolicy::Local
            || service.external_policy == TrafficPolicy::Local && is_exposed;
        let local = if uses_local { self.local() } else { Vec::new() };
        [self.cluster(), local].concat()
    }

    /// Gathers the endpoints from all slices, in the order of the slices' names. Of copies of one endpoint, a
    /// terminating copy never replaces another, and any other copy always does.
    pub fn of_port(cluster: &'a Cluster, service: &Service, port: &ServicePort, family: Family) -> Self {
        let mut slices: Vec<_> = cluster
            .slices
            .iter()
            .filter(|s| s.name.namespace == service.name.namespace && s.service == service.name.name)
            .collect();
        slices.sort_by_key(|slice| &slice.name.name);
        let mut all: BTreeMap<SocketAddr, &Endpoint> = BTreeMap::new();
        for slice in slices {
            for target in &slice.ports {
                if target.name != port.name || target.protocol != port.protocol {
                    continue;
                }
                for endpoint in &slice.endpoints {
                    let at = SocketAddr::new(endpoint.address, target.port);
                    let displaces = !endpoint.terminating || !all.contains_key(&at);
                    let is_usable = !is_of_services(cluster, endpoint.address);
                    if Family::of(endpoint.address) == family && displaces && is_usable {
                        all.insert(at, endpoint);
                    }
                }
            }
        }
        Self { node: &cluster.node, all }
    }

    /// The endpoints that policy Cluster leads to. Empty if the Service has no endpoint that can be used.
    pub fn cluster(&self) -> Vec<SocketAddr> {
        let ready = self.those(|endpoint| endpoint.ready);
        if ready.is_empty() {
            return self.those(|endpoint| endpoint.serving && endpoint.terminating);
        }
        let zone = self.node.zone.clone().unwrap_or_default();
        let hinted_to_node = self.hinted(&self.node.name, |endpoint| &endpoint.hints.nodes);
        let hinted_to_zone = self.hinted(&zone, |endpoint| &endpoint.hints.zones);
        hinted_to_node.or(hinted_to_zone).unwrap_or(ready)
    }

    /// The endpoints that policy Local leads to.
    pub fn local(&self) -> Vec<SocketAddr> {
        let ready = self.those(|endpoint| self.is_here(endpoint) && endpoint.ready);
        if ready.is_empty() {
            return self.those(|e| self.is_here(e) && e.serving && e.terminating);
        }
        ready
    }

    /// The ready endpoints with a hint for `own`. `None` if there are none, or if a ready endpoint has no hints.
    fn hinted(&self, own: &Arc<str>, hints: fn(&Endpoint) -> &Vec<Arc<str>>) -> Option<Vec<SocketAddr>> {
        let unhinted = self.those(|endpoint| endpoint.ready && hints(endpoint).is_empty());
        let for_own = self.those(|endpoint| endpoint.ready && hints(endpoint).contains(own));
        (!own.is_empty() && unhinted.is_empty() && !for_own.is_empty()).then_some(for_own)
    }

    fn is_here(&self, endpoint: &Endpoint) -> bool {
        endpoint.node.as_ref() == Some(&self.node.name)
    }

    /// The endpoints that meet a condition. An endpoint with weight 0 gets no new connections, as if it were not
    /// there.
    fn those(&self, condition: impl Fn(&Endpoint) -> bool) -> Vec<SocketAddr> {
        let chosen = self.all.iter().filter(|(_, endpoint)| endpoint.weight > 0 && condition(endpoint));
        chosen.map(|(at, _)| *at).collect()
    }

    /// The share of new connections that an endpoint gets, relative to the others.
    pub fn weight(&self, at: &SocketAddr) -> u16 {
        self.all[at].weight
    }
}

/// Whether some Service leads to an endpoint at this address that runs on this node, or may run here, as its node is
/// not known.
pub fn runs_here(cluster: &Cluster, address: IpAddr) -> bool {
    let family = Family::of(address);
    let handled = |service: &&Service| service.cluster_ips.iter().any(|ip| Family::of(*ip) == family);
    cluster.services.iter().filter(handled).any(|service| {
        service.ports.iter().any(|port| {
            let endpoints = Endpoints::of_port(cluster, service, port, family);
            [endpoints.cluster(), endpoints.local()].concat().into_iter().any(|at| {
                let endpoint = endpoints.all[&at];
                at.ip() == address && (endpoint.node.is_none() || endpoints.is_here(endpoint))
            })
        })
    })
}
