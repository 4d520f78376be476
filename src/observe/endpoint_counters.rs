//! Reads the kernel's counters of connections on a separate thread, so that neither commits nor scrapes wait for them.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use portolan_rules::ruleset::Name;
use tracing::{info, warn};

use crate::{
    kernel::nftables::{self, Counts},
    observe::{counts::Counted, metrics::Connections},
};

/// Time between readings.
const PERIOD: Duration = Duration::from_secs(10);
/// A reading that is no older than this is recent enough.
const MOMENT: Duration = Duration::from_millis(200);
/// Readings take at most 1/`SHARE` of the time: large maps are read less often.
const SHARE: u32 = 50;
/// Most frontends, and endpoints at slots, that are read, over both families: a third of a second of the kernel's time.
const ELEMENTS: usize = 100_000;

/// Reads the counters of the tables of this name for as long as the process lives. The first reading happens before
/// this returns and covers the counts of an earlier run.
pub fn follow(table: Name, connections: Connections) -> io::Result<Counters> {
    let mut follower = Follower { table, connections, problem: None, readings: 0, last: None };
    follower.read();
    let counters = Counters(Arc::new(Mutex::new(follower)));
    let shared = counters.clone();
    let following = move || {
        let mut took = Duration::ZERO;
        loop {
            std::thread::sleep(PERIOD.max(took * SHARE));
            took = shared.lock().read();
        }
    };
    std::thread::Builder::new().name("counters".into()).spawn(following)?;
    Ok(counters)
}

/// The counters, which can be read at any time; clones share them.
#[derive(Clone)]
pub struct Counters(Arc<Mutex<Follower>>);

impl Counters {
    fn lock(&self) -> MutexGuard<'_, Follower> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// New connections since the agent started, as of the last reading; `None` while a reading is in progress.
    pub fn recent(&self) -> Option<Counted> {
        self.0.try_lock().ok().map(|follower| follower.counted())
    }

    /// New connections since the agent started. Reads the kernel's counters, unless the last reading is recent enough
    /// or a reading takes long.
    pub fn read(&self) -> Counted {
        let mut follower = self.lock();
        if follower.last.is_none_or(|(at, took)| at.elapsed() > MOMENT.max(took * SHARE)) {
            follower.read();
        }
        follower.counted()
    }
}

pub(super) struct Follower {
    table: Name,
    connections: Connections,
    /// Why the last reading failed.
    problem: Option<String>,
    /// Number of readings so far.
    readings: u64,
    /// When the last reading ended, and how long it took.
    last: Option<(Instant, Duration)>,
}

impl Follower {
    fn counted(&self) -> Counted {
        Counted {
            reading: self.readings,
            age_seconds: self.last.map_or(Duration::ZERO, |(at, _)| at.elapsed()).as_secs_f64(),
            problem: self.problem.clone(),
            totals: self.connections.totals(),
        }
    }

    /// Reads the counters once; returns how long that took.
    fn read(&mut self) -> Duration {
        let start = Instant::now();
        let problem = match nftables::read_counts(&self.table, ELEMENTS) {
            Ok(counts) => {
                self.connections.take(&counts, Instant::now());
                (counts == Counts::TooMany)
                    .then(|| format!("there are more than {ELEMENTS} frontends and endpoints"))
            }
            Err(error) => {
                self.connections.fail();
                Some(error.to_string())
            }
        };
        match (&self.problem, &problem) {
            (before, Some(problem)) if before.as_ref() != Some(problem) => {
                warn!(error = problem, "Connections of endpoints are not counted");
            }
            (Some(_), None) => info!("Connections of endpoints are counted again"),
            _ => {}
        }
        self.problem = problem;
        self.readings += 1;
        self.last = Some((Instant::now(), start.elapsed()));
        start.elapsed()
    }
}
