//! `flows`: live connections of Services, from connection tracking.

use std::{collections::BTreeMap, net::SocketAddr, process::ExitCode, sync::Arc};

use portolan_rules::model::ObjectName;
use serde::Serialize;

use super::{
    arguments::{FlowsArgs, FlowsOutput},
    explain::{self, Scene},
    get::align,
};
use crate::{
    kernel::conntrack::{Bounds, Conntrack},
    observe::{
        flows::{Frontends, Row},
        query::Wanted,
    },
};

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
    let frontends = Frontends::of(&view, &services);
    let destinations = if name.is_some() { frontends.destinations() } else { Vec::new() };
    let list = |mut conntrack: Conntrack| conntrack.list(&destinations, Bounds::NONE);
    let flows = match Conntrack::open().and_then(list) {
        Ok(listed) => listed.flows,
        Err(error) => {
            super::fail(&error);
            return explain::error();
        }
    };
    let mut rows: Vec<Row> = flows.iter().filter_map(|flow| frontends.row(flow)).collect();
    rows.sort();
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
