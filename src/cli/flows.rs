//! `flows`: live connections of Services, from connection tracking.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use clap::{Args, ValueEnum};
use portolan_rules::{
    explanation::{ExplainedService, View},
    model::ObjectName,
};
use serde::Serialize;

use super::{
    arguments::ViewArgs,
    columns::{GAP, align, or_dash},
    explain::{Scene, object_name},
    output::{self, Ended},
};
use crate::{
    kernel::conntrack::{self, Bounds, Flow},
    observe::{
        flows::{Frontends, Row},
        query::Wanted,
    },
};

/// The text at the end of the help.
pub(super) const HELP: &str = "\
Reads connection tracking of this network namespace, which needs root.

Exit status: 0 success, 1 there is no such Service, 2 an error.

Examples:
  portolan flows
  portolan flows shop/web --count
  portolan flows shop/web -o json";

/// Arguments of `flows`.
#[derive(Args, Clone, Debug)]
pub struct FlowsArgs {
    /// Name of a Service, or NAMESPACE/NAME [default: all Services]
    #[arg(value_name = "SERVICE")]
    pub service: Option<String>,

    /// Namespace of the Service, unless the name has one
    #[arg(short, long, default_value = "default")]
    pub namespace: String,

    /// Count the connections of each endpoint, rather than list them
    #[arg(long)]
    pub count: bool,

    /// Output format [default: a table]
    #[arg(short, long, value_enum)]
    pub output: Option<FlowsOutput>,

    /// Leave out the column headers
    #[arg(long)]
    pub no_headers: bool,

    /// Where the Services come from.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Output format of `flows`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlowsOutput {
    /// An array of flows, or of counts.
    Json,
}

/// The number of connections of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Counted {
    service: Arc<str>,
    port: Arc<str>,
    protocol: &'static str,
    endpoint: SocketAddr,
    connections: usize,
    stale: Option<&'static str>,
}

/// Lists connections. Exit status: 0, 1 if there is no such Service, 2 for an error.
pub fn flows(args: &FlowsArgs) -> Ended {
    let name = args.service.as_deref().map(|name| object_name(name, &args.namespace));
    let scene = Scene::open_for(&args.view, &name.clone().map_or(Wanted::All, Wanted::Service))?;
    let view = scene.view();
    let named = name.as_ref().map(|name| scene.service(&args.view, name)).transpose()?;
    let mut services: Vec<ExplainedService> = named.into_iter().collect();
    let destinations = Frontends::of(&view, &services).destinations();
    let flows = conntrack::list(&destinations, Bounds::NONE)?.flows;
    if name.is_none() {
        services = connected(&view, &flows);
    }
    let frontends = Frontends::of(&view, &services);
    let mut rows: Vec<Row> = flows.iter().filter_map(|flow| frontends.row(flow)).collect();
    if !args.count {
        rows.sort_unstable();
    }
    let text = match (args.output, args.count) {
        (Some(FlowsOutput::Json), true) => json(&count(&rows))?,
        (Some(FlowsOutput::Json), false) => json(&rows)?,
        (None, is_counted) => {
            eprintln!("portolan: {}; connections at this moment", scene.origin);
            if is_counted { counts(args, &count(&rows)) } else { table(args, &rows) }
        }
    };
    output::end(text, 0)
}

/// Returns the Services that flows lead to.
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
    let mut counts: HashMap<_, Counted> = HashMap::new();
    for row in rows {
        let counted = counts.entry((&*row.service, &*row.port, row.protocol, row.endpoint));
        let none = || Counted {
            service: row.service.clone(),
            port: row.port.clone(),
            protocol: row.protocol,
            endpoint: row.endpoint,
            connections: 0,
            stale: row.stale,
        };
        counted.or_insert_with(none).connections += 1;
    }
    let mut counts: Vec<Counted> = counts.into_values().collect();
    counts.sort_unstable();
    counts
}

/// The cells of a line.
type Cells<'a> = Vec<Cow<'a, str>>;

fn lines<'a, T>(
    args: &FlowsArgs,
    heads: &[&'static str],
    rows: &'a [T],
    cells: fn(&'a T) -> Cells<'a>,
) -> String {
    let heads = (!args.no_headers).then_some(heads);
    align(&[heads.into_iter().collect(), rows.iter().map(cells).collect()], GAP)
}

fn named<'a>(port: &str, protocol: &'a str) -> Cow<'a, str> {
    if port.is_empty() { protocol.into() } else { format!("{port}/{protocol}").into() }
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
    lines(args, &titles, rows, cells)
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
    lines(args, &titles, rows, cells)
}
