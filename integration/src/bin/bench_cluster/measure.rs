//! One agent: the cost of its start and its changes, on the wire and on the node.

use std::{
    fs::File,
    os::fd::AsFd,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, setns},
};
use portolan::kernel::nftables::{self, Monitor};
use portolan_integration::{Agent, CLUSTER_CIDR, Lab, MemoryGroup, Node, cpu_time, eventually};
use serde_json::Value;

use super::{
    Result,
    awake::Awake,
    objects::{self, LARGE_SLICES},
    results::{Changes, Charged, Row},
    server::Server,
    variant::Variant,
};

const ENDPOINTS: u8 = 5;
/// How many changes are made in a round.
pub const CHANGES: u32 = 200;
/// How many starts are measured: the best of their times count, since the machine is shared.
const ROUNDS: u32 = 3;
/// How many rounds of changes are measured while processors are kept awake; again, the best count.
const CHANGE_ROUNDS: u32 = 5;
/// How long anything may take before the measurement is abandoned.
const LIMIT: Duration = Duration::from_mins(1);
/// A start or a change is over once there was no commit for this long.
const QUIET: Duration = Duration::from_secs(2);
/// The time between two changes, so that each is committed separately.
const PAUSE: Duration = Duration::from_millis(10);
/// The thread that reads what the API server sends.
const CLUSTER_THREAD: &str = "cluster";
const METRICS: u16 = 10249;
const PORTOLAN: [&str; 2] = ["--cluster-cidr", CLUSTER_CIDR];

/// A lab with a server that has this many Services, and a monitor of the commits on its first node.
pub struct Bench {
    pub lab: Lab,
    pub server: Server,
    monitor: Monitor,
    size: u32,
    round: u8,
}

impl Bench {
    /// Moves the calling thread into the node's namespace.
    pub fn new(size: u32) -> Result<Self> {
        let lab = Lab::new()?;
        let server = Server::start(&lab)?;
        server.put_all(lab.nodes().map(Node::object));
        server.put_all((0..size).flat_map(|number| objects::service(number, 0..ENDPOINTS)));
        // A monitor cannot change threads, so this one moves to the node.
        setns(File::open(lab.node_a.namespace().path())?, CloneFlags::CLONE_NEWNET)?;
        let monitor = Monitor::open("portolan")?;
        Ok(Self { lab, server, monitor, size, round: 0 })
    }

    /// Measures a start, changes and, for the default variant, a restart and a large Service.
    pub fn measure(&mut self, variant: Variant) -> Result<Row> {
        let is_default = variant == Variant::default();
        let row = Row { services: self.size, variant: variant.name().to_owned(), ..Row::default() };
        variant.prepare(&mut self.server)?;
        // Objects are encoded when they are first sent, and the encoding is kept, as in a real server.
        let starts =
            (1..ROUNDS).map(|_| Ok(self.start(variant, &row, None)?.1)).collect::<Result<Vec<Row>>>()?;
        let group = MemoryGroup::new();
        let (agent, mut row) = self.start(variant, &row, group.as_ref())?;
        for start in &starts {
            row.take_best_times(start);
        }
        let change = self.next_round();
        row.changes = Some(self.changes(&agent, change)?);
        if is_default {
            let large = objects::large();
            self.server.put_all(large.clone());
            while self.next_commit(QUIET)?.is_some() {}
            row.large =
                Some(self.changes(&agent, |turn| objects::large_slice(turn % LARGE_SLICES, turn + 1))?);
            self.server.delete_all(&large);
            while self.next_commit(QUIET)?.is_some() {}
        }
        drop(agent);
        if is_default {
            let change = self.next_round();
            self.server.put_all([change(0)]);
            let restarted = self.spawn(&PORTOLAN, group.as_ref())?;
            eventually(LIMIT, || restarted.readyz() == Some(200))
                .ok_or_else(|| gave_up("not ready", &restarted))?;
            while self.next_commit(QUIET)?.is_some() {}
            row.restart_charged = group.as_ref().map(charged).transpose()?;
            row.restart_memory_kib = restarted.resident_memory();
            row.most_restart_memory_kib = restarted.most_memory();
        }
        Ok(row)
    }

    /// The slices of some Services, each with one endpoint that differs from the round before. If there are few
    /// Services, some are changed twice.
    pub fn next_round(&mut self) -> impl Fn(u32) -> Value + use<> {
        self.round += 2;
        let (size, round) = (self.size, self.round);
        move |turn| {
            let first = round + u8::from(turn >= size);
            let [_, slice] = objects::service(turn * 7919 % size, first..first + ENDPOINTS);
            slice
        }
    }

    /// Starts an agent that is charged to this group, whose peak is reset.
    fn spawn(&self, arguments: &[&str], group: Option<&MemoryGroup>) -> Result<Agent> {
        let enter = group.map(MemoryGroup::enter);
        let enter: Vec<&str> = enter.iter().flatten().map(String::as_str).collect();
        if let Some(group) = group {
            group.forget_most()?;
        }
        let kubeconfig = self.server.kubeconfig();
        Ok(Agent::spawn_in_cluster_by(&self.lab.node_a, &enter, &kubeconfig, arguments)?)
    }

    /// Starts an agent on a node without rules, and waits until everything is committed.
    fn start(&mut self, variant: Variant, row: &Row, group: Option<&MemoryGroup>) -> Result<(Agent, Row)> {
        Agent::command(&self.lab.node_a, &["cleanup"])?;
        while self.next_commit(Duration::from_millis(200))?.is_some() {}
        let wire = self.server.wire();
        let (connections, sent) = (wire.connections(), wire.sent());
        wire.forget_times();
        let arguments = [&PORTOLAN[..], variant.arguments()].concat();
        let agent = self.spawn(&arguments, group)?;
        let first = self.next_commit(LIMIT)?.ok_or_else(|| gave_up("no commit", &agent))?;
        let listed = self.server.wire().last_sent().ok_or("a commit before any list")?;
        let mut last = first;
        while let Some(commit) = self.next_commit(QUIET)? {
            last = commit;
        }
        eventually(LIMIT, || agent.readyz() == Some(200)).ok_or_else(|| gave_up("not ready", &agent))?;
        let wire = self.server.wire();
        let connected = wire.connected_at().ok_or("a commit without a connection")?;
        let row = Row {
            connections: wire.connections() - connections,
            requests: requests(&agent),
            list_bytes: wire.sent() - sent,
            list_cpu_seconds: cpu_time(agent.pid(), Some(CLUSTER_THREAD)).as_secs_f64(),
            first_commit_seconds: first.saturating_duration_since(listed).as_secs_f64(),
            committed_seconds: last.saturating_duration_since(connected).as_secs_f64(),
            memory_kib: agent.resident_memory().ok_or("the agent has ended")?,
            most_memory_kib: agent.most_memory().ok_or("the agent has ended")?,
            charged: group.map(charged).transpose()?,
            ..row.clone()
        };
        Ok((agent, row))
    }

    /// Changes objects one after the other, and waits for each commit.
    fn changes(&mut self, agent: &Agent, change: impl Fn(u32) -> Value) -> Result<Changes> {
        let (sent, cpu) = (self.server.wire().sent(), cpu_time(agent.pid(), None));
        let [idle_median_seconds, _] = self.time_changes(agent, 0, &change)?;
        let awake = Awake::new()?;
        let rounds = (1..=CHANGE_ROUNDS).map(|round| self.time_changes(agent, round * CHANGES, &change));
        let rounds: Vec<[f64; 2]> = rounds.collect::<Result<_>>()?;
        drop(awake);
        let [median_seconds, percentile_99_seconds] =
            [0, 1].map(|which| rounds.iter().map(|times| times[which]).fold(f64::INFINITY, f64::min));
        let count = f64::from((CHANGE_ROUNDS + 1) * CHANGES);
        Ok(Changes {
            idle_median_seconds,
            bytes: (self.server.wire().sent() - sent) as f64 / count,
            cpu_seconds: (cpu_time(agent.pid(), None).saturating_sub(cpu)).as_secs_f64() / count,
            median_seconds,
            percentile_99_seconds,
        })
    }

    /// One round of changes, starting with number `first`: p50 and p99 of their times, in seconds.
    fn time_changes(
        &mut self,
        agent: &Agent,
        first: u32,
        change: &impl Fn(u32) -> Value,
    ) -> Result<[f64; 2]> {
        let mut times = Vec::new();
        for turn in first..first + CHANGES {
            let object = change(turn);
            self.server.wire().forget_times();
            self.server.put_all([object]);
            let time = loop {
                let at = self
                    .next_commit(LIMIT)?
                    .ok_or_else(|| gave_up(&format!("change {turn} was not committed"), agent))?;
                // A commit before the event belongs to something else.
                if let Some(time) = self.sent_at().and_then(|sent| at.checked_duration_since(sent)) {
                    break time;
                }
            };
            times.push(time);
            sleep(PAUSE);
            while self.next_commit(Duration::ZERO)?.is_some() {}
        }
        times.sort_unstable();
        Ok([50, 99].map(|percent| times[(times.len() - 1) * percent / 100].as_secs_f64()))
    }

    /// When the server began to send the object that was stored last. The time may be noted only after the resulting
    /// commit.
    fn sent_at(&self) -> Option<Instant> {
        let wire = self.server.wire();
        eventually(QUIET, || wire.first_sent().is_some());
        wire.first_sent()
    }

    /// When the next commit is noticed; `None` if there is none within `limit`.
    fn next_commit(&mut self, limit: Duration) -> Result<Option<Instant>> {
        let end = Instant::now() + limit;
        loop {
            while let Some(event) = self.monitor.receive().or_else(|error| match error {
                // Some notifications of a large commit may be lost; it counts as a commit nevertheless.
                nftables::Error::Unknown(_) => Ok(None),
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
            poll(&mut [PollFd::new(self.monitor.as_fd(), PollFlags::POLLIN)], timeout)?;
        }
    }
}

/// The memory that is charged to a group.
fn charged(group: &MemoryGroup) -> Result<Charged> {
    Ok(Charged { bytes: group.charged()?, most_bytes: group.most_charged()? })
}

/// The number of requests that an agent has made.
fn requests(agent: &Agent) -> u64 {
    let metrics = agent.get(METRICS, "/metrics").map(|answer| answer.body).unwrap_or_default();
    let counts = metrics.lines().filter(|line| line.starts_with("rest_client_requests_total{"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn gave_up(what: &str, agent: &Agent) -> String {
    format!("{what} within {LIMIT:?}; the agent's stderr:\n{}", agent.stderr())
}
