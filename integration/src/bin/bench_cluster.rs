//! `make bench`: the agent against an API server: memory at a cold start and at a restart, the first commit, and a
//! changed slice on its way from the server to the kernel.

use std::{
    fmt::Write as _,
    fs::File,
    os::fd::AsFd,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Parser as _;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, setns},
};
use portolan::kernel::nftables::Monitor;
use portolan_integration::{Agent, CLUSTER_CIDR, Lab, Node, eventually, numbered};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const ENDPOINTS: u8 = 5;
/// How often a change is measured.
const CHANGES: u16 = 200;
/// How long anything may take before the measurement is given up.
const LIMIT: Duration = Duration::from_mins(2);

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The agent against an API server: memory, the first commit, and how long a changed slice takes to the kernel.
#[derive(Debug, clap::Parser)]
struct Arguments {
    /// Numbers of Services.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
    sizes: Vec<u32>,
    /// Write the figures to this file, too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measure nothing: take the figures that an earlier run wrote with --json.
    #[arg(long)]
    from: Option<PathBuf>,
}

/// Everything that one run measured.
#[derive(Debug, Serialize, Deserialize)]
struct Results {
    machine: String,
    rows: Vec<Row>,
}

/// The figures of one number of Services.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    services: u32,
    /// From the end of the last list to the first commit.
    first_commit_seconds: f64,
    memory_kib: u64,
    most_memory_kib: u64,
    /// The same of an agent that starts over rules that are right.
    #[serde(default)]
    restart_memory_kib: Option<u64>,
    #[serde(default)]
    most_restart_memory_kib: Option<u64>,
    /// From a changed slice to its commit.
    change_median_seconds: f64,
    change_99_seconds: f64,
}

fn main() -> ExitCode {
    run(&Arguments::parse()).map_or_else(
        |error| {
            eprintln!("bench_cluster: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run(arguments: &Arguments) -> Result<()> {
    let results = match &arguments.from {
        Some(path) => serde_json::from_str(&std::fs::read_to_string(path)?)?,
        None => all(&arguments.sizes)?,
    };
    print!("{}", results.markdown());
    if let Some(path) = &arguments.json {
        std::fs::write(path, format!("{}\n", serde_json::to_string_pretty(&results)?))?;
    }
    Ok(())
}

/// Each size on a thread of its own, since the thread moves to the node's namespace.
fn all(sizes: &[u32]) -> Result<Results> {
    let mut rows = Vec::new();
    for size in sizes.iter().copied() {
        let measured = thread::spawn(move || measure(size).map_err(|error| error.to_string())).join();
        rows.push(measured.unwrap_or_else(|_| Err("a panic".into()))?);
    }
    Ok(Results { machine: portolan_integration::machine(), rows })
}

impl Results {
    fn markdown(&self) -> String {
        let mut text = format!(
            "{}\n\n| Services | first commit after the last list | memory | at most | restart: memory | at most | slice to kernel, median | 99 % |\n\
             |---|---|---|---|---|---|---|---|\n",
            self.machine
        );
        let mebibytes = |kibibytes: u64| format!("{} MiB", kibibytes.div_ceil(1024));
        let known = |kibibytes: Option<u64>| kibibytes.map_or_else(|| "–".to_owned(), mebibytes);
        for row in &self.rows {
            // Writing into a `String` does not fail.
            let _ = writeln!(
                text,
                "| {} | {:.0} ms | {} | {} | {} | {} | {:.2} ms | {:.2} ms |",
                row.services,
                row.first_commit_seconds * 1e3,
                mebibytes(row.memory_kib),
                mebibytes(row.most_memory_kib),
                known(row.restart_memory_kib),
                known(row.most_restart_memory_kib),
                row.change_median_seconds * 1e3,
                row.change_99_seconds * 1e3,
            );
        }
        text
    }
}

fn measure(size: u32) -> Result<Row> {
    let lab = Lab::new()?;
    let server = lab.api_server(Duration::from_mins(1))?;
    server.put_all(lab.nodes().map(Node::object));
    server.put_all((0..size).flat_map(|number| numbered(number, 0..ENDPOINTS)).map(as_stored));
    // A monitor cannot change threads, so this one moves to the node.
    setns(File::open(lab.node_a.namespace().path())?, CloneFlags::CLONE_NEWNET)?;
    let mut monitor = Monitor::open("portolan")?;

    let arguments = ["--cluster-cidr", CLUSTER_CIDR];
    let agent = Agent::spawn_in_cluster(&lab.node_a, &server.kubeconfig(), &arguments)?;
    let committed = next_commit(&mut monitor, LIMIT)?.ok_or_else(|| gave_up("no commit", &agent))?;
    let listed = server.last_list().ok_or("a commit before any list")?;
    eventually(LIMIT, || agent.readyz() == Some(200)).ok_or_else(|| gave_up("not ready", &agent))?;
    // Until all that belongs to the start is over.
    while next_commit(&mut monitor, Duration::from_secs(2))?.is_some() {}
    let memory = agent.resident_memory().ok_or("the agent has ended")?;
    let most = agent.most_memory().ok_or("the agent has ended")?;

    let mut times = Vec::new();
    for change in 0..CHANGES {
        let number = u32::from(change) * 7919 % size;
        let [_, slice] = numbered(number, 1..=ENDPOINTS).map(as_stored);
        let start = Instant::now();
        server.put(slice);
        let at = next_commit(&mut monitor, LIMIT)?.ok_or_else(|| gave_up("a change was lost", &agent))?;
        times.push(at - start);
        thread::sleep(Duration::from_millis(10));
    }
    drop(agent);
    let restarted = Agent::start_in_cluster(&lab.node_a, &server.kubeconfig(), &arguments)?;
    while next_commit(&mut monitor, Duration::from_secs(2))?.is_some() {}
    let restart_memory_kib = Some(restarted.resident_memory().ok_or("the agent has ended")?);
    let most_restart_memory_kib = Some(restarted.most_memory().ok_or("the agent has ended")?);

    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    Ok(Row {
        services: size,
        first_commit_seconds: committed.saturating_duration_since(listed).as_secs_f64(),
        memory_kib: memory,
        most_memory_kib: most,
        restart_memory_kib,
        most_restart_memory_kib,
        change_median_seconds: at(50).as_secs_f64(),
        change_99_seconds: at(99).as_secs_f64(),
    })
}

fn gave_up(what: &str, agent: &Agent) -> String {
    format!("{what} within {LIMIT:?}; the agent's stderr:\n{}", agent.stderr())
}

/// With what an object of a real cluster carries besides: who owns it, and who set which field.
fn as_stored(mut object: Value) -> Value {
    let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:team": {}}, "f:annotations": {".": {}}},
                        "f:spec": {"f:ports": {}, "f:selector": {}, "f:type": {}, "f:internalTrafficPolicy": {}}});
    let manager = |name: &str| {
        json!({"manager": name, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
               "time": "2026-01-02T03:04:05Z", "fieldsV1": fields})
    };
    let metadata = &mut object["metadata"];
    metadata["managedFields"] = json!([manager("kube-controller-manager"), manager("helm")]);
    metadata["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = fields.to_string().into();
    metadata["labels"]["app.kubernetes.io/managed-by"] = "Helm".into();
    metadata["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Service", "name": "x", "controller": true,
                                          "uid": "00000000-0000-4000-8000-000000000000"}]);
    object
}

/// When the next commit is heard of; `None` if there is none for so long.
fn next_commit(monitor: &mut Monitor, limit: Duration) -> Result<Option<Instant>> {
    let end = Instant::now() + limit;
    loop {
        while let Some(event) = monitor.receive().or_else(|error| match error {
            // Of a large commit some notifications may be lost; it is one all the same.
            portolan::kernel::nftables::Error::Unknown(_) => Ok(None),
            error => Err(error),
        })? {
            if event.generation.is_some() {
                return Ok(Some(Instant::now()));
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        poll(&mut [PollFd::new(monitor.as_fd(), PollFlags::POLLIN)], timeout)?;
    }
}
