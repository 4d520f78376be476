//! `/metrics`: the metrics that dashboards need, the format, and the changes of the numbers.
#![allow(clippy::float_cmp, reason = "these are whole numbers")]

use std::{collections::BTreeMap, io::Write, process::Stdio};

use portolan_integration::{Agent, Protocol, Slice, nft};

use crate::scene::{Scene, every_protocol, service, slices, wait_until};

const PORT: u16 = 10249;

fn start(scene: &Scene) -> Agent {
    Agent::start(&scene.lab.node_a, scene.manifests.path(), &[]).unwrap_or_else(|error| panic!("{error}"))
}

pub fn text(agent: &Agent) -> String {
    let answer = agent.get(PORT, "/metrics").expect("the metrics server answers");
    assert_eq!(answer.code, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4"));
    answer.body
}

/// Returns each sample by name and labels: `name{label="value"}`.
pub fn samples(text: &str) -> BTreeMap<String, f64> {
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

#[track_caller]
fn value(agent: &Agent, sample: &str) -> f64 {
    let samples = samples(&text(agent));
    *samples.get(sample).unwrap_or_else(|| panic!("no {sample} among {:#?}", samples.keys()))
}

/// Runs Prometheus' own checker, which also knows the rules for names.
#[track_caller]
pub fn check(text: &str) {
    let mut child = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there; `make packages` gets it");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "promtool: {said}");
}

#[test]
fn the_format_is_what_prometheus_reads() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let web = every_protocol(service("web", scene.lab.cluster_ip(1)).of_type("NodePort"), Some(30_080));
    scene.put("web.yaml", &web, slices("web", &[&one, &two]));
    let agent = start(&scene);
    for path in ["/healthz", "/livez", "/readyz"] {
        agent.get(10256, path).unwrap();
    }
    check(&text(&agent));
    let slis = agent.get(PORT, "/metrics/slis").unwrap();
    assert_eq!(slis.header("content-type"), Some("text/plain; version=0.0.4"));
    check(&slis.body);
    assert_eq!(samples(&slis.body)[r#"kubernetes_healthcheck{name="proxy",type="healthz"}"#], 1.0);
}

#[test]
fn kube_proxys_metrics_are_there_under_their_names() {
    let scene = Scene::new();
    let agent = start(&scene);
    for path in ["/healthz", "/healthz", "/livez"] {
        agent.get(10256, path).unwrap();
    }
    let text = text(&agent);
    let samples = samples(&text);
    let by_family = [
        ("sync_proxy_rules_duration_seconds_count", 1.0..),
        ("sync_full_proxy_rules_duration_seconds_count", 1.0..),
        ("sync_partial_proxy_rules_duration_seconds_count", 0.0..),
        ("sync_proxy_rules_last_timestamp_seconds", 1.7e9..),
        ("sync_proxy_rules_last_queued_timestamp_seconds", 1.7e9..),
        ("network_programming_duration_seconds_count", 0.0..),
        ("sync_proxy_rules_nftables_sync_failures_total", 0.0..),
        ("sync_proxy_rules_nftables_cleanup_failures_total", 0.0..),
        ("conntrack_reconciler_sync_duration_seconds_count", 0.0..),
        ("conntrack_reconciler_deleted_entries_total", 0.0..),
        (r#"sync_proxy_rules_no_local_endpoints_total{traffic_policy="internal""#, 0.0..),
        (r#"sync_proxy_rules_no_local_endpoints_total{traffic_policy="external""#, 0.0..),
    ];
    for (name, expected) in by_family {
        for family in ["IPv4", "IPv6"] {
            let full = match name.split_once('{') {
                None => format!("kubeproxy_{name}{{ip_family=\"{family}\"}}"),
                // Labels are sorted by name.
                Some((name, label)) => format!("kubeproxy_{name}{{ip_family=\"{family}\",{label}}}"),
            };
            let found = samples.get(&full);
            assert!(found.is_some_and(|found| expected.contains(found)), "{full}: {found:?}\n{text}");
        }
    }
    for name in ["endpoint_changes_pending", "endpoint_changes_total", "service_changes_pending"] {
        let full = format!("kubeproxy_sync_proxy_rules_{name}");
        assert_eq!(samples.get(&full), Some(&0.0), "{full}");
    }
    assert_eq!(samples[r#"kubeproxy_proxy_healthz_total{code="200"}"#], 2.0);
    assert_eq!(samples[r#"kubeproxy_proxy_livez_total{code="200"}"#], 1.0);
    // Dashboards and performance tests use these buckets.
    for bound in ["0.001", "0.512", "16.384"] {
        let bucket =
            format!(r#"kubeproxy_sync_proxy_rules_duration_seconds_bucket{{ip_family="IPv4",le="{bound}"}}"#);
        assert!(samples.contains_key(&bucket), "{bucket}");
    }
    for bound in ["0.25", "59", "115", "300"] {
        let bucket = format!(
            r#"kubeproxy_network_programming_duration_seconds_bucket{{ip_family="IPv6",le="{bound}"}}"#
        );
        assert!(samples.contains_key(&bucket), "{bucket}");
    }
}

#[test]
fn numbers_move_with_what_happens() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let agent = start(&scene);
    let before = samples(&text(&agent));
    let web = service("web", scene.lab.cluster_ip(1)).port("http", Protocol::Tcp, 80);
    scene.put("web.yaml", &web, Slice::both("web", ("http", Protocol::Tcp, 8080), &[&one, &two]));
    // The numbers of sets are reported last, those of IPv6 after those of IPv4.
    let [elements, last] = [("IPv4", "endpoints"), ("IPv6", "frontends")]
        .map(|(family, set)| format!("portolan_set_elements{{ip_family=\"{family}\",set=\"{set}\"}}"));
    wait_until("the change is counted", || value(&agent, &elements) == 2.0 && value(&agent, &last) == 1.0);
    let after = samples(&text(&agent));
    let grew = |sample: &str| {
        let (before, after) = (before.get(sample).copied().unwrap_or_default(), after.get(sample).copied());
        assert!(after.is_some_and(|after| after > before), "{sample}: {before}, then {after:?}");
    };
    for sample in [
        "portolan_transactions_total",
        "portolan_committed_bytes_total",
        "portolan_netlink_messages_total",
        r#"portolan_operations_total{ip_family="IPv6"}"#,
        r#"portolan_reconciles_total{cause="change",outcome="success"}"#,
        r#"portolan_reconcile_stage_duration_seconds_count{stage="compile"}"#,
        r#"portolan_reconcile_stage_duration_seconds_count{stage="encode"}"#,
        r#"portolan_reconcile_stage_duration_seconds_count{stage="kernel"}"#,
        r#"kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family="IPv4"}"#,
        "kubeproxy_sync_proxy_rules_service_changes_total",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total",
        "portolan_services",
        r#"portolan_classes{ip_family="IPv4"}"#,
    ] {
        grew(sample);
    }
    assert_eq!(after["portolan_services"], 1.0);
    assert_eq!(after[&last], 1.0);
    assert!(after[r#"portolan_set_size{ip_family="IPv4",set="endpoints"}"#] >= 2.0);
    assert_eq!(after[concat!(r#"portolan_build_info{version=""#, env!("CARGO_PKG_VERSION"), "\"}")], 1.0);
    assert!(after["process_resident_memory_bytes"] > 1e6);
    assert!(after["process_open_fds"] >= 3.0);
    assert!(after["process_start_time_seconds"] > 1.7e9);
    assert!(after.contains_key("process_cpu_seconds_total"));

    nft(scene.lab.node_a.namespace(), &["flush", "ruleset"], "").unwrap();
    wait_until("operations are counted", || value(&agent, "portolan_drift_repair_operations_total") > 0.0);
    assert_eq!(value(&agent, "portolan_drift_repairs_total"), 1.0, "the repair is counted");
    assert!(value(&agent, "portolan_full_comparisons_total") >= 2.0);
}

#[test]
fn ports_without_a_local_endpoint_are_counted_while_there_are_others() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let web = service("web", scene.lab.cluster_ip(1)).of_type("NodePort").port("http", Protocol::Tcp, 80);
    let web = web.node_port(30_080).with("/spec/externalTrafficPolicy", "Local");
    let both = web.clone().with("/spec/internalTrafficPolicy", "Local");
    let slices = |pods: &[_]| Slice::both("web", ("http", Protocol::Tcp, 8080), pods);
    let agent = start(&scene);
    let wait_for = |internal: f64, external: f64, what: &str| {
        let count = |policy: &str, family: &str| {
            value(
                &agent,
                &format!(
                    "kubeproxy_sync_proxy_rules_no_local_endpoints_total{{ip_family=\"{family}\",traffic_policy=\"{policy}\"}}"
                ),
            )
        };
        wait_until(what, || {
            ["IPv4", "IPv6"]
                .iter()
                .all(|family| count("internal", family) == internal && count("external", family) == external)
        });
    };
    // node-a runs `one`, node-b runs `two`.
    scene.put("web.yaml", &both, slices(&[&two]));
    wait_for(1.0, 1.0, "both policies, an endpoint elsewhere");
    scene.put("web.yaml", &web, slices(&[&two]));
    wait_for(0.0, 1.0, "one policy");
    scene.put("web.yaml", &both, slices(&[&one, &two]));
    wait_for(0.0, 0.0, "an endpoint here");
    scene.put("web.yaml", &both, slices(&[&two]));
    wait_for(1.0, 1.0, "elsewhere again");
    scene.put("web.yaml", &both, slices(&[]));
    wait_for(0.0, 0.0, "no endpoint at all is another matter");
}

#[test]
fn services_without_endpoints_are_counted() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let agent = start(&scene);
    let web = service("web", scene.lab.cluster_ip(1)).port("http", Protocol::Tcp, 80);
    let slices = |pods: &[_]| Slice::both("web", ("http", Protocol::Tcp, 8080), pods);
    let wait_for = |count: f64, what: &str| {
        wait_until(what, || {
            value(&agent, "portolan_services") == 1.0
                && value(&agent, "portolan_services_without_endpoints") == count
        });
    };
    scene.put("web.yaml", &web, slices(&[]));
    wait_for(1.0, "none at all");
    scene.put("web.yaml", &web, slices(&[&one, &two]));
    wait_for(0.0, "both");
    scene.put("web.yaml", &web, slices(&[&two]));
    wait_for(0.0, "one elsewhere");
    scene.put("web.yaml", &web, slices(&[]));
    wait_for(1.0, "none again");
    let other = web.clone().port("other", Protocol::Tcp, 81);
    scene.put("web.yaml", &other, slices(&[&two]));
    wait_for(1.0, "a port without");
    let samples = samples(&text(&agent));
    assert!(samples["portolan_conntrack_limit"] > 0.0);
    assert!(samples["portolan_conntrack_entries"] <= samples["portolan_conntrack_limit"]);
    assert_eq!(samples["portolan_tables_contested"], 0.0);
}
