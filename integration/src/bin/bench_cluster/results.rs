//! The results of one run, as stored in a file.

use serde::{Deserialize, Serialize};

/// The results of one run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub machine: String,
    /// Whether the API server was a real one.
    pub is_real: bool,
    pub rows: Vec<Row>,
    pub fleets: Vec<Fleet>,
}

/// One agent at one number of Services.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Row {
    pub services: u32,
    /// The protocol and encoding between the server and the agent.
    pub variant: String,
    pub connections: usize,
    pub requests: u64,
    /// Received until everything was committed, including TLS.
    pub list_bytes: u64,
    /// CPU time of the thread that reads what the API server sends.
    pub list_cpu_seconds: f64,
    /// From the last byte of the lists to the first commit.
    pub first_commit_seconds: f64,
    /// From the first connection to the last commit of the start.
    pub committed_seconds: f64,
    pub memory_kib: u64,
    pub most_memory_kib: u64,
    /// The memory of an agent that starts over rules that are up to date, except for one slice that changed in the
    /// meantime.
    pub restart_memory_kib: Option<u64>,
    pub most_restart_memory_kib: Option<u64>,
    /// The memory that the kernel charges, including the elements of sets: for a start, and for a restart.
    pub charged: Option<Charged>,
    pub restart_charged: Option<Charged>,
    /// A slice with five endpoints, of which one is replaced.
    pub changes: Option<Changes>,
    /// A slice of a Service with 100 slices, likewise.
    pub large: Option<Changes>,
}

impl Row {
    /// Takes over the better times of another start.
    pub fn take_best_times(&mut self, start: &Self) {
        self.list_cpu_seconds = self.list_cpu_seconds.min(start.list_cpu_seconds);
        self.first_commit_seconds = self.first_commit_seconds.min(start.first_commit_seconds);
        self.committed_seconds = self.committed_seconds.min(start.committed_seconds);
    }
}

/// Bytes that are charged to a control group, afterwards and at the peak.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Charged {
    pub bytes: u64,
    pub most_bytes: u64,
}

/// The cost of one change.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Changes {
    pub bytes: f64,
    /// CPU time of all threads.
    pub cpu_seconds: f64,
    /// From the first byte of the event on the wire to the notification of the commit, while the processors are kept awake.
    pub median_seconds: f64,
    pub percentile_99_seconds: f64,
    /// The same when processors sleep between changes.
    pub idle_median_seconds: f64,
}

/// Many agents at once: the server's CPU time, and bytes, per agent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Fleet {
    pub services: u32,
    pub agents: usize,
    pub connections: usize,
    /// The time until all agents are in sync.
    pub list_seconds: f64,
    pub list_cpu_seconds: f64,
    pub list_bytes: f64,
    pub change_cpu_seconds: f64,
    pub change_bytes: f64,
}

impl Results {
    /// Takes over another run's results for numbers of Services that this run has not measured.
    pub fn complete_from(&mut self, earlier: Self) {
        let is_missing = |services: u32| !self.rows.iter().any(|row| row.services == services);
        let rows: Vec<Row> = earlier.rows.into_iter().filter(|row| is_missing(row.services)).collect();
        let fleets: Vec<Fleet> =
            earlier.fleets.into_iter().filter(|fleet| is_missing(fleet.services)).collect();
        self.rows.extend(rows);
        self.fleets.extend(fleets);
        self.rows.sort_by_key(|row| row.services);
        self.fleets.sort_by_key(|fleet| fleet.services);
    }

    /// The numbers of Services.
    pub fn sizes(&self) -> Vec<u32> {
        let mut sizes: Vec<u32> = self.rows.iter().map(|row| row.services).collect();
        sizes.dedup();
        sizes
    }

    /// The row of a variant at this number of Services.
    pub fn row(&self, services: u32, variant: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.services == services && row.variant == variant)
    }
}
