//! Many agents at once, and their cost to the API server.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use portolan_integration::{Agent, CLUSTER_CIDR, eventually};

use super::{
    Result,
    measure::{Bench, CHANGES},
    results::Fleet,
};

/// How long anything may take before the measurement is abandoned.
const LIMIT: Duration = Duration::from_mins(2);
/// A measurement is over once nothing was sent for this long.
const QUIET: Duration = Duration::from_secs(2);

impl Bench {
    /// Starts this many agents at once, each with its own tables, and then changes slices.
    pub fn fleet(&mut self, services: u32, agents: usize) -> Result<Fleet> {
        let (cpu, sent, connections) =
            (self.server.cpu(), self.server.wire().sent(), self.server.wire().connections());
        let began = Instant::now();
        let spawn = |number: usize| {
            let table = format!("fleet-{number}");
            let arguments = [
                "--cluster-cidr",
                CLUSTER_CIDR,
                "--table-name",
                &table,
                "--healthz-bind-address",
                "",
                "--metrics-bind-address",
                "",
            ];
            Agent::spawn_in_cluster(&self.lab.node_a, &self.server.kubeconfig(), &arguments)
        };
        let fleet = (0..agents).map(spawn).collect::<Result<Vec<_>, _>>()?;
        let is_synced = |agent: &Agent| agent.stderr().contains("In sync");
        eventually(LIMIT, || fleet.iter().all(is_synced)).ok_or("not all agents are in sync")?;
        let list_seconds = began.elapsed().as_secs_f64();
        self.wait_until_quiet();
        let listed = (self.server.cpu(), self.server.wire().sent());
        let change = self.next_round();
        for turn in 0..CHANGES {
            self.server.put_all([change(turn)]);
            sleep(Duration::from_millis(10));
        }
        self.wait_until_quiet();
        let changed = (self.server.cpu(), self.server.wire().sent());
        let share = agents as f64;
        Ok(Fleet {
            services,
            agents,
            connections: self.server.wire().connections() - connections,
            list_seconds,
            list_cpu_seconds: listed.0.saturating_sub(cpu).as_secs_f64() / share,
            list_bytes: (listed.1 - sent) as f64 / share,
            change_cpu_seconds: changed.0.saturating_sub(listed.0).as_secs_f64() / share / f64::from(CHANGES),
            change_bytes: (changed.1 - listed.1) as f64 / share / f64::from(CHANGES),
        })
    }

    fn wait_until_quiet(&self) {
        loop {
            let sent = self.server.wire().sent();
            sleep(QUIET);
            if self.server.wire().sent() == sent {
                return;
            }
        }
    }
}
