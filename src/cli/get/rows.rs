//! The rows that `get` lists, made from the explanation. They are the schema of `-o json`, which `docs/commands.md`
//! describes.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

use portolan_rules::{
    explanation::{
        ExplainedEndpoint, ExplainedFrontend, ExplainedPort, ExplainedService, Finding, Severity, View,
    },
    frontends::{FrontendKey, FrontendKind},
    model::{ObjectName, Protocol, Service},
    simulate::Probability,
};
use serde::Serialize;

use crate::{cli::explain::Scene, observe::counts::Totals};

/// A Service.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRow {
    pub namespace: String,
    pub name: String,
    pub r#type: &'static str,
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// Addresses of load balancers, then externalIPs.
    pub external_addresses: Vec<String>,
    pub internal_traffic_policy: &'static str,
    pub external_traffic_policy: &'static str,
    pub session_affinity_seconds: Option<u32>,
    pub load_balancing: &'static str,
    pub state: State,
    /// Why the Service is not programmed as it is, or else the first error found.
    pub message: Option<String>,
    /// The number of endpoints that get connections, and of all endpoints that are listed; an address counts once.
    pub endpoints: Ratio,
    /// New connections, where they are counted.
    pub connections: Option<u64>,
    /// Connection attempts that were refused or dropped because there was no endpoint, where they are counted.
    pub refused: Option<u64>,
    pub ports: Vec<PortRow>,
    pub problems: Vec<FindingRow>,
}

/// How many endpoints are used, and how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ratio {
    pub used: usize,
    pub all: usize,
}

portolan_rules::named! {
    /// The state of a Service on this node.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    #[serde(rename_all = "lowercase")]
    pub enum State {
        /// The kernel has the Service as it is.
        Programmed = "programmed",
        /// The Service would be programmed like this; no agent reports whether it is.
        Planned = "planned",
        /// The Service changed, and the kernel does not have the change yet.
        Waiting = "waiting",
        /// Another Service has all or some of this Service's frontends.
        Shadowed = "shadowed",
        /// The kernel refuses the Service.
        Quarantined = "quarantined",
        /// The Service's object is invalid.
        Unusable = "unusable",
    }
}

/// A port of a Service in one family.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortRow {
    pub name: String,
    pub protocol: &'static str,
    pub port: u16,
    pub node_port: Option<u16>,
    pub family: String,
    pub connections: Option<u64>,
    pub frontends: Vec<FrontendRow>,
    pub endpoints: Vec<EndpointRow>,
}

/// A frontend of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendRow {
    pub kind: &'static str,
    /// Address and port; for a node port, the port alone.
    pub address: String,
    pub policy: &'static str,
    /// Why the frontend is not served.
    pub left_out: Option<Cause>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointRow {
    pub address: String,
    pub node: Option<String>,
    pub pod: Option<String>,
    pub weight: u16,
    /// Its share of new connections from outside, as a fraction of 1, at the first frontend that has shares.
    pub share: Option<f64>,
    /// Why no frontend leads to it.
    pub left_out: Option<Cause>,
    pub connections: Option<u64>,
}

/// A reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    pub code: &'static str,
    pub message: String,
}

/// Something that is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingRow {
    pub severity: &'static str,
    pub code: &'static str,
    pub subject: String,
    pub message: String,
}

/// What is known in addition to the explanation.
pub struct Beside<'a> {
    pub scene: &'a Scene,
    pub totals: Option<&'a Totals>,
    /// Whether frontends and endpoints are shown, one by one.
    pub is_all: bool,
}

/// Returns a Service as `get` lists it.
pub fn service(beside: &Beside<'_>, explained: &ExplainedService) -> ServiceRow {
    let name = &explained.service.name;
    let (state, message) = state(beside.scene, explained);
    let problem = |finding: &Finding| FindingRow {
        severity: finding.severity.name(),
        code: finding.reason.code(),
        subject: finding.subject.clone(),
        message: finding.reason.to_string(),
    };
    ServiceRow {
        state,
        message,
        endpoints: ratio(explained),
        connections: beside.totals.map(|totals| totals.of_service(name)),
        refused: beside.totals.map(|totals| totals.refused(name)),
        ports: explained.ports.iter().map(|port| port_row(beside, explained, port)).collect(),
        problems: explained.findings.iter().map(problem).collect(),
        ..bare(&explained.service)
    }
}

/// Returns the row of a Service of which only the name and the problem are known.
pub fn unusable(name: &ObjectName, message: &str) -> ServiceRow {
    let service = Service::cluster_ip(name.clone(), Vec::new(), Vec::new());
    ServiceRow { message: Some(message.to_owned()), ..bare(&service) }
}

/// Returns a row with only the fields of the object.
fn bare(service: &Service) -> ServiceRow {
    let external = service.load_balancer_ips.iter().chain(&service.external_ips);
    ServiceRow {
        namespace: service.name.namespace.to_string(),
        name: service.name.name.to_string(),
        r#type: service.service_type.name(),
        cluster_ips: service.cluster_ips.iter().map(ToString::to_string).collect(),
        external_addresses: external.map(ToString::to_string).collect(),
        internal_traffic_policy: service.internal_policy.name(),
        external_traffic_policy: service.external_policy.name(),
        session_affinity_seconds: service.affinity_timeout,
        load_balancing: service.load_balancing.name(),
        state: State::Unusable,
        message: None,
        endpoints: Ratio::default(),
        connections: None,
        refused: None,
        ports: Vec::new(),
        problems: Vec::new(),
    }
}

fn state(scene: &Scene, explained: &ExplainedService) -> (State, Option<String>) {
    let name = explained.service.name.to_string();
    if let Some(live) = &scene.live {
        if let Some((_, words)) = live.state.quarantined.iter().find(|(refused, _)| *refused == name) {
            return (State::Quarantined, Some(words.clone()));
        }
        if live.state.waiting.contains(&name) || live.state.synced.is_none() {
            return (State::Waiting, None);
        }
    }
    let mut frontends = explained.ports.iter().flat_map(|port| &port.frontends);
    if let Some(reason) = frontends.find_map(|frontend| frontend.left_out.as_ref()) {
        return (State::Shadowed, Some(reason.to_string()));
    }
    let worst = explained.findings.iter().find(|finding| finding.severity == Severity::Error);
    let state = if scene.is_programmed() { State::Programmed } else { State::Planned };
    (state, worst.map(|finding| finding.reason.to_string()))
}

/// Whether a frontend that is served leads to the endpoint.
fn is_used(port: &ExplainedPort, endpoint: &ExplainedEndpoint) -> bool {
    let mut served = port.frontends.iter().filter(|frontend| frontend.left_out.is_none());
    served.any(|frontend| endpoint.left_out(frontend.policy).is_none())
}

/// Counts the addresses of the endpoints of all ports.
fn ratio(explained: &ExplainedService) -> Ratio {
    let mut known: HashMap<std::net::IpAddr, bool> = HashMap::new();
    for port in &explained.ports {
        for endpoint in &port.endpoints {
            *known.entry(endpoint.at.ip()).or_default() |= is_used(port, endpoint);
        }
    }
    Ratio { used: known.values().filter(|used| **used).count(), all: known.len() }
}

fn cause(reason: &portolan_rules::explanation::Reason) -> Cause {
    Cause { code: reason.code(), message: reason.to_string() }
}

fn port_row(beside: &Beside<'_>, explained: &ExplainedService, port: &ExplainedPort) -> PortRow {
    let is_all = beside.is_all;
    let shares = if is_all { shares(&beside.scene.view(), explained, port) } else { BTreeMap::new() };
    let (service, name) = (&explained.service.name, &*port.port.name);
    let endpoint = |endpoint: &ExplainedEndpoint| EndpointRow {
        address: endpoint.at.to_string(),
        node: endpoint.node.as_deref().filter(|node| *node != ":").map(str::to_owned),
        pod: endpoint.pod.as_ref().map(ToString::to_string),
        weight: endpoint.weight,
        share: shares.get(&endpoint.at).map(Probability::to_f64),
        left_out: (!is_used(port, endpoint))
            .then(|| endpoint.cluster.as_ref().or(endpoint.local.as_ref()).map(cause))
            .flatten(),
        connections: beside.totals.map(|totals| totals.of_endpoint(service, name, endpoint.at)),
    };
    PortRow {
        name: name.to_owned(),
        protocol: protocol(port.port.protocol),
        port: port.port.port,
        node_port: port.port.node_port,
        family: port.family.to_string(),
        connections: beside.totals.map(|totals| totals.of_port(service, name, port.family)),
        frontends: port.frontends.iter().filter(|_| is_all).map(frontend).collect(),
        endpoints: port.endpoints.iter().filter(|_| is_all).map(endpoint).collect(),
    }
}

const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}

fn frontend(frontend: &ExplainedFrontend) -> FrontendRow {
    FrontendRow {
        kind: frontend.kind.name(),
        address: match frontend.key {
            FrontendKey::Address(address, _, port) => SocketAddr::new(address, port).to_string(),
            FrontendKey::NodePort(_, _, port) => port.to_string(),
        },
        policy: frontend.policy.name(),
        left_out: frontend.left_out.as_ref().map(cause),
    }
}

/// Returns the share of each endpoint among new connections from outside, at the first frontend that has shares.
fn shares(
    view: &View<'_>,
    explained: &ExplainedService,
    port: &ExplainedPort,
) -> BTreeMap<SocketAddr, Probability> {
    // The outer frontends last: what is seen inside holds for most.
    let served = port.frontends.iter().filter(|frontend| frontend.left_out.is_none());
    let by_kind = |kind| served.clone().filter(move |frontend| frontend.kind == kind);
    let in_order = FrontendKind::ALL.into_iter().flat_map(by_kind);
    let mut shares = in_order.map(|frontend| view.shares_of(explained, &frontend.key));
    shares.find(|shares| !shares.is_empty()).unwrap_or_default()
}
