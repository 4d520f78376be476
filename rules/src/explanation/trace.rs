//! What becomes of a connection, and what decides it, in words.

use std::net::{IpAddr, SocketAddr};

use super::{ExplainedFrontend, ExplainedPort, ExplainedService, Origin, StandIns, View};
use crate::{
    frontends::{FrontendKey, FrontendKind},
    model::{ObjectName, Protocol, TrafficPolicy},
    ruleset::Family,
    simulate::{Fate, Outcome, Probability},
};

/// A share as a percentage.
pub fn percent(share: &Probability) -> String {
    format!("{:.1} %", share.to_f64() * 100.0)
}

/// Reads where a connection comes from: `pod/NAMESPACE/NAME`, an address, `pod`, `node`, `outside` or `outside=ADDRESS`.
///
/// # Errors
/// What is wrong with it, in a sentence.
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

/// Reads where it goes to: `svc/NAMESPACE/NAME[:PORT]`, `NAME.NAMESPACE.svc[:PORT]`, `ADDRESS:PORT` or `:NODEPORT`.
///
/// # Errors
/// What is wrong with it, in a sentence; `no_service` says that there is no such Service.
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

/// The answer in one line.
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

/// What decided it, step by step, in words.
pub fn ladder(view: &View<'_>, to: SocketAddr, protocol: Protocol, outcome: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    let found = find(view, to, protocol);
    match &found {
        None => {
            lines.push(format!("{to}/{protocol} is no frontend of any Service"));
            if matches!(outcome.only_fate(), Some(Fate::Dropped | Fate::Rejected(_))) {
                lines.push(
                    "it is an address of a Service or in a ServiceCIDR, and has no such port".to_owned(),
                );
            }
        }
        Some((service, port, frontend)) => {
            let field = frontend.kind.field();
            lines.push(format!(
                "{to}/{} is the {} of Service {} ({field}){}",
                protocol,
                frontend.kind.name(),
                service.service.name,
                StandIns::mark(frontend.is_stand_in)
            ));
            let is_internal = frontend.kind == FrontendKind::ClusterIp;
            let policy = match frontend.policy {
                TrafficPolicy::Cluster => "Cluster: endpoints of every node",
                TrafficPolicy::Local if is_internal => "Local: endpoints of this node",
                TrafficPolicy::Local => "Local: endpoints of this node for connections from outside",
            };
            let field = if is_internal { "spec.internalTrafficPolicy" } else { "spec.externalTrafficPolicy" };
            lines.push(format!("policy {policy} ({field})"));
            let fates = outcome.fates();
            for endpoint in &port.endpoints {
                let pod = endpoint.pod.as_ref().map(|pod| format!(" Pod {pod}")).unwrap_or_default();
                let share = fates
                    .iter()
                    .find(|(fate, _)| matches!(fate, Fate::Sent { to, .. } if *to == endpoint.at));
                let what = match (share, endpoint.left_out(frontend.policy)) {
                    (Some((fate, share)), _) => {
                        let masqueraded = matches!(fate, Fate::Sent { masqueraded: true, .. });
                        let source = if masqueraded { ", masqueraded" } else { "" };
                        format!("{share} ({}){source}", percent(share))
                    }
                    (None, Some(reason)) => format!("not used: {reason} ({})", reason.field()),
                    (None, None) => "not for this client".to_owned(),
                };
                let stand_in = StandIns::mark(endpoint.is_stand_in);
                lines.push(format!("endpoint {}{stand_in}{pod}: {what}", endpoint.at));
            }
            if !outcome.fates().keys().any(|fate| matches!(fate, Fate::Sent { .. })) {
                let worst = service.findings.first();
                lines.extend(worst.map(|finding| {
                    format!(
                        "because {} ({}): {}",
                        finding.reason,
                        finding.reason.field(),
                        finding.reason.hint()
                    )
                }));
            }
            if let Some(seconds) = service.service.affinity_timeout {
                lines.push(format!(
                    "sessionAffinity ClientIP: later connections of this client within {seconds} s go to the same endpoint"
                ));
            }
        }
    }
    lines
}

/// The frontend at an address, of the Service that has it.
fn find(
    view: &View<'_>,
    to: SocketAddr,
    protocol: Protocol,
) -> Option<(ExplainedService, ExplainedPort, ExplainedFrontend)> {
    let family = Family::of(to.ip());
    let at = FrontendKey::Address(to.ip(), protocol, to.port());
    let node_port = view.compiler.node_port_addresses(family).contains(&to.ip());
    let keys = [Some(at), node_port.then_some(FrontendKey::NodePort(family, protocol, to.port()))];
    let (key, owner) =
        keys.into_iter().flatten().find_map(|key| Some((key, view.compiler.owner_of(&key)?.clone())))?;
    let service = view.service(&owner)?;
    let has = |port: &&ExplainedPort| port.frontends.iter().any(|f| f.key == key && f.left_out.is_none());
    let port = service.ports.iter().find(has)?.clone();
    let frontend = port.frontends.iter().find(|frontend| frontend.key == key)?.clone();
    Some((service, port, frontend))
}
