//! Topology hints: behaviour.md §4 (1), §14 invariant 10 (label changes take effect at once), §15 (7).

use portolan_integration::{Family, Node, Pod};
use serde_json::{Value, json};

use crate::{
    frontends::{assert_all_serve, exposed, external_targets, put, targets, wait_until_serve},
    scene::Scene,
};

fn zone(name: &str) -> Value {
    json!({"hints": {"forZones": [{"name": name}]}})
}

fn node(name: &str, zone: &str) -> Value {
    json!({"hints": {"forNodes": [{"name": name}], "forZones": [{"name": zone}]}})
}

/// Writes the Node objects with these zones, in order node-a, node-b.
fn zones(scene: &Scene, zones: [Option<&str>; 2]) {
    let mut objects = scene.lab.nodes().map(Node::object);
    for (object, zone) in objects.iter_mut().zip(zones) {
        if let Some(zone) = zone {
            object["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": zone});
        }
    }
    scene.manifests.put("nodes.yaml", &objects).unwrap();
}

/// Waits until pods on node-a reach exactly the endpoints `here`, and node-b itself exactly those in `there`.
fn wait_for(scene: &Scene, here: &[&str], there: &[&str], what: &str) {
    for family in Family::BOTH {
        let [(_, cluster_ip), ..] = targets(scene, 1, family);
        wait_until_serve(&scene.shell.client(), cluster_ip, here, what);
        wait_until_serve(&scene.lab.node_b.client(), cluster_ip, there, what);
    }
}

const ALL: [&str; 3] = ["web-1", "web-2", "web-3"];

/// Zone hints, a changed zone, a missing label, and an endpoint without a hint.
#[test]
fn zone_hints_keep_traffic_in_the_zone_and_follow_the_node_s_label() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    zones(&scene, [Some("east"), Some("west")]);
    let service = exposed(&scene, 1);
    put(&scene, 1, &service, &[(&one, zone("east")), (&two, zone("west")), (&three, zone("west"))]);
    scene.run();
    wait_for(&scene, &["web-1"], &["web-2", "web-3"], "each zone its own");
    zones(&scene, [Some("west"), Some("west")]);
    wait_for(&scene, &["web-2", "web-3"], &["web-2", "web-3"], "node-a moved to the other zone");
    zones(&scene, [Some("north"), Some("east")]);
    wait_for(&scene, &ALL, &["web-1"], "no endpoint is for node-a's zone");
    zones(&scene, [None, Some("east")]);
    wait_for(&scene, &ALL, &["web-1"], "node-a has no zone");
    zones(&scene, [Some("east"), Some("west")]);
    put(&scene, 1, &service, &[(&one, zone("east")), (&two, zone("west")), (&three, json!({}))]);
    wait_for(&scene, &ALL, &ALL, "one without a hint");
}

/// Node hints take precedence over zone hints; a node without node hints uses its zone.
#[test]
fn node_hints_come_before_zone_hints() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    zones(&scene, [Some("east"), Some("east")]);
    let service = exposed(&scene, 1);
    put(
        &scene,
        1,
        &service,
        &[(&one, node("node-a", "east")), (&two, node("node-b", "east")), (&three, node("node-b", "east"))],
    );
    scene.run();
    wait_for(&scene, &["web-1"], &["web-2", "web-3"], "each node its own");
    put(
        &scene,
        1,
        &service,
        &[(&one, node("node-b", "west")), (&two, node("node-b", "east")), (&three, node("node-c", "east"))],
    );
    wait_for(&scene, &["web-2", "web-3"], &["web-1", "web-2"], "none is for node-a, two are for its zone");
    // Without a ready endpoint for node-a, its zone hints apply.
    let dead = json!({"conditions": {"ready": false}, "hints": {"forNodes": [{"name": "node-a"}]}});
    let endpoints: [(&Pod, Value); 3] =
        [(&one, dead), (&two, node("node-b", "west")), (&three, node("node-b", "east"))];
    put(&scene, 1, &service, &endpoints);
    wait_for(&scene, &["web-3"], &["web-2", "web-3"], "the endpoint for node-a is not ready");
}

/// §15 (7): Local sets ignore hints, short-circuited traffic follows them.
#[test]
fn the_local_set_ignores_hints_and_short_circuited_traffic_obeys_them() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    zones(&scene, [Some("east"), Some("east")]);
    let service = exposed(&scene, 1).with("/spec/externalTrafficPolicy", "Local");
    // The only endpoint of node-a is meant for the other zone.
    put(&scene, 1, &service, &[(&one, zone("west")), (&two, zone("east")), (&three, zone("east"))]);
    scene.run();
    for family in Family::BOTH {
        for (kind, target) in external_targets(&scene, 1, family) {
            assert_all_serve(&scene.lab.client(), target, &["web-1"], kind);
            assert_all_serve(&scene.shell.client(), target, &["web-2", "web-3"], kind);
            assert_all_serve(&scene.lab.node_a.client(), target, &["web-2", "web-3"], kind);
        }
    }
}
