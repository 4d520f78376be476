//! The metrics of kube-proxy's nftables mode, under its names (`pkg/proxy/metrics`).
//!
//! Both families go to the kernel in one transaction. Durations and failures are therefore counted for both.

use jiff::Timestamp;
use portolan_rules::compile::NoLocalEndpoints;
use prometheus::{Gauge, exponential_buckets};

use super::register::{FAMILIES, metrics};
use crate::observe::report::{FlowRemoval, Reconcile};

/// A gauge whose name ends like a counter's.
pub const MISNAMED: &str = "kubeproxy_sync_proxy_rules_no_local_endpoints_total";

metrics! {
    /// The metrics.
    #[derive(Debug)]
    KubeProxy: "kubeproxy_" {
        // Nothing is ever left for a later clean-up, so this stays zero; it exists for alerts that use it.
        cleanup_failures: IntCounterVec("ip_family") = "sync_proxy_rules_nftables_cleanup_failures_total",
            "Cumulative proxy nftables cleanup failures";
        sync_duration: HistogramVec("ip_family") in from_1_ms = "sync_proxy_rules_duration_seconds",
            "SyncProxyRules latency in seconds";
        full_sync_duration: HistogramVec("ip_family") in from_1_ms = "sync_full_proxy_rules_duration_seconds",
            "SyncProxyRules latency in seconds for full resyncs";
        partial_sync_duration: HistogramVec("ip_family") in from_1_ms = "sync_partial_proxy_rules_duration_seconds",
            "SyncProxyRules latency in seconds for partial resyncs";
        last_timestamp: GaugeVec("ip_family") = "sync_proxy_rules_last_timestamp_seconds",
            "The last time proxy rules were successfully synced";
        last_queued_timestamp: GaugeVec("ip_family") = "sync_proxy_rules_last_queued_timestamp_seconds",
            "The last time a sync of proxy rules was queued";
        network_programming_duration: HistogramVec("ip_family") in programming_buckets
            = "network_programming_duration_seconds",
            "In Cluster Network Programming Latency in seconds";
        endpoint_changes_pending: IntGauge() = "sync_proxy_rules_endpoint_changes_pending",
            "Pending proxy rules Endpoint changes";
        endpoint_changes: IntCounter() = "sync_proxy_rules_endpoint_changes_total",
            "Cumulative proxy rules Endpoint changes";
        service_changes_pending: IntGauge() = "sync_proxy_rules_service_changes_pending",
            "Pending proxy rules Service changes";
        service_changes: IntCounter() = "sync_proxy_rules_service_changes_total",
            "Cumulative proxy rules Service changes";
        no_local_endpoints: IntGaugeVec("traffic_policy", "ip_family") = "sync_proxy_rules_no_local_endpoints_total",
            "Number of services with a Local traffic policy and no endpoints";
        sync_failures: IntCounterVec("ip_family") = "sync_proxy_rules_nftables_sync_failures_total",
            "Cumulative proxy nftables sync failures";
        conntrack_duration: HistogramVec("ip_family") in from_1_ms = "conntrack_reconciler_sync_duration_seconds",
            "ReconcileConntrackFlows latency in seconds";
        conntrack_deleted: IntCounterVec("ip_family") = "conntrack_reconciler_deleted_entries_total",
            "Cumulative conntrack flows deleted by conntrack reconciler";
        healthz: IntCounterVec("code") = "proxy_healthz_total", "Cumulative proxy healthz HTTP status";
        livez: IntCounterVec("code") = "proxy_livez_total", "Cumulative proxy livez HTTP status";
    }
}

fn from_1_ms() -> Vec<f64> {
    exponential_buckets(0.001, 2.0, 15).unwrap_or_default()
}

impl KubeProxy {
    /// Creates the series of both families, so that rates begin at zero.
    pub fn begin(&self) {
        for family in FAMILIES.map(|family| [family]) {
            for counter in [&self.cleanup_failures, &self.sync_failures, &self.conntrack_deleted] {
                counter.with_label_values(&family);
            }
            self.last_timestamp.with_label_values(&family);
            self.last_queued_timestamp.with_label_values(&family);
            for histogram in [
                &self.sync_duration,
                &self.full_sync_duration,
                &self.partial_sync_duration,
                &self.network_programming_duration,
                &self.conntrack_duration,
            ] {
                histogram.with_label_values(&family);
            }
        }
    }

    /// Counts one reconcile, which ended at `now`, of a process that started at `started`: earlier changes do not count
    /// towards programming latency.
    pub fn reconciled(&self, reconcile: &Reconcile, started: Timestamp, now: Timestamp) {
        for family in FAMILIES {
            let of_family = &[family];
            let seconds = reconcile.duration.as_secs_f64();
            self.sync_duration.with_label_values(of_family).observe(seconds);
            let kind = if reconcile.full { &self.full_sync_duration } else { &self.partial_sync_duration };
            kind.with_label_values(of_family).observe(seconds);
            if reconcile.succeeded {
                set_time(&self.last_timestamp.with_label_values(of_family), now);
                for trigger in reconcile.triggers.iter().filter(|trigger| **trigger >= started) {
                    let latency = now.duration_since(*trigger).as_secs_f64().max(0.0);
                    self.network_programming_duration.with_label_values(of_family).observe(latency);
                }
            }
            if let Some(queued) = reconcile.queued {
                set_time(&self.last_queued_timestamp.with_label_values(of_family), queued);
            }
            self.sync_failures.with_label_values(of_family).inc_by(reconcile.failed_transactions as u64);
        }
        let changes = [
            (&self.service_changes, &self.service_changes_pending, reconcile.service_changes),
            (&self.endpoint_changes, &self.endpoint_changes_pending, reconcile.slice_changes),
        ];
        for (total, pending, new) in changes {
            total.inc_by(new as u64);
            if reconcile.succeeded {
                pending.set(0);
            } else {
                pending.add(i64::try_from(new).unwrap_or_default());
            }
        }
    }

    /// Counts the removed stale flows.
    pub fn flows_removed(&self, removal: &FlowRemoval) {
        for (family, removed) in FAMILIES.iter().zip(removal.removed) {
            let of_family = &[*family];
            self.conntrack_duration.with_label_values(of_family).observe(removal.duration.as_secs_f64());
            self.conntrack_deleted.with_label_values(of_family).inc_by(removed as u64);
        }
    }

    /// Sets the number of Service ports without local endpoints, by family.
    pub fn no_local_endpoints(&self, lacking: [NoLocalEndpoints; 2]) {
        for (family, lacking) in FAMILIES.iter().zip(lacking) {
            for (policy, count) in [("internal", lacking.internal), ("external", lacking.external)] {
                self.no_local_endpoints.with_label_values(&[policy, *family]).set(count.into());
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 have 51 bits")]
fn set_time(gauge: &Gauge, at: Timestamp) {
    gauge.set(at.as_microsecond() as f64 / 1e6);
}

/// 0.25 s, 0.5 s, each second to 59, each fifth to 115, each thirtieth to 300.
fn programming_buckets() -> Vec<f64> {
    let step = |first: u32, step: u32, count: u32| (0..count).map(move |i| f64::from(first + i * step));
    [0.25, 0.5].into_iter().chain(step(1, 1, 59)).chain(step(60, 5, 12)).chain(step(120, 30, 7)).collect()
}
