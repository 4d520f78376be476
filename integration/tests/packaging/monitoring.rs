//! Alerts and the dashboard: they use existing metrics, and Prometheus can read them.

use std::{collections::BTreeSet, fs, process::Command};

use portolan::observe::metrics::Metrics;
use serde_json::Value;

use crate::{chart, dashboard, one, shipped};

const ALERTS: &str = "helm/portolan/files/alerts.yaml";

/// Returns the shipped alerts.
pub fn alerts() -> Vec<Value> {
    let text = fs::read_to_string(shipped(ALERTS)).unwrap();
    let groups: Value = serde_saphyr::from_str(&text).unwrap();
    groups["groups"][0]["rules"].as_array().unwrap().clone()
}

#[track_caller]
fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).output();
    let output = output.expect("promtool is there; `make packages` gets it");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool: {said}");
}

#[test]
fn prometheus_reads_the_alerts() {
    promtool(&["check", "rules", shipped(ALERTS).to_str().unwrap()]);
}

#[test]
fn each_alert_fires_for_what_it_is_about_and_not_before() {
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/packaging/data/alerts.test.yaml");
    promtool(&["test", "rules", tests]);
    let text = fs::read_to_string(tests).unwrap();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(text.contains(&format!("alertname: {name}\n")), "{name} is not tested");
    }
}

/// Returns the names of Portolan's and kube-proxy's metrics in an expression, without the suffixes of histograms.
fn metrics(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let is_metric = |word: &&str| {
        ["portolan_", "kubeproxy_", "rest_client_"].iter().any(|prefix| word.starts_with(prefix))
    };
    words.filter(is_metric).map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned()).collect()
}

#[test]
fn alerts_and_panels_are_about_metrics_that_there_are() {
    let declared: BTreeSet<String> = Metrics::declared().into_iter().map(|metric| metric.name).collect();
    let in_alerts: BTreeSet<String> =
        alerts().iter().flat_map(|alert| metrics(alert["expr"].as_str().unwrap())).collect();
    assert!(in_alerts.len() >= 9, "{in_alerts:?}");
    assert!(in_alerts.is_subset(&declared), "{:?}", in_alerts.difference(&declared));
    let shown: BTreeSet<String> =
        dashboard::expressions(&dashboard::dashboard()).iter().flat_map(|text| metrics(text)).collect();
    assert_eq!(shown, declared, "the dashboard shows every metric");
}

#[test]
fn the_chart_gives_them_to_the_operator_and_to_grafana() {
    let objects = chart::everything();
    let rule = one(&objects, "PrometheusRule");
    assert_eq!(rule["spec"]["groups"][0]["rules"], Value::from(alerts()));
    let map = objects.iter().find(|object| object["data"]["portolan.json"].is_string()).unwrap();
    let shown: Value = serde_json::from_str(map["data"]["portolan.json"].as_str().unwrap()).unwrap();
    assert_eq!(shown, dashboard::dashboard());
    let monitor = &one(&objects, "PodMonitor")["spec"];
    let set = &one(&objects, "DaemonSet")["spec"];
    let labels = monitor["selector"]["matchLabels"].as_object().unwrap();
    for (label, value) in labels {
        assert_eq!(&set["template"]["metadata"]["labels"][label], value);
    }
    let port = &set["template"]["spec"]["containers"][0]["ports"][0];
    assert_eq!(monitor["podMetricsEndpoints"][0]["port"], port["name"]);
}
