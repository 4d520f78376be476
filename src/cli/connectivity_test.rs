//! `connectivity-test`: connects to each frontend of a Service from Pods, nodes and here, and reports which Pod answered.

mod created;
mod probe;
mod server;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::SocketAddr,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use portolan_rules::{
    explanation::View,
    frontends::{FrontendKey, FrontendKind, frontends_of},
    model::{ObjectName, Protocol, Service},
    ruleset::Family,
    state::ServiceState,
};
use serde_json::{Value, json};

use super::{
    arguments::{ConnectivityTestArgs, ConnectivityTestOutput},
    explain::{self, Scene, kind},
    input::cluster,
};
use created::Created;

/// So many connections at most until a Pod is led to itself: with ten endpoints, one of 300 misses that once in 10^13.
const UNTIL_HAIRPIN: u32 = 300;

/// How long nodes may take to program the Services that were just created, and how often that is tried.
const PROGRAMMED: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// A place to connect from.
struct Source {
    name: String,
    /// Where its server is asked to connect; nothing for this process.
    server: Option<SocketAddr>,
    /// Whether it is an endpoint of the Service, so that it can be led to itself.
    is_endpoint: bool,
}

impl Source {
    fn connect(&self, protocol: Protocol, to: SocketAddr) -> Result<String, String> {
        match self.server {
            Some(server) => probe::connect_from(server, protocol, to),
            None => probe::connect(protocol, to),
        }
    }
}

/// A frontend to connect to.
#[derive(Clone, Copy)]
struct Door {
    kind: FrontendKind,
    protocol: Protocol,
    address: SocketAddr,
}

/// What became of the connections of one kind.
struct Outcome<'a> {
    source: &'a Source,
    /// `ClusterIP` and the like, or `hairpin`.
    kind: &'static str,
    door: Door,
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
        Ok(scene) => test(args, &scene, service, &args.sources, false),
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
            Ok(scene) => test(&args, &scene, &created.service(), &[created.nodes()], true),
            Err(code) => code,
        }
    })
}

/// Connects to every frontend of a Service, from its endpoints and from those of others.
fn test(
    args: &ConnectivityTestArgs,
    scene: &Scene,
    service: &str,
    others: &[String],
    is_new: bool,
) -> ExitCode {
    let view = scene.view();
    let (doors, sources) = match prepare(&view, service, others) {
        Ok(prepared) => prepared,
        Err(problem) => {
            eprintln!("portolan: {problem}");
            return explain::error();
        }
    };
    if is_new {
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

/// The frontends of the Service, and the places to connect from.
fn prepare(view: &View<'_>, service: &str, others: &[String]) -> Result<(Vec<Door>, Vec<Source>), String> {
    let (service, entry) = find(view, service)?;
    let doors = doors(view, service);
    if doors.is_empty() {
        return Err(format!("Service {} has no port of TCP or UDP", service.name));
    }
    let mut sources = vec![Source { name: "here".to_owned(), server: None, is_endpoint: false }];
    sources.extend(servers(entry, true)?);
    for other in others {
        sources.extend(servers(find(view, other)?.1, false)?);
    }
    if sources.len() == 1 {
        return Err(format!("Service {} has no ready endpoint on a port of TCP", service.name));
    }
    Ok((doors, sources))
}

fn find<'a>(view: &'a View<'_>, name: &str) -> Result<(&'a Service, &'a ServiceState), String> {
    let Some((namespace, short)) = name.split_once('/') else {
        return Err(format!("{name:?} is not NAMESPACE/NAME of a Service"));
    };
    let name = ObjectName::new(namespace, short);
    let found = view.state.services().find(|(service, _)| service.name == name);
    found.ok_or_else(|| explain::no_service(view, &name))
}

fn doors(view: &View<'_>, service: &Service) -> Vec<Door> {
    let mut doors = Vec::new();
    for family in Family::ALL {
        for port in service.ports.iter().filter(|port| port.protocol != Protocol::Sctp) {
            for (key, kind) in frontends_of(service, port, family) {
                match key {
                    FrontendKey::Address(address, protocol, port) => {
                        doors.push(Door { kind, protocol, address: (address, port).into() });
                    }
                    FrontendKey::NodePort(_, protocol, port) => {
                        let nodes = view.compiler.node_port_addresses(family).into_iter();
                        let door = |address| Door { kind, protocol, address: (address, port).into() };
                        doors.extend(nodes.filter(|address| !address.is_unspecified()).map(door));
                    }
                }
            }
        }
    }
    doors
}

/// The servers that are the endpoints of a Service, each once: one with two addresses has one name.
fn servers(entry: &ServiceState, is_endpoint: bool) -> Result<Vec<Source>, String> {
    let mut servers = BTreeMap::new();
    for slice in &entry.slices {
        let Some(port) = slice.ports.iter().find(|port| port.protocol == Protocol::Tcp) else { continue };
        for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready) {
            let server = SocketAddr::new(endpoint.address, port.port);
            let name = probe::connect(Protocol::Tcp, server)
                .map_err(|problem| format!("endpoint {server} is no server of the test: {problem}"))?;
            servers.entry(name).or_insert(server);
        }
    }
    let source = |(name, server)| Source { name, server: Some(server), is_endpoint };
    Ok(servers.into_iter().map(source).collect())
}

/// Waits until every frontend answers from every place, but not for ever: the test is to come.
fn wait_until_programmed(sources: &[Source], doors: &[Door]) {
    let began = Instant::now();
    for source in sources {
        for door in doors {
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
fn run<'a>(source: &'a Source, doors: &[Door], attempts: u32) -> Vec<Outcome<'a>> {
    let mut outcomes = Vec::new();
    for door in doors {
        let mut outcome = Outcome::new(source, kind(door.kind), *door);
        while outcome.answered < attempts && outcome.problem.is_none() {
            outcome.connect();
        }
        let is_well = outcome.problem.is_none();
        outcomes.push(outcome);
        if source.is_endpoint && is_well && door.kind == FrontendKind::ClusterIp {
            outcomes.push(hairpin(source, *door));
        }
    }
    outcomes
}

/// Connects until the source itself answers.
fn hairpin(source: &Source, door: Door) -> Outcome<'_> {
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
    fn new(source: &'a Source, kind: &'static str, door: Door) -> Self {
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
    let head = ["FROM", "TO", "ADDRESS", "RESULT"].map(str::to_owned);
    let rows = outcomes.iter().map(|outcome| {
        let Outcome { source, kind, door, answered, servers, problem } = outcome;
        let result = match problem {
            None => format!("ok: {answered} answered by {} servers", servers.len()),
            Some(problem) => format!("FAILED: {problem}, after {answered} that were answered"),
        };
        [source.name.clone(), (*kind).to_owned(), format!("{} {}", door.address, door.protocol), result]
    });
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(rows).collect();
    let width = |i: usize| rows.iter().map(|row| row[i].len()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [from, to, address, result] in &rows {
        // Writing into a `String` does not fail.
        let _ = writeln!(text, "{from:0$}  {to:1$}  {address:2$}  {result}", widths[0], widths[1], widths[2]);
    }
    let failed = outcomes.iter().filter(|outcome| outcome.problem.is_some()).count();
    let _ = writeln!(text, "{} of {} ok", outcomes.len() - failed, outcomes.len());
    text
}

fn value(outcomes: &[Outcome<'_>]) -> Value {
    let result = |outcome: &Outcome<'_>| {
        json!({
            "from": outcome.source.name,
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
