//! `flows`: live connections of Services, from connection tracking.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
};

use jiff::Timestamp;
use portolan_rules::{
    explanation::{ExplainedPort, ExplainedService, View},
    frontends::FrontendKey,
    model::{ObjectName, Protocol, TrafficPolicy},
    ruleset::Family,
};
use serde::Serialize;

use super::{
    arguments::{FlowsArgs, FlowsOutput},
    explain::{self, Scene},
    get::align,
};
use crate::{
    kernel::conntrack::{Conntrack, Flow},
    observe::query::Wanted,
};

/// A flow of a Service.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    service: String,
    port: Arc<str>,
    protocol: &'static str,
    client: SocketAddr,
    frontend: SocketAddr,
    endpoint: SocketAddr,
    state: String,
    age_seconds: Option<u64>,
    expires_seconds: Option<u64>,
    bytes: Option<u64>,
    /// Why the endpoint takes no new connections, if it does not.
    stale: Option<&'static str>,
}

/// Connections of an endpoint.
#[derive(Clone, Debug, Serialize)]
struct Counted {
    service: String,
    port: Arc<str>,
    protocol: &'static str,
    endpoint: SocketAddr,
    connections: usize,
    stale: Option<&'static str>,
}

/// Lists connections: exit status 0, or 1 if there is no such Service, or 2 for an error.
pub fn flows(args: &FlowsArgs) -> ExitCode {
    let name = args.service.as_deref().map(|name| {
        let (namespace, name) = name.split_once('/').unwrap_or((&args.namespace, name));
        ObjectName::new(namespace, name)
    });
    let wanted = name.clone().map_or(Wanted::All, Wanted::Service);
    let scene = match Scene::open_for(&args.view, &wanted) {
        Ok(scene) => scene,
        Err(code) => return code,
    };
    let view = scene.view();
    let services = match &name {
        None => view.services(),
        Some(name) => view.service(name).into_iter().collect(),
    };
    if let Some(name) = name.as_ref().filter(|_| services.is_empty()) {
        eprintln!("portolan: {}", scene.no_service(&args.view, name));
        return ExitCode::from(1);
    }
    let doors = Doors::of(&view, &services);
    let destinations: Vec<(Protocol, SocketAddr)> =
        if name.is_some() { doors.0.keys().copied().collect() } else { Vec::new() };
    let flows = match Conntrack::open().and_then(|mut conntrack| conntrack.list(&destinations)) {
        Ok(flows) => flows,
        Err(error) => {
            super::fail(&error);
            return explain::error();
        }
    };
    let mut rows: Vec<Row> = flows.iter().filter_map(|flow| doors.row(flow)).collect();
    rows.sort_by(|a, b| {
        (&a.service, &a.port, a.endpoint, a.client).cmp(&(&b.service, &b.port, b.endpoint, b.client))
    });
    let text = match (args.output, args.count) {
        (Some(FlowsOutput::Json), true) => json(&count(&rows)),
        (Some(FlowsOutput::Json), false) => json(&rows),
        (None, is_counted) => {
            eprintln!("portolan: {}; connections of this moment", scene.origin);
            Ok(if is_counted { counts(args, &count(&rows)) } else { table(args, &rows) })
        }
    };
    match text {
        Ok(text) => super::print(text.as_bytes()),
        Err(error) => {
            super::fail(&error);
            explain::error()
        }
    }
}

fn json<T: Serialize>(rows: &[T]) -> serde_json::Result<String> {
    serde_json::to_string_pretty(rows).map(|text| text + "\n")
}

/// What leads to a port of a Service.
struct Door<'a> {
    service: &'a ExplainedService,
    port: &'a ExplainedPort,
    policy: TrafficPolicy,
}

/// The frontends that are served, by protocol and address.
struct Doors<'a>(HashMap<(Protocol, SocketAddr), Door<'a>>);

impl<'a> Doors<'a> {
    fn of(view: &View<'_>, services: &'a [ExplainedService]) -> Self {
        let node_addresses = Family::ALL.map(|family| view.compiler.node_port_addresses(family));
        let mut doors = HashMap::new();
        for service in services {
            for port in &service.ports {
                for frontend in port.frontends.iter().filter(|frontend| frontend.left_out.is_none()) {
                    let policy = frontend.policy;
                    let mut add = |protocol, at| {
                        doors.insert((protocol, at), Door { service, port, policy });
                    };
                    match frontend.key {
                        FrontendKey::Address(address, protocol, number) => {
                            add(protocol, SocketAddr::new(address, number));
                        }
                        FrontendKey::NodePort(family, protocol, number) => {
                            for address in &node_addresses[family as usize] {
                                add(protocol, SocketAddr::new(*address, number));
                            }
                        }
                    }
                }
            }
        }
        Self(doors)
    }

    /// A flow, if it is one of these Services.
    fn row(&self, flow: &Flow) -> Option<Row> {
        let Door { service, port, policy } = self.0.get(&(flow.protocol, flow.frontend))?;
        let endpoint = port.endpoints.iter().find(|endpoint| endpoint.at == flow.endpoint);
        let stale = match endpoint {
            None => Some("gone"),
            // Pods and this node may use those of the other policy.
            Some(endpoint) if endpoint.cluster.is_none() || endpoint.local.is_none() => None,
            Some(endpoint) => endpoint.left_out(*policy).map(portolan_rules::explanation::Reason::code),
        };
        let now = Timestamp::now().as_second();
        let age =
            flow.began.map(|began| now.saturating_sub_unsigned(began / 1_000_000_000).max(0).unsigned_abs());
        Some(Row {
            service: service.service.name.to_string(),
            port: Arc::clone(&port.port.name),
            protocol: flow.protocol.name(),
            client: flow.client,
            frontend: flow.frontend,
            endpoint: flow.endpoint,
            state: flow.state.to_string(),
            age_seconds: age,
            expires_seconds: flow.expires.map(|time| time.as_secs()),
            bytes: flow.bytes,
            stale,
        })
    }
}

fn count(rows: &[Row]) -> Vec<Counted> {
    let mut counted: BTreeMap<(&str, &str, &str, SocketAddr), Counted> = BTreeMap::new();
    for row in rows {
        let key = (&*row.service, &*row.port, row.protocol, row.endpoint);
        let entry = counted.entry(key).or_insert_with(|| Counted {
            service: row.service.clone(),
            port: Arc::clone(&row.port),
            protocol: row.protocol,
            endpoint: row.endpoint,
            connections: 0,
            stale: row.stale,
        });
        entry.connections += 1;
    }
    counted.into_values().collect()
}

fn heads(args: &FlowsArgs, heads: &[&str]) -> Option<Vec<String>> {
    (!args.no_headers).then(|| heads.iter().map(|head| (*head).to_owned()).collect())
}

fn named(port: &str, protocol: &str) -> String {
    if port.is_empty() { protocol.to_owned() } else { format!("{port}/{protocol}") }
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn table(args: &FlowsArgs, rows: &[Row]) -> String {
    let titles =
        ["SERVICE", "PORT", "CLIENT", "FRONTEND", "ENDPOINT", "STATE", "AGE", "EXPIRES", "BYTES", "STALE"];
    let seconds = |time: Option<u64>| time.map(|seconds| format!("{seconds}s"));
    let cells = |row: &Row| {
        vec![
            row.service.clone(),
            named(&row.port, row.protocol),
            row.client.to_string(),
            row.frontend.to_string(),
            row.endpoint.to_string(),
            row.state.clone(),
            or_dash(seconds(row.age_seconds)),
            or_dash(seconds(row.expires_seconds)),
            or_dash(row.bytes),
            row.stale.unwrap_or_default().to_owned(),
        ]
    };
    align(&heads(args, &titles).into_iter().chain(rows.iter().map(cells)).collect::<Vec<_>>())
}

fn counts(args: &FlowsArgs, rows: &[Counted]) -> String {
    let titles = ["SERVICE", "PORT", "ENDPOINT", "CONNECTIONS", "STALE"];
    let cells = |row: &Counted| {
        vec![
            row.service.clone(),
            named(&row.port, row.protocol),
            row.endpoint.to_string(),
            row.connections.to_string(),
            row.stale.unwrap_or_default().to_owned(),
        ]
    };
    align(&heads(args, &titles).into_iter().chain(rows.iter().map(cells)).collect::<Vec<_>>())
}
