//! One run: the trace at one speed, against one agent.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use portolan_integration::{
    API_SERVER_THREAD, Agent, ApiServer, CLUSTER_CIDR, Lab, cpu_time, eventually,
    trace::{Phase, Plan, Simulation, Step, Write},
};
use serde_json::Value;

use super::{
    Result,
    ear::{self, Ear},
    results::{Happened, Run},
};

/// How long anything may take before the measurement is abandoned.
const LIMIT: Duration = Duration::from_mins(2);
/// The time without writes before the first phase, and after each phase.
const QUIET: Duration = Duration::from_secs(1);
/// How long the player sleeps at most while it waits for the next moment.
const NAP: Duration = Duration::from_millis(20);
/// How many objects are stored at once at the beginning.
const AT_ONCE: usize = 1_000;

/// Plays the trace this many times as fast as it was recorded.
pub fn play(plan: Plan, speed: u32) -> Result<Run> {
    let lab = Lab::new()?;
    let server = lab.api_server(Duration::from_mins(1))?;
    let node = lab.node_a.object();
    let mut simulation = Simulation::new(plan);
    let run = Run {
        speed,
        seed: plan.seed,
        nodes: plan.nodes,
        services: plan.services,
        endpoints: simulation.endpoints(),
        ..Run::default()
    };
    server.put_all([node.clone()].into_iter().chain(ear::objects()));
    let start: Vec<Write> = simulation.objects().collect();
    start.chunks(AT_ONCE).for_each(|some| server.put_all(some.iter().map(|write| write.object(&node))));

    let kubeconfig = server.kubeconfig();
    let agent = Agent::start_in_cluster(&lab.node_a, &kubeconfig, &["--cluster-cidr", CLUSTER_CIDR])?;
    let ear = Ear::new(lab.node_a.namespace())?;
    sleep(QUIET);
    let memory_kib = agent.resident_memory().ok_or("the agent has ended")?;
    let mut player = Player { server: &server, agent: &agent, ear, node, speed, late: Duration::ZERO };
    let mut phases = Vec::new();
    for phase in Phase::ALL {
        simulation.begin(phase);
        phases.push(player.phase(phase, &mut simulation)?);
        sleep(QUIET);
    }
    if !simulation.is_consistent() {
        return Err("the trace does not end as it should".into());
    }
    let after_kib = agent.resident_memory().ok_or("the agent has ended")?;
    let most_kib = agent.most_memory().ok_or("the agent has ended")?;
    let (late_seconds, lost) = (player.late.as_secs_f64(), player.ear.lost());
    expect_equal(&lab, &server)?;
    Ok(Run { memory_kib, after_kib, most_kib, late_seconds, lost, phases, ..run })
}

/// Writes the trace's objects when they are due.
struct Player<'a> {
    server: &'a ApiServer,
    agent: &'a Agent,
    ear: Ear,
    node: Value,
    speed: u32,
    /// How far the player was behind the trace at most.
    late: Duration,
}

impl Player<'_> {
    fn phase(&mut self, phase: Phase, simulation: &mut Simulation) -> Result<Happened> {
        let cpu = self.cpu();
        let sent = self.server.wire().sent();
        let (mut writes, mut lags) = (0, Vec::new());
        let started = Instant::now();
        while let Some(Step { at, writes: now }) = simulation.next_step() {
            let due = started + at / self.speed;
            // Objects are built before they are due.
            let objects: Vec<(bool, Value)> =
                now.iter().map(|write| (write.is_deletion(), write.object(&self.node))).collect();
            loop {
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                sleep(left.min(NAP));
                lags.extend(self.ear.lags());
            }
            self.late = self.late.max(due.elapsed());
            writes += objects.len();
            self.write(objects);
        }
        let seconds = started.elapsed().as_secs_f64();
        let arrived = eventually(LIMIT, || {
            lags.extend(self.ear.lags());
            self.ear.missing() == 0
        });
        arrived.ok_or_else(|| {
            let (missing, stderr) = (self.ear.missing(), self.agent.stderr());
            format!("{phase:?}: {missing} slices were not committed; the agent's stderr:\n{stderr}")
        })?;
        let [agent, server] = self.cpu();
        lags.sort_unstable();
        let at = |percent: usize| {
            lags.get(lags.len().saturating_sub(1) * percent / 100).map_or(0.0, Duration::as_secs_f64)
        };
        Ok(Happened {
            phase: format!("{phase:?}"),
            writes,
            bytes: self.server.wire().sent() - sent,
            seconds,
            cpu_seconds: agent.saturating_sub(cpu[0]).as_secs_f64(),
            server_cpu_seconds: server.saturating_sub(cpu[1]).as_secs_f64(),
            samples: lags.len(),
            median_seconds: at(50),
            percentile_99_seconds: at(99),
            longest_seconds: at(100),
        })
    }

    /// Writes and deletes objects, in order.
    fn write(&mut self, objects: Vec<(bool, Value)>) {
        let pace = self.ear.slice().map(|slice| (false, slice));
        let mut stored = Vec::new();
        for (is_deletion, object) in objects.into_iter().chain(pace) {
            if is_deletion {
                self.server.put_all(stored.drain(..));
                self.server.delete_all([&object]);
            } else {
                stored.push(object);
            }
        }
        self.server.put_all(stored);
    }

    /// The CPU time of the agent, and of the server.
    fn cpu(&self) -> [Duration; 2] {
        [cpu_time(self.agent.pid(), None), cpu_time(std::process::id(), Some(API_SERVER_THREAD))]
    }
}

/// Checks that the kernel holds the objects of the API.
fn expect_equal(lab: &Lab, server: &ApiServer) -> Result<()> {
    let kubeconfig = server.kubeconfig();
    let diff = ["diff", "--kubeconfig", &kubeconfig.to_string_lossy(), "--cluster-cidr", CLUSTER_CIDR];
    let diff = [&diff[..], &["--hostname-override", lab.node_a.name()]].concat();
    let mut text = String::new();
    // Objects that nothing leads to any more are removed a second later.
    let equal = eventually(LIMIT, || {
        Agent::command(&lab.node_a, &diff).is_ok_and(|output| {
            text = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            output.status.success()
        })
    });
    equal.map(drop).ok_or_else(|| {
        text.truncate(text.char_indices().nth(2_000).map_or(text.len(), |(at, _)| at));
        format!("the kernel does not hold what the API has:\n{text}").into()
    })
}
