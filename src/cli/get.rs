//! `get`: Services, endpoints and commits, as kubectl would list them.

mod arguments;
pub mod commits;
pub mod rows;
pub mod table;

use std::{collections::HashMap, io::Write as _, process::ExitCode, slice, time::Duration};

use portolan_rules::{explanation::ExplainedService, model::ObjectName};
use serde::Serialize;

pub use self::{
    arguments::{GetArgs, GetCommand, GetOutput, HELP},
    table::Listed,
};
use self::{
    rows::{Beside, ServiceRow},
    table::{Cells, Line},
};
use super::{
    columns::{Columns, GAP, align},
    explain::{Scene, agent, object_name},
    output::{self, CommandError, Ended},
};
use crate::{
    config::settings::Settings,
    kernel::nftables::read_counts,
    observe::{counts::Totals, query::Wanted},
};

/// Most frontends and endpoints whose counters are read from the kernel.
const ELEMENTS: usize = 100_000;

/// Time between two looks with `--watch`.
const PERIOD: Duration = Duration::from_secs(1);

/// The document of `-o json` and `-o yaml`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    /// Where the state comes from, and how old it is.
    source: &'a str,
    items: &'a [ServiceRow],
}

/// Lists Services or endpoints. Exit status: 0, 1 if a named Service does not exist, 2 for an error.
pub fn get(args: &GetArgs, listed: Listed) -> Ended {
    let mut before: Option<Seen> = None;
    loop {
        let look = Look::new(args)?;
        if args.watch && !matches!(args.output, Some(GetOutput::Json | GetOutput::Yaml)) {
            let rows = look.rows(listed == Listed::Endpoints);
            match show_changes(args, listed, &rows, look.totals, before) {
                Some(seen) => before = Some(seen),
                None => return Ok(ExitCode::SUCCESS),
            }
            std::thread::sleep(PERIOD);
            continue;
        }
        print(args, listed, &look)?;
        let status = look.scene.status(look.is_complete);
        // The process is about to end, so its memory need not be freed piece by piece.
        std::mem::forget(look);
        return Ok(status);
    }
}

/// What a look at the state has found.
struct Look {
    scene: Scene,
    /// The Services to list, in order.
    names: Vec<ObjectName>,
    totals: Option<Totals>,
    /// Whether all named Services exist.
    is_complete: bool,
}

impl Look {
    fn new(args: &GetArgs) -> Result<Self, CommandError> {
        let names: Vec<ObjectName> =
            args.names.iter().map(|name| object_name(name, &args.namespace)).collect();
        let wanted = Wanted::of(&names, (!args.all_namespaces).then_some(&args.namespace));
        let scene = Scene::open_for(&args.view, &wanted)?;
        let totals = totals(&scene, args, &wanted);
        let is_meant = |name: &ObjectName| {
            if names.is_empty() {
                args.all_namespaces || *name.namespace == *args.namespace
            } else {
                names.contains(name)
            }
        };
        let mut meant = scene.services();
        meant.extend(scene.unusable.keys().cloned());
        meant.retain(is_meant);
        meant.sort();
        meant.dedup();
        let mut is_complete = true;
        for name in names.iter().filter(|name| meant.binary_search(name).is_err()) {
            eprintln!("portolan: {}", scene.no_service(&args.view, name));
            is_complete = false;
        }
        Ok(Self { scene, names: meant, totals, is_complete })
    }

    /// Returns the rows of the Services, with everything about each Service or only with what a line needs.
    fn rows(&self, is_all: bool) -> Vec<ServiceRow> {
        self.scene.map(&self.names, |name, explained| self.row(is_all, name, explained))
    }

    fn row(&self, is_all: bool, name: &ObjectName, explained: Option<ExplainedService>) -> ServiceRow {
        let Self { scene, totals, .. } = self;
        match explained {
            Some(explained) => rows::service(&Beside { scene, totals: totals.as_ref(), is_all }, &explained),
            None => rows::unusable(name, scene.unusable.get(name).map_or("", String::as_str)),
        }
    }
}

/// Returns the new connections, if they are counted: the agent's totals, or what the kernel's elements have counted.
fn totals(scene: &Scene, args: &GetArgs, wanted: &Wanted) -> Option<Totals> {
    if let Some(live) = &scene.live {
        let counted = agent::counted(&live.socket, wanted).ok()??;
        return counted.problem.is_none().then(|| counted.into());
    }
    if !scene.is_programmed() {
        return None;
    }
    let table = Settings::new(&args.view.source.options.0).ok()?.config.table;
    let totals = Totals::of_kernel(&read_counts(&table, ELEMENTS).ok()?)?;
    Some(totals).filter(|totals| !totals.is_empty())
}

fn print(args: &GetArgs, listed: Listed, look: &Look) -> Result<(), CommandError> {
    let scene = &look.scene;
    let kind = if listed == Listed::Services { "ServiceList" } else { "EndpointList" };
    let document =
        |items| Document { api_version: "portolan.io/v1alpha1", kind, source: &scene.origin, items };
    let text = match args.output {
        Some(GetOutput::Json) => {
            let row = |name: &ObjectName| look.row(true, name, scene.view().service(name));
            return Ok(output::print_json_list(&document(&[]), &look.names, row)?);
        }
        Some(GetOutput::Yaml) => serde_saphyr::to_string(&document(&look.rows(true)))?,
        Some(GetOutput::Name) => table::names(listed, &look.rows(listed == Listed::Endpoints)),
        Some(GetOutput::Wide) | None => {
            eprintln!("portolan: {}", scene.origin);
            if look.names.is_empty() {
                eprintln!("portolan: there are no Services{}", within(args));
                return Ok(());
            }
            let lines = |names: &[ObjectName]| -> Columns {
                let row = |name| look.row(listed == Listed::Endpoints, name, scene.view().service(name));
                let mut columns = Columns::default();
                for row in names.iter().map(row) {
                    let lines = table::lines(args, listed, slice::from_ref(&row));
                    for line in lines {
                        columns.push(line.cells);
                    }
                }
                columns
            };
            let mut parts = vec![table::head(args, listed)];
            parts.extend(Scene::in_halves(&look.names, lines));
            align(&parts, GAP)
        }
    };
    Ok(output::print(text.as_bytes())?)
}

fn within(args: &GetArgs) -> String {
    if args.all_namespaces { String::new() } else { format!(" in namespace {}", args.namespace) }
}

/// What the last look showed.
#[derive(Default)]
struct Seen {
    /// The cells of each line, by the line's key.
    lines: HashMap<Cells<'static>, Cells<'static>>,
    /// The connections as they were last read.
    totals: Option<Totals>,
    /// The cells of each line at that time, by the line's key.
    counted: HashMap<Cells<'static>, Cells<'static>>,
}

/// Prints the lines that changed since the last look, with connections per second. Returns `None` once standard output
/// is closed.
fn show_changes(
    args: &GetArgs,
    listed: Listed,
    rows: &[ServiceRow],
    totals: Option<Totals>,
    before: Option<Seen>,
) -> Option<Seen> {
    let is_first = before.is_none();
    let before = before.unwrap_or_default();
    let elapsed = before.totals.as_ref().zip(totals.as_ref()).and_then(|(earlier, now)| now.since(earlier));
    let mut changed = Vec::new();
    let mut now = HashMap::new();
    for line in table::lines(args, listed, rows).into_iter().map(Line::into_owned) {
        if before.lines.get(&line.key) != Some(&line.cells) {
            let counted = before.counted.get(&line.key);
            let rate = elapsed.zip(counted).and_then(|(elapsed, cells)| line.rate(cells, elapsed));
            changed.push((line.clone(), rate));
        }
        now.insert(line.key, line.cells);
    }
    let gone: Vec<&Cells<'_>> = before.lines.keys().filter(|key| !now.contains_key(*key)).collect();
    let text = table::watched(args, listed, &changed, &gone, is_first);
    let (totals, counted) = if elapsed.is_some() || before.totals.is_none() {
        (totals, now.clone())
    } else {
        (before.totals, before.counted)
    };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).ok()?;
    Some(Seen { lines: now, totals, counted })
}
