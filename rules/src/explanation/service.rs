//! Explains a Service: its frontends, and for each endpoint why it is left out.

use std::{collections::HashSet, net::SocketAddr};

use super::{
    explained::{ExplainedEndpoint, ExplainedFrontend, ExplainedPort, ExplainedService, View},
    finding,
    reason::Reason,
};
use crate::{
    frontends::{FrontendKey, FrontendKind, frontends_of},
    model::{Endpoint, Node, ObjectName, Service, ServicePort, TrafficPolicy},
    restart::leftovers::known_node,
    ruleset::{Family, Ruleset},
    selection::{EndpointScope, SlicesByPort, Topology, is_local, merge},
    state::ServiceState,
};

impl<'a> View<'a> {
    /// The ruleset that the compiler makes, or the one that the kernel holds.
    pub fn ruleset(&self) -> &'a Ruleset {
        self.rules.get_or_init(|| self.compiler.ruleset())
    }

    /// All Services, in order of their names.
    pub fn services(&self) -> Vec<ExplainedService> {
        let mut names: Vec<&ObjectName> = self.state.entries().map(|(name, _)| name).collect();
        names.sort();
        names.into_iter().filter_map(|name| self.service(name)).collect()
    }

    /// One Service.
    pub fn service(&self, name: &ObjectName) -> Option<ExplainedService> {
        let entry = self.state.entry(name)?;
        let service = entry.service.clone()?;
        let families = Family::ALL
            .into_iter()
            .filter(|family| service.cluster_ips.iter().any(|address| Family::of(*address) == *family));
        let ports = families.flat_map(|family| service.ports.iter().map(move |port| (family, port)));
        let explain = |(family, port)| ExplainedPort {
            port: ServicePort::clone(port),
            family,
            frontends: frontends_of(&service, port, family)
                .into_iter()
                .map(|(key, kind)| self.frontend(&service, entry, key, kind))
                .collect(),
            endpoints: self.endpoints(&service, entry, family, port),
        };
        let mut ports: Vec<ExplainedPort> = ports.map(explain).collect();
        let mut taken = HashSet::new();
        for frontend in ports.iter_mut().flat_map(|port| &mut port.frontends) {
            if !taken.insert(frontend.key) {
                frontend.left_out.get_or_insert(Reason::RepeatedPort);
            }
        }
        let mut explained = ExplainedService { service, ports, findings: Vec::new() };
        explained.findings = finding::of(self, entry, &explained);
        Some(explained)
    }

    fn frontend(
        &self,
        service: &Service,
        entry: &ServiceState,
        key: FrontendKey,
        kind: FrontendKind,
    ) -> ExplainedFrontend {
        let others = match key {
            FrontendKey::Address(address, ..) => entry
                .cluster_ip_of(address)
                .map(|owner| Reason::OthersClusterIp { address, owner: owner.clone() }),
            FrontendKey::NodePort(..) => None,
        };
        let held = || {
            let owner = self.compiler.owner_of(&key)?;
            (*owner != service.name).then(|| Reason::HeldBy { owner: owner.clone() })
        };
        let policy = if EndpointScope::of(kind, service).uses_local() {
            TrafficPolicy::Local
        } else {
            TrafficPolicy::Cluster
        };
        let is_stand_in = self.workloads.stand_ins.has_frontend(&key);
        ExplainedFrontend { key, kind, policy, left_out: others.or_else(held), is_stand_in }
    }

    fn endpoints(
        &self,
        service: &Service,
        entry: &ServiceState,
        family: Family,
        port: &ServicePort,
    ) -> Vec<ExplainedEndpoint> {
        // Includes the endpoints that the compiler leaves out from the start.
        let slices = SlicesByPort::new(entry.slices.iter().map(|slice| &**slice));
        let all = merge(&slices, port, family);
        let usable: Vec<_> = all.iter().filter(|(at, _)| !entry.leaves_out(at.ip())).copied().collect();
        let judge = Judge::new(&usable, self.state.node());
        let explain = |(at, endpoint): &(SocketAddr, &Endpoint)| {
            let refused = entry.left_out().find(|(address, _)| *address == at.ip());
            let refused = refused.map(|(_, owner)| Reason::ServiceAddress { owner: owner.cloned() });
            let pod = self.workloads.pod_at(&service.name.namespace, at.ip());
            let reason = |policy| {
                let reason = refused.clone().or_else(|| judge.left_out(endpoint, policy))?;
                Some(match (reason, pod) {
                    (Reason::NotReady { .. }, Some(pod)) => {
                        Reason::NotReady { condition: pod.condition.clone() }
                    }
                    (reason, _) => reason,
                })
            };
            ExplainedEndpoint {
                at: *at,
                node: known_node(endpoint),
                pod: pod.map(|pod| pod.name.clone()),
                weight: endpoint.weight,
                terminating: endpoint.terminating,
                is_stand_in: self.workloads.stand_ins.addresses.contains(&at.ip()),
                cluster: reason(TrafficPolicy::Cluster),
                local: reason(TrafficPolicy::Local),
            }
        };
        all.iter().map(explain).collect()
    }
}

/// Finds why endpoints are left out, given all endpoints of a port.
#[derive(Debug)]
struct Judge<'a> {
    node: &'a Node,
    topology: Topology,
    /// Whether a ready endpoint is near enough, or on this node, so that terminating endpoints are not needed.
    any_ready: bool,
    any_ready_here: bool,
}

impl<'a> Judge<'a> {
    fn new(endpoints: &[(SocketAddr, &Endpoint)], node: &'a Node) -> Self {
        let undrained: Vec<_> = endpoints.iter().filter(|(_, e)| e.weight > 0).copied().collect();
        let topology = Topology::of(&undrained, node);
        let ready = |e: &Endpoint| e.ready && topology.admits(e, node);
        Self {
            node,
            topology,
            any_ready: undrained.iter().any(|(_, e)| ready(e)),
            any_ready_here: undrained.iter().any(|(_, e)| e.ready && is_local(e, node)),
        }
    }

    /// Why this policy does not lead to an endpoint; `None` if it does.
    fn left_out(&self, endpoint: &Endpoint, policy: TrafficPolicy) -> Option<Reason> {
        let local_only = policy == TrafficPolicy::Local;
        if endpoint.weight == 0 {
            return Some(Reason::Drained);
        }
        if local_only && !is_local(endpoint, self.node) {
            return Some(Reason::NotOnThisNode { node: known_node(endpoint) });
        }
        if endpoint.ready {
            if local_only || self.topology.admits(endpoint, self.node) {
                return None;
            }
            return match self.topology {
                Topology::SameNode => Some(Reason::OtherNodeHinted { nodes: endpoint.hints.nodes.clone() }),
                Topology::SameZone => Some(Reason::OtherZone { zones: endpoint.hints.zones.clone() }),
                Topology::Anywhere => None,
            };
        }
        if !endpoint.terminating {
            return Some(Reason::NotReady { condition: None });
        }
        let any_ready = if local_only { self.any_ready_here } else { self.any_ready };
        match (endpoint.serving, any_ready) {
            (true, false) => None,
            (true, true) => Some(Reason::Terminating),
            (false, _) => Some(Reason::NotServing),
        }
    }
}
