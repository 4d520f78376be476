//! Makes the picture from the explanation.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    fold::{fold, fold_rows},
    model::{
        Address, Counts, Frontend, Line, Mark, More, NodeBox, Panel, Picture, Place, PodCard, Port, Row,
        ShownFinding, Subject,
    },
    words::{clean, number},
};
use crate::{
    explanation::{
        ExplainedEndpoint, ExplainedFrontend, ExplainedPort, ExplainedService, Finding, Origin, PolicyShares,
        Severity, StandIns, View,
    },
    frontends::{FrontendKey, FrontendKind},
    model::LoadBalancing,
};

/// Maximum number of Services that are drawn as a whole; more are drawn as an overview.
pub(super) const PANELS: usize = 6;
/// Maximum number of findings of a Service.
const PROBLEMS: usize = 5;

/// Frontends from the outside in: the outer ones lead through the inner ones.
pub const OUTSIDE_IN: [FrontendKind; 4] =
    [FrontendKind::LoadBalancer, FrontendKind::ExternalIp, FrontendKind::NodePort, FrontendKind::ClusterIp];

/// The key by which nodes are ordered: their place, whether their name is unknown, and the name.
type NodeKey = (Place, bool, Option<Arc<str>>);

/// Makes the picture of these Services: each as a whole if they are few.
pub fn picture(view: &View<'_>, services: &[ExplainedService], origin: &str) -> Picture {
    if services.len() > PANELS {
        return overview(view, services, origin);
    }
    let panels = services.iter().map(|service| fold(panel(view, service))).collect();
    Picture { origin: clean(origin), earlier: None, subject: Subject::Services(panels) }
}

/// An overview of these Services.
pub fn overview(view: &View<'_>, services: &[ExplainedService], origin: &str) -> Picture {
    let mut rows: Vec<Row> = services.iter().map(|service| row(view, service)).collect();
    // Services with findings come first.
    let severity = |row: &Row| row.problem.as_ref().map(|problem| problem.severity);
    rows.sort_by_key(|row| Reverse(severity(row).filter(|severity| *severity > Severity::Info)));
    fold_rows(rows, origin)
}

/// A Service in an overview.
pub fn row(view: &View<'_>, service: &ExplainedService) -> Row {
    let mut counts = Counts::default();
    for port in &service.ports {
        for endpoint in &port.endpoints {
            let is_used = port.policies().any(|policy| endpoint.left_out(policy).is_none());
            let count = match place(view, endpoint.node.as_ref()) {
                _ if !is_used => &mut counts.unused,
                Place::Here => &mut counts.here,
                Place::Zone => &mut counts.zone,
                Place::Elsewhere => &mut counts.elsewhere,
            };
            *count += 1;
        }
    }
    let frontends = || service.ports.iter().flat_map(|port| &port.frontends);
    let outermost =
        OUTSIDE_IN.into_iter().find_map(|kind| frontends().find(|frontend| frontend.kind == kind));
    let more = match frontends().count() {
        0 | 1 => String::new(),
        n => format!(" +{}", number(n - 1)),
    };
    Row {
        mark: Mark::Same,
        was_used: None,
        name: clean(&service.service.name.to_string()),
        kind: outermost.map_or("no address", |frontend| frontend.kind.name()),
        address: outermost.map(|first| format!("{}{more}", address(view, &first.key))).unwrap_or_default(),
        counts,
        problem: service
            .findings
            .first()
            .map(|finding| ShownFinding { sentence: clean(&finding.reason.to_string()), ..problem(finding) }),
    }
}

fn problem(finding: &Finding) -> ShownFinding {
    let subject = if finding.subject.is_empty() { String::new() } else { format!("{}: ", finding.subject) };
    ShownFinding {
        severity: finding.severity,
        sentence: clean(&format!("{subject}{}", finding.reason)),
        hint: format!("{}: {}", finding.reason.field(), finding.reason.hint()),
    }
}

/// A Service with all its ports and endpoints.
pub(super) fn panel(view: &View<'_>, explained: &ExplainedService) -> Panel {
    let service = &explained.service;
    let mut notes = Vec::new();
    if service.load_balancing == LoadBalancing::SourceHash {
        notes.push("source-hash: a client's address decides on its endpoint".to_owned());
    }
    if let Some(seconds) = service.affinity_timeout {
        notes.push(format!("sessionAffinity ClientIP: a client keeps its endpoint for {seconds} s"));
    }
    Panel {
        mark: Mark::Same,
        name: clean(&service.name.to_string()),
        problems: explained.findings.iter().take(PROBLEMS).map(problem).collect(),
        notes,
        ports: explained.ports.iter().map(|port| self::port(view, explained, port)).collect(),
        more_ports: 0,
    }
}

fn port(view: &View<'_>, explained: &ExplainedService, port: &ExplainedPort) -> Port {
    let frontends = OUTSIDE_IN.into_iter().filter_map(|kind| frontend(view, port, kind)).collect();
    let shares = view.shares(explained, port);
    let mut of_nodes: BTreeMap<NodeKey, Vec<&ExplainedEndpoint>> = BTreeMap::new();
    let this = &view.state.node().name;
    of_nodes.insert((Place::Here, false, Some(this.clone())), Vec::new());
    for endpoint in &port.endpoints {
        let node = endpoint.node.as_ref();
        let place = place(view, node);
        // Endpoints whose node is not known come last.
        let key = (place, node.is_none(), node.cloned());
        of_nodes.entry(key).or_default().push(endpoint);
    }
    let idle_nodes = view.workloads.nodes.keys().filter(|name| {
        let key = (place(view, Some(name)), false, Some((*name).clone()));
        *name != this && !of_nodes.contains_key(&key)
    });
    let idle_nodes = idle_nodes.count();
    let nodes = of_nodes
        .into_iter()
        .map(|((place, _, name), endpoints)| node(view, place, name.as_ref(), &endpoints, &shares))
        .collect();
    Port { title: clean(&port.to_string()), frontends, nodes, more: More::default(), idle_nodes }
}

/// Address or node port, as a client would write it.
fn address(view: &View<'_>, key: &FrontendKey) -> String {
    match *key {
        FrontendKey::Address(address, _, port) => SocketAddr::new(address, port).to_string(),
        FrontendKey::NodePort(family, _, port) => match view.node_address(family) {
            Some(_) => format!(":{port} of every node"),
            None => format!(":{port}, at no address of this node"),
        },
    }
}

fn frontend(view: &View<'_>, port: &ExplainedPort, wanted: FrontendKind) -> Option<Frontend> {
    let all: Vec<&ExplainedFrontend> =
        port.frontends.iter().filter(|frontend| frontend.kind == wanted).collect();
    let first = all.first()?;
    let served = all.iter().find(|frontend| frontend.left_out.is_none());
    // A ClusterIP is for clients inside the cluster; the other kinds are for clients outside.
    let origin = if wanted == FrontendKind::ClusterIp { Origin::Pod } else { Origin::Outside };
    let answers = served.map(|frontend| view.answers(&frontend.key)).unwrap_or_default();
    Some(Frontend {
        kind: wanted.name(),
        policy: first.policy.name(),
        addresses: all
            .iter()
            .map(|frontend| Address {
                mark: Mark::Same,
                text: address(view, &frontend.key) + StandIns::mark(frontend.is_stand_in),
                left_out: frontend.left_out.as_ref().map(|reason| clean(&reason.to_string())),
            })
            .collect(),
        more: 0,
        answers,
        was: None,
        answer: served.and_then(|frontend| view.answer(origin, &frontend.key)),
    })
}

/// Where a node is, seen from this one.
fn place(view: &View<'_>, node: Option<&Arc<str>>) -> Place {
    let this = view.state.node();
    let Some(name) = node else { return Place::Elsewhere };
    if *name == this.name {
        return Place::Here;
    }
    let zone = view.workloads.nodes.get(name).and_then(|node| node.zone.as_ref());
    if zone.is_some() && zone == this.zone.as_ref() { Place::Zone } else { Place::Elsewhere }
}

fn node(
    view: &View<'_>,
    place: Place,
    name: Option<&Arc<str>>,
    endpoints: &[&ExplainedEndpoint],
    shares: &[PolicyShares],
) -> NodeBox {
    let this = view.state.node();
    let object = if place == Place::Here {
        Some(this)
    } else {
        name.and_then(|name| view.workloads.nodes.get(name)).map(|node| &**node)
    };
    let listed = |word: &str, addresses: Vec<&IpAddr>| {
        let addresses: Vec<String> = addresses.into_iter().map(ToString::to_string).collect();
        (!addresses.is_empty()).then(|| format!("{word} {}", addresses.join(", ")))
    };
    let (inside, outside) = object.map_or((Vec::new(), Vec::new()), |node| {
        node.addresses.iter().partition(|address| !node.external_addresses.contains(address))
    });
    let addresses = [listed("inside", inside), listed("outside", outside)];
    NodeBox {
        name: name.map(|name| clean(name)),
        place,
        zone: object.and_then(|node| node.zone.as_deref()).map(clean),
        addresses: addresses.into_iter().flatten().collect::<Vec<_>>().join(" · "),
        pods: endpoints.iter().map(|endpoint| card(endpoint, shares)).collect(),
        more: More::default(),
    }
}

fn card(endpoint: &ExplainedEndpoint, shares: &[PolicyShares]) -> PodCard {
    let line = |(of, shares): &PolicyShares| {
        let left_out = endpoint.left_out(*of);
        let is_used = left_out.is_none();
        Line {
            policy: of.name(),
            left_out: left_out.map(|reason| (reason.code(), clean(&reason.to_string()))),
            share: shares.get(&endpoint.at).filter(|_| is_used).cloned(),
            terminates: is_used && endpoint.terminating,
            was: None,
        }
    };
    PodCard {
        mark: Mark::Same,
        pod: endpoint.pod.as_ref().map(|pod| clean(&pod.name)),
        address: format!("{}{}", endpoint.at, StandIns::mark(endpoint.is_stand_in)),
        weight: if endpoint.weight == 1 { String::new() } else { format!("  weight {}", endpoint.weight) },
        lines: shares.iter().map(line).collect(),
    }
}
