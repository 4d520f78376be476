//! The measured results, as a file and as Markdown.

use std::fmt::Write as _;

use portolan_integration::markdown::{line, megabytes, rule, seconds, strs, thousands};
use serde::{Deserialize, Serialize};

/// Everything that was measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub machine: String,
    pub runs: Vec<Run>,
}

/// The trace at one speed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Run {
    pub speed: u32,
    pub seed: u64,
    pub nodes: u32,
    pub services: u32,
    pub endpoints: usize,
    pub memory_kib: u64,
    pub after_kib: u64,
    pub most_kib: u64,
    /// How far the player was behind the trace at most.
    pub late_seconds: f64,
    /// How many of the timed slices were left out because notifications of their commits were lost.
    pub lost: usize,
    pub phases: Vec<Happened>,
}

/// One phase of the trace.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Happened {
    pub phase: String,
    /// The number of objects that were written.
    pub writes: usize,
    /// The number of bytes sent to the agent.
    pub bytes: u64,
    pub seconds: f64,
    /// CPU time of the agent, and of the server.
    pub cpu_seconds: f64,
    pub server_cpu_seconds: f64,
    /// The number of measured times from the moment when the server stores a slice to its commit.
    pub samples: usize,
    pub median_seconds: f64,
    pub percentile_99_seconds: f64,
    pub longest_seconds: f64,
}

impl Results {
    /// Takes over another run's results for speeds that this run has not measured.
    pub fn complete_from(&mut self, earlier: Self) {
        let is_missing = |run: &Run| !self.runs.iter().any(|own| own.speed == run.speed);
        let more: Vec<Run> = earlier.runs.into_iter().filter(is_missing).collect();
        self.runs.extend(more);
        self.runs.sort_by_key(|run| run.speed);
    }

    /// The tables.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n", self.machine);
        for run in &self.runs {
            let Run { speed, seed, nodes, services, endpoints, .. } = run;
            // Writing into a `String` does not fail.
            let _ = writeln!(
                text,
                "\n{}: {} nodes, {} Services with {} endpoints, seed {seed}. Memory {} before, {} after, at most {}; the \
                 player was at most {} late.\n",
                if *speed == 1 { "At recorded speed".to_owned() } else { format!("{speed} times as fast") },
                thousands(*nodes),
                thousands(*services),
                thousands(*endpoints as u32),
                megabytes(run.memory_kib as f64 * 1024.0),
                megabytes(run.after_kib as f64 * 1024.0),
                megabytes(run.most_kib as f64 * 1024.0),
                seconds(run.late_seconds),
            );
            let heads = [
                "what happens",
                "objects written",
                "in",
                "sent",
                "CPU of the agent",
                "for each object",
                "CPU of the server",
                "written → committed, p50",
                "p99",
                "longest",
            ];
            line(&mut text, &heads);
            rule(&mut text, heads.len());
            for it in &run.phases {
                let percent = |cpu: f64| format!("{:.1} %", cpu / it.seconds * 100.0);
                let cells = [
                    name(&it.phase).to_owned(),
                    thousands(it.writes as u32),
                    seconds(it.seconds),
                    megabytes(it.bytes as f64),
                    percent(it.cpu_seconds),
                    seconds(it.cpu_seconds / it.writes as f64),
                    percent(it.server_cpu_seconds),
                    seconds(it.median_seconds),
                    seconds(it.percentile_99_seconds),
                    seconds(it.longest_seconds),
                ];
                line(&mut text, &strs(&cells));
            }
        }
        text
    }
}

fn name(phase: &str) -> &str {
    match phase {
        "Rollouts" => "rolling updates at once",
        "ZoneLost" => "a zone is lost",
        "ZoneBack" => "the zone is back",
        "Created" => "Services are created",
        other => other,
    }
}
