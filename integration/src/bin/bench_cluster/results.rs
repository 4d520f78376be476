//! What one run measured, as a file has it.

use serde::{Deserialize, Serialize};

/// Everything that one run measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub machine: String,
    /// Whether it was a real API server.
    pub is_real: bool,
    pub rows: Vec<Row>,
    pub fleets: Vec<Fleet>,
}

/// One agent at one number of Services.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Row {
    pub services: u32,
    /// What the server and the agent speak.
    pub variant: String,
    pub connections: usize,
    pub requests: u64,
    /// Received until all was committed, with TLS.
    pub list_bytes: u64,
    /// CPU time of the thread that reads what the API server sends.
    pub list_cpu_seconds: f64,
    /// From the last byte of the lists to the first commit.
    pub first_commit_seconds: f64,
    /// From the first connection to the last commit of the start.
    pub committed_seconds: f64,
    pub memory_kib: u64,
    pub most_memory_kib: u64,
    /// The same of an agent that starts over rules that are right, but for one slice that changed meanwhile.
    pub restart_memory_kib: Option<u64>,
    pub most_restart_memory_kib: Option<u64>,
    /// What the kernel charges, with the elements of sets: of a start, and of a restart.
    pub charged: Option<Charged>,
    pub restart_charged: Option<Charged>,
    /// A slice with five endpoints, of which one is replaced.
    pub changes: Option<Changes>,
    /// A slice of a Service with 100 of them, likewise.
    pub large: Option<Changes>,
}

impl Row {
    /// Takes over the times of another start that were better.
    pub fn take_best_times(&mut self, start: &Self) {
        self.list_cpu_seconds = self.list_cpu_seconds.min(start.list_cpu_seconds);
        self.first_commit_seconds = self.first_commit_seconds.min(start.first_commit_seconds);
        self.committed_seconds = self.committed_seconds.min(start.committed_seconds);
    }
}

/// Bytes that are charged to a control group, afterwards and at most.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Charged {
    pub bytes: u64,
    pub most_bytes: u64,
}

/// What one change costs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Changes {
    pub bytes: f64,
    /// CPU time of all threads.
    pub cpu_seconds: f64,
    /// From the first byte of the event on the wire to the notification of the commit, while the processors are kept awake.
    pub median_seconds: f64,
    pub percentile_99_seconds: f64,
    /// The same where processors sleep between changes.
    pub idle_median_seconds: f64,
}

/// Many agents at once: the server's CPU time, and bytes, for each of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Fleet {
    pub services: u32,
    pub agents: usize,
    pub connections: usize,
    /// Until all are in sync.
    pub list_seconds: f64,
    pub list_cpu_seconds: f64,
    pub list_bytes: f64,
    pub change_cpu_seconds: f64,
    pub change_bytes: f64,
}

impl Results {
    /// Takes over what another run has measured of numbers of Services that this one has not.
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

    /// A row.
    pub fn row(&self, services: u32, variant: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.services == services && row.variant == variant)
    }
}
