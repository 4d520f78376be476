//! `connectivity-test`: connects to each frontend of a Service from Pods, nodes and here, and reports which Pod answered.

mod created;
mod places;
mod probe;
mod server;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use portolan_rules::frontends::FrontendKind;
use serde_json::{Value, json};

use super::{
    arguments::{ConnectivityTestArgs, ConnectivityTestOutput},
    explain::{self, Scene, kind},
    input::cluster,
};
use created::Created;
use places::{Door, Places, Source};

/// So many connections at most until a Pod is led to itself: with ten endpoints, one of 300 misses that once in 10^13.
const UNTIL_HAIRPIN: u32 = 300;

/// How long nodes may take to program the Services that were just created, and how often that is tried.
const PROGRAMMED: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// What became of the connections of one kind.
struct Outcome<'a> {
    source: &'a Source,
    /// `ClusterIP` and the like, or `hairpin`.
    kind: &'static str,
    door: &'a Door,
    answered: u32,
    /// The servers that answered.
    servers: BTreeSet<String>,
    /// Why the last one was not answered.
    problem: Option<String>,
}

/// Runs the test, or its server.
pub fn connectivity_test(args: &ConnectivityTestArgs) -> ExitCode {
    if args.serve {
        return server::serve(args.port);
    }
    let Some(service) = &args.service else { return create(args) };
    match Scene::open(&args.view) {
        Ok(scene) => test(args, &scene, service, &args.sources, None),
        Err(code) => code,
    }
}

/// Creates the servers, tests, and removes them.
fn create(args: &ConnectivityTestArgs) -> ExitCode {
    if !args.view.source.filenames.is_empty() || args.view.socket.is_some() {
        eprintln!(
            "portolan: which Service of these? Give NAMESPACE/NAME; servers are created in a cluster only"
        );
        return explain::error();
    }
    let view = &args.view;
    let opened = Scene::settings(view).and_then(|settings| Ok(cluster::open(&view.source, &settings)?));
    let objects = match opened {
        Ok(cluster) => cluster.objects(),
        Err(error) => {
            super::output::fail(&error);
            return explain::error();
        }
    };
    let args = args.clone();
    created::with(Created::new(objects, args.namespace.clone()), move |created| {
        if let Err(problem) = created.create(&args) {
            super::output::fail(&problem);
            return explain::error();
        }
        match Scene::of_cluster(&args.view) {
            Ok(scene) => {
                let nodes = created.nodes();
                test(&args, &scene, &created.service(), std::slice::from_ref(&nodes), Some(&nodes))
            }
            Err(code) => code,
        }
    })
}

/// Connects to every frontend of a Service, from its endpoints and from those of others. If the servers were just created,
/// `nodes` is the Service of those in the host's network of every node.
fn test(
    args: &ConnectivityTestArgs,
    scene: &Scene,
    service: &str,
    others: &[String],
    nodes: Option<&str>,
) -> ExitCode {
    let Places { doors, sources } = match places(args, scene, service, others, nodes) {
        Ok(places) => places,
        Err(problem) => {
            eprintln!("portolan: {problem}");
            return explain::error();
        }
    };
    if nodes.is_some() {
        wait_until_programmed(&sources, &doors);
    }
    let outcomes: Vec<Outcome<'_>> =
        sources.iter().flat_map(|source| run(source, &doors, args.attempts.into())).collect();
    let text = match args.output {
        ConnectivityTestOutput::Text => text(&outcomes),
        ConnectivityTestOutput::Json => format!("{:#}\n", value(&outcomes)),
    };
    match super::output::print(text.as_bytes()) {
        ExitCode::SUCCESS if outcomes.iter().any(|outcome| outcome.problem.is_some()) => ExitCode::from(1),
        ExitCode::SUCCESS => ExitCode::SUCCESS,
        _ => explain::error(),
    }
}

fn places(
    args: &ConnectivityTestArgs,
    scene: &Scene,
    service: &str,
    others: &[String],
    nodes: Option<&str>,
) -> Result<Places, String> {
    let view = scene.view();
    let mut places = Places::find(&view, service, others)?;
    if let Some(nodes) = nodes {
        let settings = Scene::settings(&args.view).map_err(|error| error.to_string())?;
        places.add_node_ports_of_others(&view, service, nodes, &settings)?;
    }
    Ok(places)
}

/// Waits until every frontend answers from every place, but not for ever: the test is to come.
fn wait_until_programmed(sources: &[Source], doors: &[Door]) {
    let began = Instant::now();
    for source in sources {
        for door in doors.iter().filter(|door| source.tries(door)) {
            while source.connect(door.protocol, door.address).is_err() {
                if began.elapsed() >= PROGRAMMED {
                    return;
                }
                thread::sleep(POLL);
            }
        }
    }
}

/// Connects from one place to every frontend.
fn run<'a>(source: &'a Source, doors: &'a [Door], attempts: u32) -> Vec<Outcome<'a>> {
    let mut outcomes = Vec::new();
    for door in doors.iter().filter(|door| source.tries(door)) {
        let mut outcome = Outcome::new(source, kind(door.kind), door);
        while outcome.answered < attempts && outcome.problem.is_none() {
            outcome.connect();
        }
        let is_well = outcome.problem.is_none();
        outcomes.push(outcome);
        if source.is_endpoint && is_well && door.kind == FrontendKind::ClusterIp {
            outcomes.push(hairpin(source, door));
        }
    }
    outcomes
}

/// Connects until the source itself answers.
fn hairpin<'a>(source: &'a Source, door: &'a Door) -> Outcome<'a> {
    let mut outcome = Outcome::new(source, "hairpin", door);
    while outcome.problem.is_none() && !outcome.servers.contains(&source.name) {
        outcome.connect();
        if outcome.answered >= UNTIL_HAIRPIN && !outcome.servers.contains(&source.name) {
            outcome.problem = Some(format!("not led to itself in {UNTIL_HAIRPIN} connections"));
        }
    }
    outcome
}

impl<'a> Outcome<'a> {
    fn new(source: &'a Source, kind: &'static str, door: &'a Door) -> Self {
        Self { source, kind, door, answered: 0, servers: BTreeSet::new(), problem: None }
    }

    fn connect(&mut self) {
        match self.source.connect(self.door.protocol, self.door.address) {
            Ok(server) => {
                self.answered += 1;
                self.servers.insert(server);
            }
            Err(problem) => self.problem = Some(problem),
        }
    }
}

fn text(outcomes: &[Outcome<'_>]) -> String {
    let head = ["FROM", "NODE", "TO", "ADDRESS", "RESULT"].map(str::to_owned);
    let rows = outcomes.iter().map(|outcome| {
        let Outcome { source, kind, door, answered, servers, problem } = outcome;
        let result = match problem {
            None => format!("ok: {answered} answered by {} servers", servers.len()),
            Some(problem) => format!("FAILED: {problem}, after {answered} that were answered"),
        };
        let node = source.node.as_deref().unwrap_or("-").to_owned();
        let address = format!("{} {}", door.address, door.protocol);
        [source.name.clone(), node, (*kind).to_owned(), address, result]
    });
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(rows).collect();
    let width = |i: usize| rows.iter().map(|row| row[i].len()).max().unwrap_or_default();
    let widths: [usize; 4] = std::array::from_fn(width);
    let mut text = String::new();
    for [cells @ .., result] in &rows {
        // Writing into a `String` does not fail.
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{result}");
    }
    let failed = outcomes.iter().filter(|outcome| outcome.problem.is_some()).count();
    let _ = writeln!(text, "{} of {} ok", outcomes.len() - failed, outcomes.len());
    text
}

fn value(outcomes: &[Outcome<'_>]) -> Value {
    let result = |outcome: &Outcome<'_>| {
        json!({
            "from": outcome.source.name,
            "node": outcome.source.node,
            "to": outcome.kind,
            "protocol": outcome.door.protocol.name(),
            "address": outcome.door.address.to_string(),
            "ok": outcome.problem.is_none(),
            "answered": outcome.answered,
            "servers": outcome.servers,
            "problem": outcome.problem,
        })
    };
    json!({
        "ok": outcomes.iter().all(|outcome| outcome.problem.is_none()),
        "results": outcomes.iter().map(result).collect::<Vec<_>>(),
    })
}
