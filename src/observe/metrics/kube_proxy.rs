//! The metrics of kube-proxy's nftables mode, under its names (`pkg/proxy/metrics`).
//!
//! Both families go to the kernel in one transaction. Durations and failures are
//! therefore counted for both.

use jiff::Timestamp;
use portolan_rules::compile::NoLocalEndpoints;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    exponential_buckets,
};

use super::register::{FAMILIES, Register, registered};
use crate::observe::report::{FlowRemoval, Reconcile};

/// Gauges whose names end like a counter's.
pub const MISNAMED: [&str; 1] = ["kubeproxy_sync_proxy_rules_no_local_endpoints_total"];

/// The metrics.
#[derive(Debug)]
pub struct KubeProxy {
    /// When the process started. Changes from before it do not count towards programming latency.
    started: Timestamp,
    sync_duration: HistogramVec,
    full_sync_duration: HistogramVec,
    partial_sync_duration: HistogramVec,
    last_timestamp: GaugeVec,
    last_queued_timestamp: GaugeVec,
    network_programming_duration: HistogramVec,
    endpoint_changes_pending: IntGauge,
    endpoint_changes: IntCounter,
    service_changes_pending: IntGauge,
    service_changes: IntCounter,
    no_local_endpoints: IntGaugeVec,
    sync_failures: IntCounterVec,
    conntrack_duration: HistogramVec,
    conntrack_deleted: IntCounterVec,
    healthz: IntCounterVec,
    livez: IntCounterVec,
}

impl KubeProxy {
    /// Registers them. Series whose labels are known exist from the start, so that rates begin at zero.
    #[expect(clippy::too_many_lines, reason = "one metric after the other")]
    pub fn new(registry: &Register) -> Self {
        let name = |name| format!("kubeproxy_{name}");
        let histogram = |of, help, buckets| {
            let options = HistogramOpts::new(name(of), help).buckets(buckets);
            let histogram = registered(registry, HistogramVec::new(options, &["ip_family"]));
            for family in FAMILIES {
                histogram.with_label_values(&[family]);
            }
            histogram
        };
        let from_1_ms = || exponential_buckets(0.001, 2.0, 15).unwrap_or_default();
        let by_family = |of, help| {
            let counter = registered(registry, IntCounterVec::new(Opts::new(name(of), help), &["ip_family"]));
            for family in FAMILIES {
                counter.with_label_values(&[family]);
            }
            counter
        };
        let by_code =
            |of, help| registered(registry, IntCounterVec::new(Opts::new(name(of), help), &["code"]));
        let counter = |of, help| registered(registry, IntCounter::new(name(of), help));
        let gauge = |of, help| registered(registry, IntGauge::new(name(of), help));
        let timestamp = |of, help| {
            let gauge = registered(registry, GaugeVec::new(Opts::new(name(of), help), &["ip_family"]));
            for family in FAMILIES {
                gauge.with_label_values(&[family]);
            }
            gauge
        };
        // Nothing is ever left for a later clean-up, so this stays zero; alerts on it find it.
        by_family(
            "sync_proxy_rules_nftables_cleanup_failures_total",
            "Cumulative proxy nftables cleanup failures",
        );
        let no_local_endpoints = Opts::new(
            name("sync_proxy_rules_no_local_endpoints_total"),
            "Number of services with a Local traffic policy and no endpoints",
        );
        Self {
            started: Timestamp::now(),
            sync_duration: histogram(
                "sync_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds",
                from_1_ms(),
            ),
            full_sync_duration: histogram(
                "sync_full_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds for full resyncs",
                from_1_ms(),
            ),
            partial_sync_duration: histogram(
                "sync_partial_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds for partial resyncs",
                from_1_ms(),
            ),
            last_timestamp: timestamp(
                "sync_proxy_rules_last_timestamp_seconds",
                "The last time proxy rules were successfully synced",
            ),
            last_queued_timestamp: timestamp(
                "sync_proxy_rules_last_queued_timestamp_seconds",
                "The last time a sync of proxy rules was queued",
            ),
            network_programming_duration: histogram(
                "network_programming_duration_seconds",
                "In Cluster Network Programming Latency in seconds",
                programming_buckets(),
            ),
            endpoint_changes_pending: gauge(
                "sync_proxy_rules_endpoint_changes_pending",
                "Pending proxy rules Endpoint changes",
            ),
            endpoint_changes: counter(
                "sync_proxy_rules_endpoint_changes_total",
                "Cumulative proxy rules Endpoint changes",
            ),
            service_changes_pending: gauge(
                "sync_proxy_rules_service_changes_pending",
                "Pending proxy rules Service changes",
            ),
            service_changes: counter(
                "sync_proxy_rules_service_changes_total",
                "Cumulative proxy rules Service changes",
            ),
            no_local_endpoints: registered(
                registry,
                IntGaugeVec::new(no_local_endpoints, &["traffic_policy", "ip_family"]),
            ),
            sync_failures: by_family(
                "sync_proxy_rules_nftables_sync_failures_total",
                "Cumulative proxy nftables sync failures",
            ),
            conntrack_duration: histogram(
                "conntrack_reconciler_sync_duration_seconds",
                "ReconcileConntrackFlows latency in seconds",
                from_1_ms(),
            ),
            conntrack_deleted: by_family(
                "conntrack_reconciler_deleted_entries_total",
                "Cumulative conntrack flows deleted by conntrack reconciler",
            ),
            healthz: by_code("proxy_healthz_total", "Cumulative proxy healthz HTTP status"),
            livez: by_code("proxy_livez_total", "Cumulative proxy livez HTTP status"),
        }
    }

    /// Counts one reconcile, which ended now.
    pub fn reconciled(&self, reconcile: &Reconcile, now: Timestamp) {
        for family in FAMILIES {
            let of_family = &[family];
            let seconds = reconcile.duration.as_secs_f64();
            self.sync_duration.with_label_values(of_family).observe(seconds);
            let kind = if reconcile.full { &self.full_sync_duration } else { &self.partial_sync_duration };
            kind.with_label_values(of_family).observe(seconds);
            if reconcile.succeeded {
                set_time(&self.last_timestamp.with_label_values(of_family), now);
                for trigger in reconcile.triggers.iter().filter(|trigger| **trigger >= self.started) {
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

    /// Counts the stale flows that were removed.
    pub fn flows_removed(&self, removal: &FlowRemoval) {
        for (family, removed) in FAMILIES.iter().zip(removal.removed) {
            let of_family = &[*family];
            self.conntrack_duration.with_label_values(of_family).observe(removal.duration.as_secs_f64());
            self.conntrack_deleted.with_label_values(of_family).inc_by(removed as u64);
        }
    }

    /// Sets the number of Service ports of each family without local endpoints.
    pub fn no_local_endpoints(&self, lacking: [NoLocalEndpoints; 2]) {
        for (family, lacking) in FAMILIES.iter().zip(lacking) {
            for (policy, count) in [("internal", lacking.internal), ("external", lacking.external)] {
                self.no_local_endpoints.with_label_values(&[policy, *family]).set(count.into());
            }
        }
    }

    /// Counts an answer of `/healthz`.
    pub fn healthz(&self, code: u16) {
        self.healthz.with_label_values(&[code.to_string()]).inc();
    }

    /// Counts an answer of `/livez`.
    pub fn livez(&self, code: u16) {
        self.livez.with_label_values(&[code.to_string()]).inc();
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
