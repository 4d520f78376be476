//! Metrics of how things stand at the time of a scrape.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::register::{Register, registered};
use crate::{kernel::sysctl::Sysctls, observe::health::Report};

/// The metrics.
#[derive(Debug)]
pub struct Now {
    age: IntGaugeVec,
    waiting: IntGauge,
    contested: IntGauge,
    tracked: IntGauge,
    tracked_limit: IntGauge,
    node_eligible: IntGauge,
    ready: IntGauge,
    readyz: IntCounterVec,
}

impl Now {
    /// Registers them.
    pub fn new(registry: &Register) -> Self {
        let opts = |name, help| Opts::new(format!("portolan_{name}"), help);
        let gauge = |name, help| registered(registry, IntGauge::with_opts(opts(name, help)));
        let age = opts(
            "newest_data_age_seconds",
            "Time since the API server last sent something about objects of a kind.",
        );
        let readyz = opts("readyz_total", "Number of answers of /readyz by HTTP status.");
        Self {
            age: registered(registry, IntGaugeVec::new(age, &["kind"])),
            waiting: gauge(
                "oldest_pending_change_age_seconds",
                "Time that the oldest change has waited that is not in the kernel.",
            ),
            contested: gauge(
                "tables_contested",
                "1 while another process changes the tables again and again, so that repairs wait.",
            ),
            tracked: gauge("conntrack_entries", "Number of connections that the kernel tracks."),
            tracked_limit: gauge("conntrack_limit", "Number of connections that the kernel tracks at most."),
            node_eligible: gauge("node_eligible", "1 if load balancers may send traffic to this node."),
            ready: gauge("ready", "1 if the node serves the cluster's Services."),
            readyz: registered(registry, IntCounterVec::new(readyz, &["code"])),
        }
    }

    /// Counts an answer of `/readyz`.
    pub fn readyz(&self, code: u16) {
        self.readyz.with_label_values(&[code.to_string()]).inc();
    }

    /// Sets the gauges.
    pub fn set(&self, report: &Report) {
        for (kind, age) in &report.ages {
            if let Some(age) = age {
                self.age.with_label_values(&[kind.name()]).set(number(age.as_secs()));
            }
        }
        self.waiting.set(report.waiting.map_or(0, |waiting| number(waiting.as_secs())));
        self.contested.set(report.contested.into());
        if let Some((tracked, limit)) = Sysctls::default().tracked() {
            self.tracked.set(number(tracked));
            self.tracked_limit.set(number(limit));
        }
        self.node_eligible.set(report.node_eligible.into());
        self.ready.set(report.is_ready().into());
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
