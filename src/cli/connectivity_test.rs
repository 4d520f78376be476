//! `connectivity-test`: connects to each frontend of a Service from Pods, nodes and this process, and reports which Pod
//! answered.

mod arguments;
mod created;
mod places;
mod probe;
mod server;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use portolan_rules::frontends::FrontendKind;
use serde_json::{Value, json};

use super::{
    columns::{Columns, align},
    explain::Scene,
    input::cluster,
    output::{self, Ended},
};
pub use arguments::{ConnectivityTestArgs, ConnectivityTestOutput, HELP};
use created::Created;
use places::{Frontend, Places, Source};

/// Most connections that a Pod opens until one of them reaches the Pod itself. With ten endpoints, 300 connections all
/// miss the Pod once in 10^13 runs.
const UNTIL_HAIRPIN: u32 = 300;

/// How long nodes may take to program the Services that were just created, and the time between two attempts.
const PROGRAMMED: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// Number of spaces between columns.
const GAP: usize = 2;

/// The result of the connections of one kind, from one source to one frontend.
struct Outcome<'a> {
    source: &'a Source,
    /// The kind of the frontend, such as `ClusterIP`, or `hairpin`.
    kind: &'static str,
    frontend: &'a Frontend,
    answered: u32,
    /// The servers that answered.
    servers: BTreeSet<String>,
    /// Why the last connection was not answered.
    problem: Option<String>,
}

/// Runs the test, or its server.
pub fn connectivity_test(args: &ConnectivityTestArgs) -> Ended {
    if args.serve {
        return server::serve(args.port);
    }
    let Some(service) = &args.service else { return create(args) };
    test(args, &Scene::open(&args.view)?, service, &args.sources, None)
}

/// Creates the servers, runs the test, and removes the servers.
fn create(args: &ConnectivityTestArgs) -> Ended {
    let view = &args.view;
    if !view.source.filenames.is_empty() || view.socket.is_some() {
        return Err(
            "name the Service, as NAMESPACE/NAME: servers are created only in a cluster, not with -f or --socket".into()
        );
    }
    let objects = cluster::open(&view.source, &Scene::settings(view)?)?.objects();
    let args = args.clone();
    created::with(Created::new(objects, args.namespace.clone()), move |created| {
        created.create(&args)?;
        let scene = Scene::of_cluster(&args.view)?;
        let nodes = created.nodes();
        test(&args, &scene, &created.service(), std::slice::from_ref(&nodes), Some(&nodes))
    })
}

/// Connects to every frontend of a Service, from this process, from the Service's endpoints and from the endpoints of
/// `others`. If the servers were just created, `nodes` is the Service of the servers in every node's host network.
fn test(
    args: &ConnectivityTestArgs,
    scene: &Scene,
    service: &str,
    others: &[String],
    nodes: Option<&str>,
) -> Ended {
    let view = scene.view();
    let mut places = Places::find(&view, service, others)?;
    if let Some(nodes) = nodes {
        places.add_node_ports_of_others(&view, service, nodes, &Scene::settings(&args.view)?)?;
    }
    let Places { frontends, sources } = places;
    if nodes.is_some() {
        wait_until_programmed(&sources, &frontends);
    }
    let outcomes: Vec<Outcome<'_>> =
        sources.iter().flat_map(|source| run(source, &frontends, args.attempts.into())).collect();
    let text = match args.output {
        ConnectivityTestOutput::Text => text(&outcomes),
        ConnectivityTestOutput::Json => format!("{:#}\n", value(&outcomes)),
    };
    output::end(text, outcomes.iter().any(|outcome| outcome.problem.is_some()))
}

/// Waits until every frontend answers from every source, or until [`PROGRAMMED`] has passed: the test that follows
/// reports what does not answer.
fn wait_until_programmed(sources: &[Source], frontends: &[Frontend]) {
    let began = Instant::now();
    for source in sources {
        for frontend in frontends.iter().filter(|frontend| source.tries(frontend)) {
            while source.connect(frontend.protocol, frontend.address).is_err() {
                if began.elapsed() >= PROGRAMMED {
                    return;
                }
                thread::sleep(POLL);
            }
        }
    }
}

/// Connects from one source to every frontend.
fn run<'a>(source: &'a Source, frontends: &'a [Frontend], attempts: u32) -> Vec<Outcome<'a>> {
    let mut outcomes = Vec::new();
    for frontend in frontends.iter().filter(|frontend| source.tries(frontend)) {
        let mut outcome = Outcome::new(source, frontend.kind.name(), frontend);
        while outcome.answered < attempts && outcome.problem.is_none() {
            outcome.connect();
        }
        let is_well = outcome.problem.is_none();
        outcomes.push(outcome);
        if source.is_endpoint && is_well && frontend.kind == FrontendKind::ClusterIp {
            outcomes.push(hairpin(source, frontend));
        }
    }
    outcomes
}

/// Connects until the answer comes from the source itself.
fn hairpin<'a>(source: &'a Source, frontend: &'a Frontend) -> Outcome<'a> {
    let mut outcome = Outcome::new(source, "hairpin", frontend);
    while outcome.problem.is_none() && !outcome.servers.contains(&source.name) {
        outcome.connect();
        if outcome.answered >= UNTIL_HAIRPIN && !outcome.servers.contains(&source.name) {
            outcome.problem = Some(format!("none of {UNTIL_HAIRPIN} connections reached the source itself"));
        }
    }
    outcome
}

impl<'a> Outcome<'a> {
    fn new(source: &'a Source, kind: &'static str, frontend: &'a Frontend) -> Self {
        Self { source, kind, frontend, answered: 0, servers: BTreeSet::new(), problem: None }
    }

    fn connect(&mut self) {
        match self.source.connect(self.frontend.protocol, self.frontend.address) {
            Ok(server) => {
                self.answered += 1;
                self.servers.insert(server);
            }
            Err(problem) => self.problem = Some(problem),
        }
    }
}

fn text(outcomes: &[Outcome<'_>]) -> String {
    let head = Columns::from_iter([["FROM", "NODE", "TO", "ADDRESS", "RESULT"]]);
    let rows = outcomes.iter().map(|outcome| {
        let Outcome { source, kind, frontend, answered, servers, problem } = outcome;
        let result = match problem {
            None => format!("ok: {answered} answered by {} servers", servers.len()),
            Some(problem) => format!("FAILED: {problem}, after {answered} answered connections"),
        };
        let node = source.node.as_deref().unwrap_or("-");
        let address = format!("{} {}", frontend.address, frontend.protocol);
        [&*source.name, node, kind, &address, &result].map(str::to_owned)
    });
    let mut text = align(&[head, rows.collect()], GAP);
    let failed = outcomes.iter().filter(|outcome| outcome.problem.is_some()).count();
    // Writing into a `String` does not fail.
    let _ = writeln!(text, "{} of {} ok", outcomes.len() - failed, outcomes.len());
    text
}

fn value(outcomes: &[Outcome<'_>]) -> Value {
    let result = |outcome: &Outcome<'_>| {
        json!({
            "from": outcome.source.name,
            "node": outcome.source.node,
            "to": outcome.kind,
            "protocol": outcome.frontend.protocol.name(),
            "address": outcome.frontend.address.to_string(),
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
