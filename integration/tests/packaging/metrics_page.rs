//! `docs/metrics.md`: every metric, and every alert.

use std::fmt::Write;

use portolan::observe::metrics::Metrics;

use crate::monitoring;

const HEAD: &str = "# Metrics and alerts

<!-- Generated; `make generate` writes it. -->

The metrics server (`--metrics-bind-address`, 127.0.0.1:10249 by default) answers `/metrics` in Prometheus' text format.
kube-proxy's metrics have the same names, so that its dashboards and alerts keep working. Metrics that begin with
`portolan_` are Portolan's own; the metrics of connections need `--endpoint-counters`. In addition, there are metrics of
the process, such as `process_cpu_seconds_total` and `process_resident_memory_bytes`.

The [chart](../docker/helm/portolan) has a `PodMonitor`, a `PrometheusRule` with the alerts below
([alerts.yaml](../docker/helm/portolan/files/alerts.yaml), for a Prometheus without an operator), and a dashboard of all
metrics ([dashboard.json](../docker/helm/portolan/files/dashboard.json)).
";

/// Returns the page.
pub fn page() -> String {
    let mut text = format!("{HEAD}\n## Metrics\n\n| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n");
    let mut declared = Metrics::declared();
    declared.sort();
    for metric in declared {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, labels) = (metric.name, metric.kind, labels.join(", "));
        // Writing into a `String` does not fail.
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {} |", metric.help);
    }
    text.push_str("\n## Alerts\n\n| Alert | Severity | Fires when |\n|---|---|---|\n");
    for alert in monitoring::alerts() {
        let word = |path: &str| alert.pointer(path).and_then(|text| text.as_str()).unwrap_or_default();
        let time = match word("/for") {
            "" => String::new(),
            time => format!(", for {time}"),
        };
        let expression = word("/expr").replace('|', "\\|");
        let _ =
            writeln!(text, "| {} | {} | `{expression}`{time} |", word("/alert"), word("/labels/severity"));
    }
    text
}
