//! Metrics that kube-proxy does not have.

use portolan_rules::compile::Severity;
use prometheus::exponential_buckets;

use super::register::{FAMILIES, metrics, number};
use crate::observe::report::{FlowRemoval, Reconcile};

metrics! {
    /// The metrics.
    #[derive(Debug)]
    Portolan: "portolan_" {
        build: IntGaugeVec("version") = "build_info", "A constant 1, labelled with the version.";
        services: IntGauge() = "services", "Number of Services programmed.";
        without_endpoints: IntGauge() = "services_without_endpoints",
            "Number of Services with a port that has no usable endpoint of either family, on any node.";
        stage_duration: HistogramVec("stage") in from_10_us = "reconcile_stage_duration_seconds",
            "Time that each stage of a reconcile took: dump, compile, encode, kernel.";
        reconciles: IntCounterVec("cause", "outcome") = "reconciles_total",
            "Number of reconciles by cause and outcome.";
        transactions: IntCounter() = "transactions_total", "Number of transactions that the kernel committed.";
        failed_transactions: IntCounter() = "failed_transactions_total",
            "Number of transactions that the kernel refused, or whose outcome is not known.";
        operations: IntCounterVec("ip_family") = "operations_total", "Number of operations committed.";
        messages: IntCounter() = "netlink_messages_total", "Number of netlink messages committed.";
        bytes: IntCounter() = "committed_bytes_total", "Number of bytes in the transactions that the kernel committed.";
        full_comparisons: IntCounter() = "full_comparisons_total",
            "Number of full comparisons with the kernel.";
        full_comparison_duration: Histogram() in from_10_us = "full_comparison_duration_seconds",
            "Duration of reconciles with a full comparison.";
        repairs: IntCounter() = "drift_repairs_total",
            "Number of repairs of changes that another process made to the tables.";
        repair_operations: IntCounter() = "drift_repair_operations_total",
            "Number of operations in repairs of changes that another process made to the tables.";
        quarantined: IntGauge() = "quarantined_services", "Number of Services that the kernel refuses.";
        quarantines: IntCounter() = "quarantines_total",
            "Number of times that a Service was found to be refused by the kernel.";
        problems: IntCounterVec("severity") = "service_problems_total",
            "Number of problems found with Services.";
        elements: IntGaugeVec("ip_family", "set") = "set_elements", "Number of elements of a set or map.";
        sizes: IntGaugeVec("ip_family", "set") = "set_size",
            "Declared size of a set or map, in elements.";
        classes: IntGaugeVec("ip_family") = "classes", "Number of classes of frontends.";
        conntrack_deletions: IntCounterVec("ip_family") = "conntrack_deletions_total",
            "Number of stale flows that were deleted.";
        conntrack_deletions_by_protocol: IntCounterVec("protocol") = "conntrack_deletions_by_protocol_total",
            "Number of stale flows that were deleted, by protocol; for TCP, only connections that were never answered.";
        conntrack_pending: IntGauge() = "conntrack_pending",
            "1 if the search for stale flows failed and will be retried.";
    }
}

/// From 10 µs, about the time of an update of one endpoint, to 80 s.
fn from_10_us() -> Vec<f64> {
    exponential_buckets(0.000_01, 2.0, 24).unwrap_or_default()
}

impl Portolan {
    /// Sets metrics that never change.
    pub fn begin(&self) {
        self.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    }

    /// Sets the number of Services, and of Services without endpoints.
    pub fn programmed(&self, services: usize, without_endpoints: u32) {
        self.services.set(number(services));
        self.without_endpoints.set(without_endpoints.into());
    }

    /// Counts one reconcile.
    pub fn reconciled(&self, reconcile: &Reconcile) {
        let outcome = if reconcile.succeeded { "success" } else { "failure" };
        self.reconciles.with_label_values(&[reconcile.cause.name(), outcome]).inc();
        let stages = [
            ("dump", reconcile.dump),
            ("compile", reconcile.compile),
            ("encode", reconcile.commit.encode),
            ("kernel", reconcile.commit.kernel),
        ];
        for (stage, took) in stages.into_iter().filter(|(_, took)| !took.is_zero()) {
            self.stage_duration.with_label_values(&[stage]).observe(took.as_secs_f64());
        }
        if reconcile.full {
            self.full_comparisons.inc();
            self.full_comparison_duration.observe(reconcile.duration.as_secs_f64());
        }
        self.transactions.inc_by(reconcile.transactions as u64);
        self.failed_transactions.inc_by(reconcile.failed_transactions as u64);
        self.messages.inc_by(reconcile.commit.messages as u64);
        self.bytes.inc_by(reconcile.commit.bytes as u64);
        self.repairs.inc_by((reconcile.repair_operations > 0).into());
        self.repair_operations.inc_by(reconcile.repair_operations as u64);
        self.quarantined.set(number(reconcile.quarantined));
        self.quarantines.inc_by(reconcile.newly_quarantined as u64);
        for ((family, operations), classes) in
            FAMILIES.iter().zip(reconcile.operations).zip(reconcile.classes)
        {
            self.operations.with_label_values(&[*family]).inc_by(operations as u64);
            self.classes.with_label_values(&[*family]).set(number(classes));
        }
        for size in &reconcile.sets {
            let labels = &[FAMILIES[size.family as usize], size.set.name()];
            self.elements.with_label_values(labels).set(size.elements.into());
            if let Some(declared) = size.declared {
                self.sizes.with_label_values(labels).set(declared.into());
            }
        }
    }

    /// Counts the removed stale flows. `pending`: whether the search will be retried.
    pub fn flows_removed(&self, removal: &FlowRemoval, pending: bool) {
        let of_protocol = &[removal.protocol.name()];
        for (family, removed) in FAMILIES.iter().zip(removal.removed) {
            self.conntrack_deletions.with_label_values(&[*family]).inc_by(removed as u64);
            self.conntrack_deletions_by_protocol.with_label_values(of_protocol).inc_by(removed as u64);
        }
        self.conntrack_pending.set(pending.into());
    }

    /// Counts a problem with a Service.
    pub fn problem(&self, severity: Severity) {
        let severity = match severity {
            Severity::Error => "error",
            Severity::Notice => "notice",
        };
        self.problems.with_label_values(&[severity]).inc();
    }
}
