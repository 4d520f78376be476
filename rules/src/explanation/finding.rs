//! What is wrong with a Service as a whole.

use std::{cmp::Reverse, collections::BTreeSet, net::IpAddr, sync::Arc};

use super::{
    explained::{ExplainedPort, ExplainedService, Finding, View},
    reason::{NODE_PORTS, Reason, Severity},
};
use crate::{
    frontends::FrontendKind,
    model::{Endpoint, Service, TrafficPolicy},
    ruleset::Family,
    selection::EndpointScope,
    state::ServiceState,
};

/// All findings of a Service, the worst first.
pub(super) fn of(view: &View<'_>, entry: &ServiceState, explained: &ExplainedService) -> Vec<Finding> {
    let service = &*explained.service;
    let mut findings = Vec::new();
    let mut note = |severity, reason: Reason, subject: String| {
        let service = service.name.clone();
        let finding = Finding { severity, reason, service, subject };
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    };
    if view.state.quarantined().contains(&service.name) {
        note(Severity::Error, Reason::Quarantined, String::new());
    }
    for port in &explained.ports {
        let subject = format!("port {port}");
        if let Some(reason) = why_refused(view, entry, service, port) {
            note(Severity::Error, reason, subject.clone());
        } else if let Some(reason) = dropped_here(port) {
            note(reason.severity(), reason, subject.clone());
        }
        for frontend in &port.frontends {
            if let Some(reason) = &frontend.left_out {
                note(reason.severity(), reason.clone(), frontend.key.to_string());
            }
        }
    }
    let others = of_load_balancer(view, service).into_iter().chain(incomplete_hints(entry));
    for reason in others.chain(out_of_range(view, service)) {
        note(reason.severity(), reason, String::new());
    }
    for (field, message) in view.workloads.ignored.get(&service.name).into_iter().flatten() {
        let reason = Reason::IgnoredField { message: Arc::clone(message) };
        note(reason.severity(), reason, field.to_string());
    }
    findings.sort_by_key(|finding| Reverse(finding.severity));
    findings
}

/// Why no endpoint is left under any policy: the cause that explains it best.
fn why_refused(
    view: &View<'_>,
    entry: &ServiceState,
    service: &Service,
    port: &ExplainedPort,
) -> Option<Reason> {
    if port.endpoints.iter().any(|endpoint| endpoint.cluster.is_none()) {
        return None;
    }
    // An endpoint that is listed but left out has the best reason; of several reasons, the worst counts.
    let listed = port.endpoints.iter().filter_map(|endpoint| endpoint.cluster.clone());
    let cause = listed.max_by_key(Reason::severity).or_else(|| view.workloads.cause(&service.name));
    if cause.is_some() {
        return cause;
    }
    let slices = || entry.slices.iter().filter(|slice| !slice.endpoints.is_empty());
    if slices().next().is_none() {
        return Some(Reason::NoEndpoints);
    }
    let of_protocol = slices().flat_map(|slice| &slice.ports).filter(|p| p.protocol == port.port.protocol);
    let names: BTreeSet<&Arc<str>> = of_protocol.map(|port| &port.name).collect();
    if names.contains(&port.port.name) {
        return Some(Reason::NoEndpointOfFamily { family: port.family });
    }
    if slices().flat_map(|slice| &slice.ports).any(|other| other.name == port.port.name) {
        return Some(Reason::ProtocolDiffers { protocol: port.port.protocol });
    }
    Some(Reason::NoSuchPort { names: names.into_iter().cloned().collect() })
}

/// Reports that connections are dropped on this node, while other nodes have endpoints.
fn dropped_here(port: &ExplainedPort) -> Option<Reason> {
    let is_empty = port.endpoints.iter().all(|endpoint| endpoint.local.is_some());
    let mut local = port.frontends.iter().filter(|frontend| frontend.policy == TrafficPolicy::Local);
    let internal = local.clone().any(|frontend| frontend.kind == FrontendKind::ClusterIp);
    (is_empty && local.next().is_some()).then_some(Reason::DroppedHere { internal })
}

fn of_load_balancer(view: &View<'_>, service: &Service) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let facts = view.workloads.selectors.get(&service.name);
    if facts.is_some_and(|facts| facts.is_load_balancer) {
        if service.load_balancer_ips.is_empty() && !facts.is_some_and(|facts| facts.has_load_balancer) {
            reasons.push(Reason::NoLoadBalancerAddress);
        }
        if EndpointScope::of(FrontendKind::LoadBalancer, service).uses_local()
            && service.health_check_node_port.is_none()
        {
            reasons.push(Reason::NoHealthCheckNodePort);
        }
    }
    let admits = |address: &IpAddr| {
        service.source_ranges.iter().any(|range| Family::of(range.ip()) == Family::of(*address))
    };
    if !service.source_ranges.is_empty() {
        let closed = service.load_balancer_ips.iter().filter(|address| !admits(address));
        reasons.extend(closed.map(|address| Reason::SourceRangesOfOneFamily { address: *address }));
    }
    reasons
}

/// Addresses and ports that an API server would not have accepted.
fn out_of_range(view: &View<'_>, service: &Service) -> Vec<Reason> {
    let outside = service.cluster_ips.iter().filter(|address| view.state.is_outside_service_cidrs(**address));
    let mut reasons: Vec<Reason> =
        outside.map(|address| Reason::ClusterIpOutOfRange { address: *address }).collect();
    // A Service that was in a cluster has a node port of that cluster's range, which may differ from the default.
    if view.workloads.is_of_manifests && service.created.is_none() {
        let ports = service.ports.iter().filter_map(|port| port.node_port);
        let outside = ports.filter(|port| !NODE_PORTS.contains(port));
        reasons.extend(outside.map(|port| Reason::NodePortOutOfRange { port }));
    }
    reasons
}

/// Reports that only some ready endpoints have topology hints.
fn incomplete_hints(entry: &ServiceState) -> Option<Reason> {
    let ready = || entry.slices.iter().flat_map(|slice| &slice.endpoints).filter(|endpoint| endpoint.ready);
    let has_hints = |endpoint: &&Endpoint| !endpoint.hints.zones.is_empty();
    let missing = ready().filter(|endpoint| !has_hints(endpoint)).count();
    (missing > 0 && ready().any(|endpoint| has_hints(&endpoint)))
        .then_some(Reason::IncompleteHints { missing })
}
