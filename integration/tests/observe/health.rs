//! `/healthz`, `/livez`, `/readyz`: their codes, their reasons, and when they change.

use portolan_integration::{Agent, Namespace, Response, get};
use serde_json::json;

use crate::{
    owner::Owner,
    scene::{Scene, every_protocol, service, slices, wait_until},
};

const PORT: u16 = 10256;

fn ask(agent: &Agent, path: &str) -> Response {
    agent.get(PORT, path).unwrap_or_else(|| panic!("no answer to {path}"))
}

/// Starts an agent with a period of 5 s, with which a change may wait for 10 s.
fn with_short_period(scene: &Scene) -> Agent {
    let arguments = ["--iptables-sync-period", "5s", "--iptables-min-sync-period", "0s"];
    Agent::spawn(&scene.lab.node_a, scene.manifests.path(), &arguments)
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_synced_agent_is_healthy_and_ready() {
    let scene = Scene::new();
    let agent = Agent::start(&scene.lab.node_a, scene.manifests.path(), &[])
        .unwrap_or_else(|error| panic!("{error}"));
    for (path, has_node) in [("/healthz", true), ("/livez", false)] {
        let answer = ask(&agent, path);
        assert_eq!(answer.code, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let body = answer.json();
        assert_eq!(body["healthy"], true);
        assert_eq!(body["lastUpdated"], body["currentTime"], "a healthy agent reports the current time");
        assert_eq!(body.get("nodeEligible"), has_node.then_some(&json!(true)));
        for family in ["IPv4", "IPv6"] {
            assert_eq!(body["status"][family]["healthy"], true);
            assert!(body["status"][family]["lastUpdated"].as_str().unwrap().starts_with("20"), "{body}");
        }
    }
    let answer = ask(&agent, "/readyz");
    assert_eq!((answer.code, &answer.json()["reasons"]), (200, &json!([])));
    assert_eq!(ask(&agent, "/elsewhere").code, 404);
}

#[test]
fn an_agent_that_cannot_program_the_kernel_is_never_ready_and_unhealthy_after_two_periods() {
    let scene = Scene::new();
    let owner = Owner::of_the_tables(scene.lab.node_a.namespace());
    let agent = with_short_period(&scene);
    let mut first = None;
    wait_until("it answers", || {
        first = first.take().or_else(|| agent.healthz());
        first.is_some()
    });
    assert_eq!(first, Some(200), "healthy before the first sync, like kube-proxy");
    wait_until("unhealthy after two periods", || agent.healthz() == Some(503));
    let body = ask(&agent, "/healthz").json();
    assert_eq!(body["healthy"], false);
    assert_eq!(body["nodeEligible"], true);
    assert_eq!(body["lastUpdated"], "0001-01-01T00:00:00Z", "it never was in sync");
    assert_eq!(body["status"]["IPv4"], json!({"lastUpdated": "0001-01-01T00:00:00Z", "healthy": false}));
    assert_eq!(ask(&agent, "/livez").code, 503);
    let ready = ask(&agent, "/readyz");
    assert_eq!(ready.code, 503);
    let reasons = ready.json()["reasons"].to_string();
    assert!(reasons.contains("the kernel has not been programmed yet"), "{reasons}");
    drop(owner);
    wait_until("ready once the tables are free", || agent.readyz() == Some(200));
    assert_eq!((agent.healthz(), ask(&agent, "/livez").code), (Some(200), 200));
}

#[test]
fn a_change_that_does_not_reach_the_kernel_makes_an_agent_unhealthy_until_it_does() {
    let scene = Scene::new();
    let [one, ..] = scene.web_pods();
    let agent = with_short_period(&scene);
    wait_until("ready", || agent.readyz() == Some(200));
    let owner = Owner::of_the_tables(scene.lab.node_a.namespace());
    let web = every_protocol(service("web", scene.lab.cluster_ip(1)), None);
    scene.put("web.yaml", &web, slices("web", &[&one]));
    wait_until("unhealthy after two periods", || agent.healthz() == Some(503));
    let body = ask(&agent, "/healthz").json();
    assert_ne!(body["lastUpdated"], body["currentTime"]);
    assert!(body["lastUpdated"].as_str().unwrap().starts_with("20"), "when it last was in sync: {body}");
    let reasons = ask(&agent, "/readyz").json()["reasons"].to_string();
    assert!(reasons.contains("to reach the kernel"), "{reasons}");
    drop(owner);
    wait_until("healthy once the change is in the kernel", || {
        agent.healthz() == Some(200) && agent.readyz() == Some(200)
    });
}

/// The same as in a cluster (KEP-3836): load balancers should avoid a node that is being removed, but its agent must
/// not be restarted.
#[test]
fn a_node_that_is_being_removed_is_not_healthy_but_live() {
    let scene = Scene::new();
    let node = |change: fn(&mut serde_json::Value)| {
        let mut nodes = scene.lab.nodes().map(portolan_integration::Node::object);
        change(&mut nodes[0]);
        scene.manifests.put("nodes.yaml", &nodes).unwrap();
    };
    let tainted = |node: &mut serde_json::Value| {
        node["spec"]["taints"] = json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]);
    };
    node(tainted);
    let agent = Agent::spawn(&scene.lab.node_a, scene.manifests.path(), &[]).unwrap();
    wait_until("unhealthy from the start", || agent.healthz() == Some(503) && agent.readyz() == Some(200));
    assert_eq!(ask(&agent, "/healthz").json()["nodeEligible"], false);
    assert_eq!(ask(&agent, "/livez").code, 200);
    node(|_| ());
    wait_until("healthy without the taint", || agent.healthz() == Some(200));
    node(|node| node["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    wait_until("unhealthy once the Node is being deleted", || agent.healthz() == Some(503));
    assert_eq!(ask(&agent, "/livez").code, 200);
}

#[test]
fn a_health_address_that_is_taken_is_tried_again_or_fatal() {
    let scene = Scene::new();
    let node = &scene.lab.node_a;
    let address = node.outside().port(portolan_integration::Family::V4, 10300);
    let blocker = node.serve(
        portolan_integration::Family::V4,
        node.outside(),
        portolan_integration::Protocol::Tcp,
        10300,
    );
    let blocker = blocker.unwrap();
    let address = address.to_string();
    let fatal = Agent::command(
        node,
        &[
            "run",
            "-f",
            &scene.manifests.path().to_string_lossy(),
            "--healthz-bind-address",
            &address,
            "--bind-address-hard-fail",
        ],
    )
    .unwrap();
    assert_eq!(fatal.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&fatal.stderr).into_owned();
    assert!(
        stderr.contains(&format!("--healthz-bind-address {address}: Address already in use")),
        "{stderr}"
    );

    let agent = Agent::spawn(node, scene.manifests.path(), &["--healthz-bind-address", &address]).unwrap();
    wait_until("the agent reports it", || agent.stderr().contains("Address cannot be bound; trying again"));
    drop(blocker);
    let asks = |namespace: &Namespace| get(namespace, address.parse().unwrap(), "/readyz");
    wait_until("it listens once it can", || asks(node.namespace()).is_some_and(|answer| answer.code == 200));
    assert_eq!(
        agent.stderr().matches("Address cannot be bound; trying again").count(),
        1,
        "{}",
        agent.stderr()
    );
}
