//! The dashboard for Grafana: numbers at the top, then a panel for each metric, generated from the declarations.

use portolan::observe::metrics::{Declared, Metrics};
use serde_json::{Value, json};

/// The width of the grid.
const WIDTH: usize = 24;

/// The numbers at the top: title, expression, unit, and the value from which the number is red.
const NUMBERS: [(&str, &str, &str, Option<u32>); 8] = [
    ("Nodes that serve", "sum(portolan_ready{job=~\"$job\"})", "short", None),
    ("Nodes that do not", "count(portolan_ready{job=~\"$job\"} == 0) or vector(0)", "short", Some(1)),
    ("Services", "max(portolan_services{job=~\"$job\"})", "short", None),
    ("Without endpoints", "max(portolan_services_without_endpoints{job=~\"$job\"})", "short", Some(1)),
    ("Quarantined", "max(portolan_quarantined_services{job=~\"$job\"})", "short", Some(1)),
    ("Tables contested", "sum(portolan_tables_contested{job=~\"$job\"})", "short", Some(1)),
    (
        "Oldest data",
        "max(portolan_newest_data_age_seconds{job=~\"$job\",kind=~\"Service|EndpointSlice\"})",
        "s",
        Some(180),
    ),
    (
        "Oldest change that waits",
        "max(portolan_oldest_pending_change_age_seconds{job=~\"$job\"})",
        "s",
        Some(60),
    ),
];

/// Groups of panels: title, and the prefix of their metrics' names; the first match applies.
const GROUPS: [(&str, &str); 4] = [
    ("Connections (--endpoint-counters)", "portolan_endpoint_"),
    ("Portolan", "portolan_"),
    ("kube-proxy's metrics", "kubeproxy_"),
    ("Requests to the API server", "rest_client_"),
];

/// Returns the dashboard.
pub fn dashboard() -> Value {
    let mut panels = Vec::new();
    let width = WIDTH / NUMBERS.len();
    for (i, (title, expression, unit, red)) in NUMBERS.into_iter().enumerate() {
        panels.push(number(
            title,
            expression,
            unit,
            red,
            &json!({"x": i * width, "y": 0, "w": width, "h": 4}),
        ));
    }
    let declared = Metrics::declared();
    let mut y = 4;
    for (title, prefix) in GROUPS {
        let first = |name: &str| GROUPS.iter().position(|(_, prefix)| name.starts_with(prefix));
        let own = GROUPS.iter().position(|(_, other)| *other == prefix);
        let members: Vec<&Declared> = declared.iter().filter(|metric| first(&metric.name) == own).collect();
        if members.is_empty() {
            continue;
        }
        panels.push(json!({
            "type": "row", "title": title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
        }));
        y += 1;
        for (i, metric) in members.iter().enumerate() {
            let at = json!({"x": i % 3 * 8, "y": y + i / 3 * 7, "w": 8, "h": 7});
            panels.push(series(metric, &at));
        }
        y += members.len().div_ceil(3) * 7;
    }
    for (id, panel) in (1..).zip(&mut panels) {
        panel["id"] = json!(id);
    }
    json!({
        "title": "Portolan",
        "uid": "portolan",
        "tags": ["kubernetes", "portolan"],
        "schemaVersion": 39,
        "editable": true,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
            {
                "name": "job", "type": "query", "label": "Job", "datasource": source(), "includeAll": true,
                "multi": true, "refresh": 2, "query": "label_values(portolan_build_info, job)",
                "current": {"text": "All", "value": "$__all"},
            },
            {
                "name": "instance", "type": "query", "label": "Node", "datasource": source(), "includeAll": true,
                "multi": true, "refresh": 2, "query": "label_values(portolan_build_info{job=~\"$job\"}, instance)",
                "current": {"text": "All", "value": "$__all"},
            },
        ]},
        "panels": panels,
    })
}

/// Returns all expressions of a dashboard.
pub fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn number(title: &str, expression: &str, unit: &str, red: Option<u32>, at: &Value) -> Value {
    let mut steps = vec![json!({"color": "green", "value": null})];
    steps.extend(red.map(|red| json!({"color": "red", "value": red})));
    json!({
        "type": "stat", "title": title, "datasource": source(), "gridPos": at,
        "fieldConfig": {"defaults": {"unit": unit, "thresholds": {"mode": "absolute", "steps": steps}}, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"},
        "targets": [{"refId": "A", "expr": expression}],
    })
}

/// Returns a panel of a metric over time: the rate of a counter, the median and the 99th percentile of a histogram.
fn series(metric: &Declared, at: &Value) -> Value {
    let Declared { name, kind, labels, help } = metric;
    let of = format!("{name}{{job=~\"$job\",instance=~\"$instance\"}}");
    let by = |first: &str| -> String {
        [first].into_iter().chain(labels.iter().map(String::as_str)).collect::<Vec<_>>().join(", ")
    };
    let legend: Vec<String> = labels.iter().map(|label| format!("{{{{{label}}}}}")).collect();
    let legend = legend.join(" ");
    let (unit, targets) = match *kind {
        "histogram" => {
            let bucket = of.replacen(name, &format!("{name}_bucket"), 1);
            let quantile = |quantile: &str| {
                format!(
                    "histogram_quantile({quantile}, sum by ({}) (rate({bucket}[$__rate_interval])))",
                    by("le")
                )
            };
            let target = |id: &str, at: &str, words: &str| json!({"refId": id, "expr": quantile(at), "legendFormat": format!("{words} {legend}").trim()});
            ("s", vec![target("A", "0.5", "median"), target("B", "0.99", "99 %")])
        }
        "counter" => {
            let expression = format!("sum by ({}) (rate({of}[$__rate_interval]))", by("instance"));
            let unit = if name.contains("bytes") { "Bps" } else { "cps" };
            let legend = format!("{{{{instance}}}} {legend}");
            (unit, vec![json!({"refId": "A", "expr": expression, "legendFormat": legend.trim()})])
        }
        _ => {
            let unit = match name {
                name if name.ends_with("_timestamp_seconds") => "dateTimeAsIso",
                name if name.ends_with("_seconds") => "s",
                name if name.ends_with("_bytes") => "bytes",
                _ => "short",
            };
            // Grafana expects dates in milliseconds.
            let factor = if unit == "dateTimeAsIso" { " * 1000" } else { "" };
            let legend = format!("{{{{instance}}}} {legend}");
            (
                unit,
                vec![json!({"refId": "A", "expr": format!("{of}{factor}"), "legendFormat": legend.trim()})],
            )
        }
    };
    let title = name.trim_start_matches("portolan_").trim_start_matches("kubeproxy_");
    let title = title.trim_end_matches("_total").replace('_', " ");
    json!({
        "type": "timeseries", "title": title, "description": format!("{help} ({name})"), "datasource": source(),
        "gridPos": at, "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
    })
}
