//! Metrics of the state at the time of a scrape.

use super::register::{metrics, number};
use crate::{kernel::sysctl::Sysctls, observe::health::Report};

metrics! {
    /// The metrics.
    #[derive(Debug)]
    Now: "portolan_" {
        age: IntGaugeVec("kind") = "newest_data_age_seconds",
            "Time since the API server last sent something about objects of a kind.";
        waiting: IntGauge() = "oldest_pending_change_age_seconds",
            "Age of the oldest change that is not yet in the kernel.";
        contested: IntGauge() = "tables_contested",
            "1 while another process keeps changing the tables, so that repairs are delayed.";
        tracked: IntGauge() = "conntrack_entries", "Number of connections that the kernel tracks.";
        tracked_limit: IntGauge() = "conntrack_limit", "Maximum number of connections that the kernel tracks.";
        node_eligible: IntGauge() = "node_eligible", "1 if load balancers may send traffic to this node.";
        ready: IntGauge() = "ready", "1 if the node serves the cluster's Services.";
        readyz: IntCounterVec("code") = "readyz_total", "Number of responses of /readyz by HTTP status.";
    }
}

impl Now {
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
