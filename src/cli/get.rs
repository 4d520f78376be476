//! `get`: Services, endpoints and commits, as kubectl would list them.

mod commits;
mod rows;
mod table;

use std::{collections::HashMap, io::Write as _, process::ExitCode, time::Duration};

use portolan_rules::{explanation::ExplainedService, model::ObjectName};
use serde::Serialize;

use self::rows::{Beside, ServiceRow};
pub use self::{commits::commits, table::align};
use super::{
    arguments::{GetArgs, GetOutput},
    explain::{self, Scene, agent, socket},
};
use crate::{
    kernel::nftables::read_counts,
    observe::{
        counts::{Total, Totals},
        query::Wanted,
    },
};

/// Most frontends and endpoints whose counters are read from the kernel.
const ELEMENTS: usize = 100_000;

/// Time between two looks with `--watch`.
const PERIOD: Duration = Duration::from_secs(1);

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Services.
    Services,
    /// Endpoints.
    Endpoints,
}

/// The document of `-o json` and `-o yaml`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    /// Where it comes from, and how old it is.
    source: &'a str,
    items: &'a [ServiceRow],
}

/// Lists Services or endpoints: exit status 0, or 1 if one of a name is not there, or 2 for an error.
pub fn get(args: &GetArgs, listed: Listed) -> ExitCode {
    let mut before: HashMap<Vec<String>, Vec<String>> = HashMap::new();
    let mut is_first = true;
    loop {
        let (scene, rows, is_complete) = match look(args, listed) {
            Ok(found) => found,
            Err(code) => return code,
        };
        if args.watch && !matches!(args.output, Some(GetOutput::Json | GetOutput::Yaml)) {
            if !show_changes(args, listed, &rows, &mut before, is_first) {
                return ExitCode::SUCCESS;
            }
            is_first = false;
            std::thread::sleep(PERIOD);
            continue;
        }
        let text = match text(args, listed, &scene, &rows) {
            Ok(text) => text,
            Err(error) => return super::fail(&error),
        };
        return match super::print(text.as_bytes()) {
            ExitCode::SUCCESS if !scene.is_whole => explain::error(),
            ExitCode::SUCCESS if !is_complete => ExitCode::from(1),
            code => code,
        };
    }
}

/// The Services that are meant, and whether all of them are there.
fn look(args: &GetArgs, listed: Listed) -> Result<(Scene, Vec<ServiceRow>, bool), ExitCode> {
    let names: Vec<ObjectName> = args
        .names
        .iter()
        .map(|name| name.split_once('/').unwrap_or((&args.namespace, name)))
        .map(|(namespace, name)| ObjectName::new(namespace, name))
        .collect();
    let wanted = match names.as_slice() {
        [one] => Wanted::Service(one.clone()),
        [] if !args.all_namespaces => Wanted::Namespace(args.namespace.as_str().into()),
        _ => Wanted::All,
    };
    let scene = Scene::open_for(&args.view, &wanted)?;
    let totals = totals(&scene, args);
    let has_shares =
        listed == Listed::Endpoints || matches!(args.output, Some(GetOutput::Json | GetOutput::Yaml));
    let beside = Beside { scene: &scene, totals: totals.as_ref(), has_shares };
    let view = scene.view();
    let is_meant = |name: &ObjectName| {
        if names.is_empty() {
            args.all_namespaces || *name.namespace == *args.namespace
        } else {
            names.contains(name)
        }
    };
    let mut meant: Vec<&ObjectName> =
        view.state.entries().map(|(name, _)| name).filter(|name| is_meant(name)).collect();
    meant.sort();
    let explained: Vec<ExplainedService> = meant.into_iter().filter_map(|name| view.service(name)).collect();
    let mut rows: Vec<ServiceRow> =
        explained.iter().map(|explained| rows::service(&beside, explained)).collect();
    let known = |name: &ObjectName| explained.iter().any(|explained| explained.service.name == *name);
    let unusable = scene.unusable.iter().filter(|(name, _)| is_meant(name) && !known(name));
    rows.extend(unusable.map(|(name, message)| rows::unusable(name, message)));
    rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let mut is_complete = true;
    for name in names.iter().filter(|name| !known(name) && !scene.unusable.contains_key(*name)) {
        eprintln!("portolan: {}", scene.no_service(&args.view, name));
        is_complete = false;
    }
    Ok((scene, rows, is_complete))
}

/// The new connections, where they are counted: the agent's totals, or what the kernel's elements have counted.
fn totals(scene: &Scene, args: &GetArgs) -> Option<Totals> {
    if let Some(live) = &scene.live {
        let text = socket::get(&live.socket, "/connections").ok()?;
        let totals: Option<Vec<Total>> = serde_json::from_slice(&text).ok()?;
        return totals.map(Totals::new);
    }
    if !scene.is_programmed() {
        return None;
    }
    let table = agent::table_of(&args.view).ok()?;
    let totals = Totals::of_kernel(&read_counts(&table, ELEMENTS).ok()?)?;
    Some(totals).filter(|totals| !totals.is_empty())
}

fn text(
    args: &GetArgs,
    listed: Listed,
    scene: &Scene,
    rows: &[ServiceRow],
) -> Result<String, std::io::Error> {
    let kind = if listed == Listed::Services { "ServiceList" } else { "EndpointList" };
    let document = Document { api_version: "portolan.io/v1alpha1", kind, source: &scene.origin, items: rows };
    Ok(match args.output {
        Some(GetOutput::Json) => format!("{}\n", serde_json::to_string_pretty(&document)?),
        Some(GetOutput::Yaml) => serde_saphyr::to_string(&document).map_err(std::io::Error::other)?,
        Some(GetOutput::Name) => table::names(listed, rows),
        Some(GetOutput::Wide) | None => {
            eprintln!("portolan: {}", scene.origin);
            if rows.is_empty() {
                eprintln!("portolan: there are no Services{}", within(args));
                return Ok(String::new());
            }
            table::table(args, listed, rows)
        }
    })
}

fn within(args: &GetArgs) -> String {
    if args.all_namespaces { String::new() } else { format!(" in namespace {}", args.namespace) }
}

/// Prints the lines that changed since the last look, with connections a second; false if nobody reads them.
fn show_changes(
    args: &GetArgs,
    listed: Listed,
    rows: &[ServiceRow],
    before: &mut HashMap<Vec<String>, Vec<String>>,
    is_first: bool,
) -> bool {
    let lines = table::lines(args, listed, rows);
    let mut changed = Vec::new();
    let mut now = HashMap::new();
    for line in lines {
        let key = line.key.clone();
        let rate = before.get(&key).and_then(|cells| line.rate(cells));
        if before.get(&key) != Some(&line.cells) {
            changed.push((line.clone(), rate));
        }
        now.insert(key, line.cells);
    }
    let gone: Vec<&Vec<String>> = before.keys().filter(|key| !now.contains_key(*key)).collect();
    let text = table::watched(args, listed, &changed, &gone, is_first);
    *before = now;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
}
