//! What load balancers, users and dashboards learn about the node and its API server.

use portolan_integration::{Agent, Family, Protocol, Service, Slice};
use serde_json::{Value, json};

use crate::scene::{Scene, wait_until};

const HEALTHZ: u16 = 10256;
const CHECK: u16 = 32_000;

/// Requests a path of the health server; returns the code and the body.
fn ask(agent: &Agent, path: &str) -> (u16, Value) {
    let answer = agent.get(HEALTHZ, path).unwrap_or_else(|| panic!("no answer to {path}"));
    (answer.code, answer.json())
}

#[test]
fn load_balancers_leave_a_node_that_is_about_to_go() {
    let scene = Scene::new();
    let agent = scene.run();
    let node = scene.lab.node_a.object();
    let mut tainted = node.clone();
    tainted["spec"]["taints"] = json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]);
    let mut other_taint = node.clone();
    other_taint["spec"]["taints"] =
        json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]);
    let mut deleted = node.clone();
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    for (object, eligible, what) in [
        (&node, true, "a node that stays"),
        (&tainted, false, "tainted by the cluster autoscaler"),
        (&other_taint, true, "drained, but not about to go"),
        (&deleted, false, "being deleted"),
        (&node, true, "there again"),
    ] {
        scene.server.put(object.clone());
        let code = if eligible { 200 } else { 503 };
        wait_until(what, || agent.healthz() == Some(code));
        let (_, body) = ask(&agent, "/healthz");
        assert_eq!((&body["nodeEligible"], &body["healthy"]), (&json!(eligible), &json!(true)), "{what}");
        let (code, body) = ask(&agent, "/livez");
        assert_eq!((code, body.get("nodeEligible")), (200, None), "{what}: the proxy lives");
        assert_eq!(ask(&agent, "/readyz").0, 200, "{what}: the node is still served");
        let metrics = agent.get(10249, "/metrics").unwrap().body;
        assert!(metrics.contains(&format!("\nportolan_node_eligible {}\n", u8::from(eligible))), "{what}");
    }
    wait_until("the node is eligible again", || agent.stderr().matches("Node is eligible").count() == 2);
    let log = agent.stderr();
    for (line, times) in [("Node is being removed", 2), ("Node is eligible", 2), ("There is no Node", 0)] {
        assert_eq!(log.matches(line).count(), times, "{line}: {log}");
    }
}

#[test]
fn a_name_that_no_node_has_is_said() {
    let scene = Scene::new();
    let agent = scene.run_with(&["--hostname-override=node-z"]);
    assert_eq!(ask(&agent, "/readyz").0, 200, "Services work without the Node");
    assert_eq!(agent.healthz(), Some(503));
    let line = r#"check --hostname-override" node="node-z""#;
    wait_until("the missing Node is reported", || agent.stderr().contains(line));
    let mut node = scene.lab.node_a.object();
    node["metadata"]["name"] = json!("node-z");
    scene.server.put(node);
    wait_until("the node joins", || agent.healthz() == Some(200));
    wait_until("the new Node is reported", || agent.stderr().contains("Node is eligible"));
    assert_eq!(agent.stderr().matches(line).count(), 1, "once");
}

#[test]
fn a_health_check_that_cannot_listen_is_an_event_of_its_service() {
    let scene = Scene::new();
    let [one, _] = scene.web_pods();
    let node = &scene.lab.node_a;
    let blocker = node.serve(Family::V4, node.outside(), Protocol::Tcp, CHECK).unwrap();
    let addresses = Family::BOTH.map(|family| scene.lab.cluster_ip(1).of(family));
    let web = Service::new("web", addresses).of_type("LoadBalancer").port("http", Protocol::Tcp, 80);
    let web = web.with("/spec/externalTrafficPolicy", "Local").with("/spec/healthCheckNodePort", CHECK);
    scene.server.put_all(std::iter::once(web.object()).chain(Slice::both(
        "web",
        ("http", Protocol::Tcp, 8080),
        &[&one],
    )));
    let _agent = scene.run();
    let mut event = None;
    wait_until("the Event", || {
        event = scene
            .server
            .events()
            .into_iter()
            .find(|event| event["reason"] == "FailedToStartServiceHealthcheck");
        event.is_some()
    });
    let event = event.unwrap();
    assert_eq!((&event["type"], &event["regarding"]["name"]), (&json!("Warning"), &json!("web")), "{event}");
    let words = event["note"].as_str().unwrap();
    assert!(words.contains("node-a") && words.contains(&CHECK.to_string()), "{words}");
    drop(blocker);
    let address = node.outside().port(Family::V4, CHECK);
    let elsewhere = scene.lab.node_b.namespace();
    wait_until("the port is free", || {
        portolan_integration::get(elsewhere, address, "/").is_some_and(|answer| answer.code == 200)
    });
}

#[test]
fn requests_are_counted_as_every_client_of_kubernetes_counts_them() {
    let mut scene = Scene::new();
    let agent = scene.run();
    let requests = |code: &str| {
        let start = format!("rest_client_requests_total{{code=\"{code}\",host=\"");
        let metrics = agent.get(10249, "/metrics").unwrap().body;
        let line = metrics.lines().find(|line| line.starts_with(&start)).unwrap_or_default().to_owned();
        let count: f64 = line.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0.0);
        assert!(count == 0.0 || line.contains(":6443\",method=\"GET\"}"), "{line}");
        count
    };
    wait_until("four kinds are watched", || requests("200") >= 4.0);
    assert!(requests("<error>") < 0.5);
    scene.server.stop();
    wait_until("the server does not answer", || requests("<error>") > 0.5);
}
