//! What becomes of a connection, and what decides it, in words.

use std::net::{IpAddr, SocketAddr};

use indexmap::IndexMap;

use super::{
    ExplainedEndpoint, ExplainedFrontend, ExplainedPort, ExplainedService, Finding, Origin, StandIns, View,
};
use crate::{
    frontends::FrontendKind,
    model::{ObjectName, Protocol, Service, TrafficPolicy},
    ruleset::Family,
    simulate::{Fate, Memory, Outcome, Packet, Probability},
};

/// A share as a percentage.
pub fn percent(share: &Probability) -> String {
    format!("{:.1} %", share.to_f64() * 100.0)
}

/// Reads where a connection comes from: `pod/NAMESPACE/NAME`, an address, `pod`, `node`, `outside` or
/// `outside=ADDRESS`.
///
/// # Errors
/// Returns what is wrong with the text, in a sentence.
pub fn origin(view: &View<'_>, text: &str, family: Family) -> Result<Origin, String> {
    let address = |text: &str| {
        let address: IpAddr = text.parse().map_err(|_| format!("FROM: {text:?} is not an IP address"))?;
        if Family::of(address) == family { Ok(address) } else { Err(other_family(address, family)) }
    };
    match text.split_once(['/', '=']) {
        None if text == "node" => Ok(Origin::Node),
        None if text == "outside" => Ok(Origin::Outside),
        None if text == "pod" => Ok(Origin::Pod),
        Some(("outside", given)) => address(given).map(Origin::Address),
        Some(("pod", name)) => {
            let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
            let pod = view
                .workloads
                .pods
                .iter()
                .find(|pod| *pod.name.namespace == *namespace && *pod.name.name == *name);
            let hint =
                if view.workloads.pods.is_empty() { ", which has no Pods; give its address" } else { "" };
            let pod =
                pod.ok_or_else(|| format!("FROM: there is no Pod {namespace}/{name} in the input{hint}"))?;
            let of_family = pod.addresses.iter().find(|address| Family::of(**address) == family);
            of_family
                .copied()
                .map(Origin::Address)
                .ok_or_else(|| format!("FROM: Pod {namespace}/{name} has no address of family {family}"))
        }
        _ => address(text).map(Origin::Address),
    }
}

fn other_family(address: IpAddr, family: Family) -> String {
    format!("FROM: {address} is not of family {family}, as the destination is")
}

/// Reads where a connection goes to: `svc/NAMESPACE/NAME[:PORT]`, `NAME.NAMESPACE.svc[:PORT]`, `ADDRESS:PORT` or
/// `:NODEPORT`.
///
/// # Errors
/// Returns what is wrong with the text, in a sentence. `no_service` makes the sentence for a Service that does not
/// exist.
pub fn destination(
    view: &View<'_>,
    text: &str,
    protocol: Protocol,
    no_service: impl Fn(&ObjectName) -> String,
) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let number = |port: &str| port.parse::<u16>().map_err(|_| format!("TO: {port:?} is not a port number"));
    if let Some(port) = text.strip_prefix(':') {
        let port = number(port)?;
        let address = Family::ALL.into_iter().find_map(|family| view.node_address(family));
        let address = address.ok_or("TO: no address of this node answers node ports")?;
        return Ok(SocketAddr::new(address, port));
    }
    let (name, port) = service_name(text).ok_or_else(|| {
        format!(
            "TO: {text:?} is not svc/NAMESPACE/NAME[:PORT], NAME.NAMESPACE.svc[:PORT], ADDRESS:PORT or :NODEPORT"
        )
    })?;
    let Some(service) = view.service(&name) else {
        return Err(format!("TO: {}", no_service(&name)));
    };
    let is_meant = |wanted: &&ExplainedPort| {
        let given =
            port.is_none_or(|port| *wanted.port.name == *port || wanted.port.port.to_string() == port);
        wanted.port.protocol == protocol && given
    };
    let meant = service.ports.iter().find(is_meant).ok_or_else(|| {
        let ports: Vec<String> =
            service.ports.iter().map(|port| format!("{}/{}", port.port.port, port.port.protocol)).collect();
        format!("TO: Service {name} has no such port for {}; it has {}", protocol, ports.join(", "))
    })?;
    let cluster_ip = service.service.cluster_ips.iter().find(|address| Family::of(**address) == meant.family);
    let cluster_ip = cluster_ip.ok_or_else(|| format!("TO: Service {name} has no ClusterIP"))?;
    Ok(SocketAddr::new(*cluster_ip, meant.port.port))
}

/// The name of a Service, and its port if one is given.
pub fn service_name(text: &str) -> Option<(ObjectName, Option<&str>)> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    if let Some(name) = name.strip_prefix("svc/").or_else(|| name.strip_prefix("service/")) {
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        return Some((ObjectName::new(namespace, name), port));
    }
    let mut labels = name.split('.');
    match (labels.next(), labels.next(), labels.next()) {
        (Some(name), Some(namespace), Some("svc")) => Some((ObjectName::new(namespace, name), port)),
        _ => None,
    }
}

/// A connection, and what becomes of it.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Its first packet.
    pub packet: Packet,
    /// Its protocol.
    pub protocol: Protocol,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Whether a second connection of the client would reach the same endpoint.
    keeps_endpoint: bool,
}

impl Trace {
    /// Follows the first connection of a client that is not remembered.
    pub fn new(view: &View<'_>, origin: Origin, to: SocketAddr, protocol: Protocol) -> Self {
        Self::remembering(view, origin, to, protocol, &Memory::default())
    }

    /// Follows a connection while these clients are remembered.
    pub fn remembering(
        view: &View<'_>,
        origin: Origin,
        to: SocketAddr,
        protocol: Protocol,
        memory: &Memory,
    ) -> Self {
        let packet = view.packet(origin, to, protocol.number());
        let outcome = view.meet(&packet, memory);
        let keeps_endpoint = view.keeps_endpoint(&packet, memory, &outcome);
        Self { packet, protocol, outcome, keeps_endpoint }
    }

    /// Where it goes to.
    pub const fn to(&self) -> SocketAddr {
        SocketAddr::new(self.packet.destination, self.packet.destination_port)
    }

    /// Whether it reaches an endpoint.
    pub fn reaches(&self) -> bool {
        self.outcome.fates().keys().any(|fate| matches!(fate, Fate::Sent { .. }))
    }

    /// The answer in one line.
    pub fn answer(&self) -> String {
        answer(&self.outcome)
    }

    /// What decided it, step by step, in words.
    pub fn ladder(&self, view: &View<'_>) -> Vec<String> {
        let (to, protocol) = (self.to(), self.protocol);
        let Some(found) = find(view, to, protocol) else {
            let mut lines = vec![format!("{to}/{protocol} is not a frontend of any Service")];
            if matches!(self.outcome.only_fate(), Some(Fate::Dropped | Fate::Rejected(_))) {
                lines.push(
                    "it is an address of a Service or in a ServiceCIDR, and has no such port".to_owned(),
                );
            }
            return lines;
        };
        let (service, port, frontend) = &found;
        let mut lines = vec![
            format!(
                "{to}/{protocol} is the {} of Service {} ({}){}",
                frontend.kind.name(),
                service.service.name,
                frontend.kind.field(),
                StandIns::mark(frontend.is_stand_in)
            ),
            policy(frontend),
        ];
        let shut_out = self.shut_out(&service.service, frontend);
        let is_shut_out = shut_out.is_some();
        lines.extend(shut_out);
        let fates = self.outcome.fates();
        lines.extend(port.endpoints.iter().map(|endpoint| line(endpoint, frontend, &fates)));
        if self.reaches() {
            lines.extend(self.affinity(&service.service));
        } else if !is_shut_out {
            lines.extend(service.findings.first().map(because));
        }
        lines
    }

    /// Reports that no source range of the Service admits the client.
    fn shut_out(&self, service: &Service, frontend: &ExplainedFrontend) -> Option<String> {
        let ranges = &service.source_ranges;
        let is_restricted = frontend.kind == FrontendKind::LoadBalancer && !ranges.is_empty();
        if !is_restricted || self.outcome.only_fate() != Some(Fate::Dropped) {
            return None;
        }
        let source = self.packet.source;
        let is_admitted = ranges.iter().any(|range| range.contains(source))
            || ranges.iter().all(|range| Family::of(range.ip()) != Family::of(source));
        let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        (!is_admitted).then(|| {
            let ranges = ranges.join(", ");
            format!("source {source} is in none of {ranges} (spec.loadBalancerSourceRanges)")
        })
    }

    /// What session affinity does with this connection and with the next one.
    fn affinity(&self, service: &Service) -> Option<String> {
        let seconds = service.affinity_timeout?;
        let client = self.packet.source;
        let text = match (self.keeps_endpoint, self.outcome.recalled()) {
            (false, _) => "a second connection chooses an endpoint anew".to_owned(),
            (true, Some(endpoint)) => format!(
                "client {client} is remembered, and goes to {endpoint} again; so does its next connection within {seconds} s"
            ),
            (true, None) => format!(
                "the first connection of client {client} chooses an endpoint; the second, within {seconds} s, goes to the same one"
            ),
        };
        Some(format!("sessionAffinity ClientIP: {text} (spec.sessionAffinity)"))
    }
}

/// What becomes of a connection, in one line.
pub fn answer(outcome: &Outcome) -> String {
    let fates = outcome.fates();
    let source = {
        let masqueraded = fates.keys().filter(|f| matches!(f, Fate::Sent { masqueraded: true, .. })).count();
        match masqueraded {
            0 => "source kept",
            n if n == fates.len() => "source becomes this node",
            _ => "source becomes this node for some",
        }
    };
    let sent: Vec<_> = fates.iter().filter(|(fate, _)| matches!(fate, Fate::Sent { .. })).collect();
    match (sent.as_slice(), fates.keys().next()) {
        ([(Fate::Sent { to, .. }, _)], _) if fates.len() == 1 => format!("reaches {to}; {source}"),
        (several, _) if !several.is_empty() => {
            let first = several[0].1;
            let each = if several.iter().all(|(_, share)| *share == first) {
                format!("{} each", percent(first))
            } else {
                "with the shares below".to_owned()
            };
            format!("reaches one of {} endpoints, {each}; {source}", several.len())
        }
        (_, Some(Fate::Rejected(_))) => "refused".to_owned(),
        (_, Some(Fate::Dropped)) => "dropped".to_owned(),
        (_, Some(Fate::Untouched { .. })) => "left alone: goes where it was addressed to".to_owned(),
        _ => "not known".to_owned(),
    }
}

/// The policy of a frontend.
fn policy(frontend: &ExplainedFrontend) -> String {
    let is_internal = frontend.kind == FrontendKind::ClusterIp;
    let policy = match frontend.policy {
        TrafficPolicy::Cluster => "Cluster: endpoints of every node",
        TrafficPolicy::Local if is_internal => "Local: endpoints of this node",
        TrafficPolicy::Local => "Local: endpoints of this node for connections from outside",
    };
    let field = if is_internal { "spec.internalTrafficPolicy" } else { "spec.externalTrafficPolicy" };
    format!("policy {policy} ({field})")
}

/// An endpoint, and its share or why it has none.
fn line(
    endpoint: &ExplainedEndpoint,
    frontend: &ExplainedFrontend,
    fates: &IndexMap<Fate, Probability>,
) -> String {
    let pod = endpoint.pod.as_ref().map(|pod| format!(" Pod {pod}")).unwrap_or_default();
    let is_it = |fate: &Fate| matches!(fate, Fate::Sent { to, .. } if *to == endpoint.at);
    let share = fates.iter().find(|(fate, _)| is_it(fate));
    let what = match (share, endpoint.left_out(frontend.policy)) {
        (Some((fate, share)), _) => {
            let masqueraded = matches!(fate, Fate::Sent { masqueraded: true, .. });
            let source = if masqueraded { ", masqueraded" } else { "" };
            format!("{share} ({}){source}", percent(share))
        }
        (None, Some(reason)) => format!("not used: {reason} ({})", reason.field()),
        (None, None) => "not for this client".to_owned(),
    };
    format!("endpoint {}{}{pod}: {what}", endpoint.at, StandIns::mark(endpoint.is_stand_in))
}

/// The worst finding of a Service.
fn because(finding: &Finding) -> String {
    format!("because {} ({}): {}", finding.reason, finding.reason.field(), finding.reason.hint())
}

/// The frontend at an address, with its port and the Service that owns it.
fn find(
    view: &View<'_>,
    to: SocketAddr,
    protocol: Protocol,
) -> Option<(ExplainedService, ExplainedPort, ExplainedFrontend)> {
    let (key, owner) = view.owner_at(to, protocol)?;
    let service = view.service(owner)?;
    let has = |port: &&ExplainedPort| port.frontends.iter().any(|f| f.key == key && f.left_out.is_none());
    let port = service.ports.iter().find(has)?.clone();
    let frontend = port.frontends.iter().find(|frontend| frontend.key == key)?.clone();
    Some((service, port, frontend))
}
