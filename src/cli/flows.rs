//! `flows`: live connections of Services, from connection tracking.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
};

use portolan_rules::{
    explanation::{ExplainedService, View},
    model::ObjectName,
};
use serde::Serialize;

use super::{
    arguments::{FlowsArgs, FlowsOutput},
    explain::{self, Scene},
    get::align,
};
use crate::{
    kernel::conntrack::{self, Bounds, Flow},
    observe::{
        flows::{Frontends, Row},
        query::Wanted,
    },
};

/// Connections of an endpoint.
#[derive(Clone, Debug, Serialize)]
struct Counted {
    service: Arc<str>,
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
    let named = name.as_ref().map(|name| view.service(name));
    if let (Some(name), Some(None)) = (&name, &named) {
        eprintln!("portolan: {}", scene.no_service(&args.view, name));
        return ExitCode::from(1);
    }
    let mut services: Vec<ExplainedService> = named.flatten().into_iter().collect();
    let destinations = Frontends::of(&view, &services).destinations();
    let flows = match conntrack::list(&destinations, Bounds::NONE) {
        Ok(listed) => listed.flows,
        Err(error) => {
            super::output::fail(&error);
            return explain::error();
        }
    };
    if name.is_none() {
        services = connected(&view, &flows);
    }
    let frontends = Frontends::of(&view, &services);
    let mut rows: Vec<Row> = flows.iter().filter_map(|flow| frontends.row(flow)).collect();
    if !args.count {
        rows.sort_unstable();
    }
    let text = match (args.output, args.count) {
        (Some(FlowsOutput::Json), true) => json(&count(&rows)),
        (Some(FlowsOutput::Json), false) => json(&rows),
        (None, is_counted) => {
            eprintln!("portolan: {}; connections at this moment", scene.origin);
            Ok(if is_counted { counts(args, &count(&rows)) } else { table(args, &rows) })
        }
    };
    match text {
        Ok(text) => super::output::print(text.as_bytes()),
        Err(error) => {
            super::output::fail(&error);
            explain::error()
        }
    }
}

/// The Services that flows lead to.
fn connected(view: &View<'_>, flows: &[Flow]) -> Vec<ExplainedService> {
    let frontends: HashSet<_> = flows.iter().map(|flow| (flow.frontend, flow.protocol)).collect();
    let owners = frontends.into_iter().filter_map(|(at, protocol)| Some(view.owner_at(at, protocol)?.1));
    let owners: BTreeSet<&ObjectName> = owners.collect();
    owners.into_iter().filter_map(|name| view.service(name)).collect()
}

fn json<T: Serialize>(rows: &[T]) -> serde_json::Result<String> {
    serde_json::to_string_pretty(rows).map(|text| text + "\n")
}

fn count(rows: &[Row]) -> Vec<Counted> {
    let mut counts: HashMap<_, (&Row, usize)> = HashMap::new();
    for row in rows {
        let key = (&*row.service, &*row.port, row.protocol, row.endpoint);
        counts.entry(key).or_insert((row, 0)).1 += 1;
    }
    let counts: BTreeMap<_, _> = counts.into_iter().collect();
    let counted = |(row, connections): (&Row, usize)| Counted {
        service: row.service.clone(),
        port: Arc::clone(&row.port),
        protocol: row.protocol,
        endpoint: row.endpoint,
        connections,
        stale: row.stale,
    };
    counts.into_values().map(counted).collect()
}

/// The cells of a line.
type Cells<'a> = Vec<Cow<'a, str>>;

fn heads(args: &FlowsArgs, heads: &[&'static str]) -> Option<Cells<'static>> {
    (!args.no_headers).then(|| heads.iter().map(|head| Cow::Borrowed(*head)).collect())
}

fn named<'a>(port: &str, protocol: &'a str) -> Cow<'a, str> {
    if port.is_empty() { protocol.into() } else { format!("{port}/{protocol}").into() }
}

fn or_dash<T: ToString>(value: Option<T>) -> Cow<'static, str> {
    value.map_or("-".into(), |value| value.to_string().into())
}

fn table(args: &FlowsArgs, rows: &[Row]) -> String {
    fn cells(row: &Row) -> Cells<'_> {
        let seconds = |time: Option<u64>| time.map(|seconds| format!("{seconds}s"));
        vec![
            (&*row.service).into(),
            named(&row.port, row.protocol),
            row.client.to_string().into(),
            row.frontend.to_string().into(),
            row.endpoint.to_string().into(),
            row.state.into(),
            or_dash(seconds(row.age_seconds)),
            or_dash(seconds(row.expires_seconds)),
            or_dash(row.bytes),
            row.stale.unwrap_or_default().into(),
        ]
    }
    let titles =
        ["SERVICE", "PORT", "CLIENT", "FRONTEND", "ENDPOINT", "STATE", "AGE", "EXPIRES", "BYTES", "STALE"];
    align(&heads(args, &titles).into_iter().chain(rows.iter().map(cells)).collect::<Vec<_>>())
}

fn counts(args: &FlowsArgs, rows: &[Counted]) -> String {
    fn cells(row: &Counted) -> Cells<'_> {
        vec![
            (&*row.service).into(),
            named(&row.port, row.protocol),
            row.endpoint.to_string().into(),
            row.connections.to_string().into(),
            row.stale.unwrap_or_default().into(),
        ]
    }
    let titles = ["SERVICE", "PORT", "ENDPOINT", "CONNECTIONS", "STALE"];
    align(&heads(args, &titles).into_iter().chain(rows.iter().map(cells)).collect::<Vec<_>>())
}
