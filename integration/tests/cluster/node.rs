//! This node's own object, and the `ClusterIP` ranges: changes take effect at once.

use std::time::Duration;

use portolan_integration::{Agent, Answer, Family, Notifications, Resource};
use serde_json::json;

use crate::scene::{Scene, wait_until};

#[test]
fn pods_are_recognised_by_the_networks_of_the_node() {
    let scene = Scene::new();
    let [_, two] = scene.web_pods();
    scene.put_web(&[&two]);
    let mut node = scene.lab.node_a.object();
    node["spec"]["podCIDRs"] = json!(["10.128.99.0/24", "fd00:10:128:99::/64"]);
    scene.server.put(node);
    let arguments = ["--detect-local-mode", "NodeCIDR"];
    let agent = Agent::start_in_cluster(&scene.lab.node_a, &scene.server.kubeconfig(), &arguments);
    let _agent = agent.unwrap_or_else(|error| panic!("{error}"));
    let target = scene.web();
    let source = || scene.shell.client().tcp(target).source();
    wait_until("the pod is no pod of this node, and masqueraded", || {
        source() == Some(scene.lab.node_a.inside().of(Family::V4))
    });
    scene.server.put(scene.lab.node_a.object());
    wait_until("the pod is one of this node", || source() == Some(scene.shell.address().of(Family::V4)));
    scene.server.delete(Resource::Nodes, "", "node-a");
    scene.put_web(&[]);
    scene.wait_until_not_served("the Node is gone, and so are the endpoints");
    scene.put_web(&[&two]);
    scene.wait_until_served(&["web-2"], "again");
    assert_eq!(source(), Some(scene.shell.address().of(Family::V4)), "what was known of the Node holds");
}

#[test]
fn a_restart_keeps_what_there_is_until_the_node_says_its_networks() {
    let scene = Scene::new();
    let [_, two] = scene.web_pods();
    scene.put_web(&[&two]);
    let run = || {
        let arguments = ["--detect-local-mode", "NodeCIDR"];
        Agent::spawn_in_cluster(&scene.lab.node_a, &scene.server.kubeconfig(), &arguments).unwrap()
    };
    let ready = |agent: &Agent| wait_until("it is ready", || agent.readyz() == Some(200));
    let agent = run();
    ready(&agent);
    agent.terminate().unwrap();
    let notifications = Notifications::start(scene.lab.node_a.namespace()).unwrap();
    let mut node = scene.lab.node_a.object();
    node["spec"] = json!({});
    scene.server.put(node);
    let agent = run();
    wait_until("the agent reports that it waits", || agent.stderr().contains("Waiting for the Node"));
    assert_eq!(agent.readyz(), Some(503));
    scene.wait_until_served(&["web-2"], "meanwhile");
    scene.server.put(scene.lab.node_a.object());
    ready(&agent);
    assert_eq!(notifications.changes().unwrap(), Vec::<String>::new(), "the state is the same");
}

#[test]
fn the_ranges_of_cluster_ips_take_effect_at_once() {
    let scene = Scene::new();
    let _agent = scene.run();
    let unallocated = scene.lab.cluster_ip(77).port(Family::V4, 80);
    let client = scene.shell.client();
    let is_silent = || client.within(Duration::from_secs(1)).tcp(unallocated) == Answer::TimedOut;
    let is_unreachable = || client.within(Duration::from_secs(5)).tcp(unallocated) == Answer::Unreachable;
    let ranges = |cidrs: &[&str]| {
        scene.server.put(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
            "metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs},
        }));
    };
    assert_eq!(client.tcp(unallocated), Answer::Unreachable, "without ranges");
    ranges(&["10.96.0.0/16"]);
    wait_until("the range is silent", is_silent);
    ranges(&["10.96.0.0/26"]);
    wait_until("the range is smaller", is_unreachable);
    ranges(&["10.96.0.0/16"]);
    wait_until("the range is silent again", is_silent);
    scene.server.delete(Resource::ServiceCidrs, "", "kubernetes");
    wait_until("the range is gone", is_unreachable);
}
