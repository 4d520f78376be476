//! Tests that also work with a real API server: they run against the server of `PORTOLAN_TEST_KUBECONFIG` if it is set.
//! The other tests here need the faults of the test API server.

use std::{
    any::Any,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use portolan_integration::{ApiServer, Namespace, Resource};
use serde_json::json;

use crate::scene::{Api, Scene};

/// All tests store the same objects, and there is only one real server.
static REAL_SERVER: Mutex<()> = Mutex::new(());

/// A scene with a server outside the lab: that of `PORTOLAN_TEST_KUBECONFIG`, or the test API server in a namespace of
/// its own. The caller keeps the first value alive as long as the scene.
fn scene() -> (Box<dyn Any>, Scene<Box<dyn Api>>) {
    if let Some(path) = std::env::var_os("PORTOLAN_TEST_KUBECONFIG") {
        let turn = REAL_SERVER.lock().unwrap_or_else(PoisonError::into_inner);
        return (Box::new(turn), Scene::at(&PathBuf::from(path), None));
    }
    let elsewhere = Namespace::new("elsewhere").unwrap_or_else(|error| panic!("{error}"));
    let server = ApiServer::start(&elsewhere, ([127, 0, 0, 1], 6443).into()).unwrap();
    let scene = Scene::at(&server.kubeconfig(), Some(&elsewhere));
    (Box::new(server), scene)
}

#[test]
fn whatever_the_server_services_are_served_changed_and_withdrawn() {
    let (_server, scene) = scene();
    let [one, two] = scene.web_pods();
    scene.put_web(&[&one]);
    let _agent = scene.run();
    scene.wait_until_served(&["web-1"], "after the start");
    scene.wait_until_equal("after the start");
    scene.put_web(&[&one, &two]);
    scene.wait_until_served(&["web-1", "web-2"], "an endpoint was added");
    scene.put_web(&[&two]);
    scene.wait_until_served(&["web-2"], "an endpoint was removed");
    scene.wait_until_equal("after the changes");
    scene.server.delete_all(&scene.web_objects(&[]));
    scene.wait_until_not_served("the Service was deleted");
    scene.put_web(&[&one]);
    scene.wait_until_served(&["web-1"], "the Service was made again");
    let mut service = scene.web_objects(&[]).remove(0);
    service["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": "another"});
    scene.server.put_all(vec![service]);
    scene.wait_until_not_served("it belongs to another proxy");
    scene.put_web(&[&one]);
    scene.wait_until_served(&["web-1"], "it is ours again");
    scene.wait_until_equal("at the end");
}

#[test]
fn whatever_the_server_traffic_follows_the_zone_of_the_node() {
    let (_server, scene) = scene();
    let [one, two] = scene.web_pods();
    let set_zone = |zone: &str| {
        let mut node = scene.lab.node_a.object();
        node["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": zone});
        scene.server.put_all(vec![node]);
    };
    set_zone("east");
    let mut objects = scene.web_objects(&[&one, &two]);
    for slice in &mut objects[1..] {
        for (number, zone) in ["east", "west"].into_iter().enumerate() {
            slice["endpoints"][number]["hints"] = json!({"forZones": [{"name": zone}]});
        }
    }
    scene.server.put_all(objects);
    let _agent = scene.run();
    scene.wait_until_served(&["web-1"], "in the east");
    set_zone("west");
    scene.wait_until_served(&["web-2"], "in the west");
    set_zone("north");
    scene.wait_until_served(&["web-1", "web-2"], "in a zone without endpoints");
    set_zone("east");
    scene.wait_until_served(&["web-1"], "in the east again");
    assert!(scene.server.objects().iter().any(|object| Resource::of(object) == Some(Resource::Nodes)));
}
