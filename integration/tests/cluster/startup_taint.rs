//! `--remove-taint`: the Node keeps its startup taint until its Services are programmed.

use portolan_integration::{Fault, Resource, Rule, Verb};
use serde_json::{Value, json};

use crate::scene::{Scene, wait_until};

const KEY: &str = "portolan.io/not-ready";

fn taint(key: &str) -> Value {
    json!({"key": key, "effect": "NoSchedule"})
}

/// Registers node-a with these taints.
fn register(scene: &Scene, keys: &[&str]) {
    let mut node = scene.lab.node_a.object();
    node["spec"]["taints"] = keys.iter().map(|key| taint(key)).collect();
    scene.server.put(node);
}

/// Returns the keys of node-a's taints.
fn taints(scene: &Scene) -> Vec<String> {
    let objects = scene.server.objects();
    let is_it = |object: &&Value| object["kind"] == "Node" && object["metadata"]["name"] == "node-a";
    let node = objects.iter().find(is_it).unwrap();
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    taints.map(|taint| taint["key"].as_str().unwrap().to_owned()).collect()
}

fn patches(scene: &Scene) -> usize {
    scene.server.count(Verb::Patch, Resource::Nodes)
}

#[test]
fn the_taint_goes_once_services_are_programmed_and_comes_and_goes_with_the_node() {
    let scene = Scene::new();
    let [one, _] = scene.web_pods();
    scene.put_web(&[&one]);
    register(&scene, &["example.com/other", KEY]);
    scene.server.inject(Rule::always(Fault::Hold).of(Resource::EndpointSlices));
    let agent = scene.spawn_with(&["--remove-taint"]);
    wait_until("slices are asked for", || {
        scene.server.requests().iter().any(|request| request.resource == Some(Resource::EndpointSlices))
    });
    wait_until("the Node is read", || scene.server.count(Verb::Watch, Resource::Nodes) > 0);
    assert_eq!(agent.readyz(), Some(503));
    assert_eq!(patches(&scene), 0, "nothing is programmed yet");
    scene.server.clear_rules();
    wait_until("the taint is gone", || taints(&scene) == ["example.com/other"]);
    let answer = scene.shell.client().tcp(scene.web());
    assert_eq!(answer.server(), Some("web-1"), "the Service works by then: {answer}");
    wait_until("the log says so", || agent.stderr().contains("Startup taint removed"));
    // The kubelet registers the node again.
    scene.server.delete(Resource::Nodes, "", "node-a");
    register(&scene, &[KEY]);
    wait_until("it is gone again", || taints(&scene).is_empty());
    let count = patches(&scene);
    register(&scene, &["example.com/other"]);
    scene.put_web(&[]);
    scene.wait_until_equal("the Node has another taint");
    assert_eq!((taints(&scene).len(), patches(&scene)), (1, count), "a taint that is not ours");
}

#[test]
fn taints_that_others_add_at_the_same_time_stay() {
    let scene = Scene::new();
    register(&scene, &["example.com/startup", "example.com/early"]);
    scene.server.inject(Rule::always(Fault::Hold).of(Resource::Nodes).on(Verb::Patch).times(1));
    let _agent = scene.spawn_with(&["--remove-taint=example.com/startup"]);
    wait_until("the patch is under way", || patches(&scene) == 1);
    register(&scene, &["example.com/startup", "example.com/early", "example.com/late"]);
    scene.server.clear_rules();
    wait_until("the taint is gone", || taints(&scene) == ["example.com/early", "example.com/late"]);
    assert_eq!(patches(&scene), 2, "the taints had changed before the first patch");
}

#[test]
fn without_the_right_the_agent_serves_and_tries_again() {
    let scene = Scene::new();
    let [one, _] = scene.web_pods();
    scene.put_web(&[&one]);
    register(&scene, &[KEY]);
    let refuse = |code| Rule::always(Fault::Refuse(code, None)).of(Resource::Nodes).on(Verb::Patch);
    scene.server.inject(refuse(403));
    let agent = scene.spawn_with(&["--remove-taint", KEY]);
    wait_until("it tries again", || patches(&scene) >= 3);
    scene.wait_until_served(&["web-1"], "meanwhile");
    let log = agent.stderr();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("Startup taint cannot be")).collect();
    assert!(lines.len() == 1 && lines[0].contains("the right to patch nodes"), "{lines:?}");
    assert_eq!(agent.readyz(), Some(200));
    scene.server.clear_rules();
    scene.server.inject(refuse(503).times(1));
    wait_until("the taint is gone", || taints(&scene).is_empty());
}

#[test]
fn without_the_flag_nodes_are_left_alone() {
    let scene = Scene::new();
    register(&scene, &[KEY]);
    let _agent = scene.run();
    assert_eq!((taints(&scene).len(), patches(&scene)), (1, 0));
}
