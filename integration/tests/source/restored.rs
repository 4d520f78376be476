//! The server's etcd is restored from a backup.

use std::time::{Duration, Instant};

use portolan::source::cluster::Timing;
use portolan_integration::{ApiServer, Resource, Verb};
use serde_json::{Value, json};

use crate::world::*;

const SERVICES: Resource = Resource::Services;

fn stored(name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": port}]},
    })
}

/// Writes an object that the source does not watch, so that the server's version increases.
fn move_on(server: &ApiServer, versions: usize) {
    let node = || json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "another"}});
    server.put_all((0..versions).map(|_| node()));
}

fn world(timing: Timing) -> World {
    let server = server();
    server.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}));
    server.put_all(["a", "b"].map(|name| stored(name, 80)));
    let mut world = World::new(server, timing);
    world.update();
    assert_eq!(world.service_names(), ["a", "b"]);
    world
}

/// Returns the number of lists of Services, without those that verify a position.
fn lists(world: &World) -> usize {
    world.queries(SERVICES).iter().filter(|(_, query)| !query.contains("watch=")).count()
}

#[test]
fn a_server_that_has_not_reached_what_is_known_is_found_at_once() {
    let mut world = world(timing());
    let backup = world.server.backup();
    world.server.put(stored("a", 81));
    world.update_until(|world| world.port("a") == 81);
    world.server.restore(&backup).unwrap();
    world.update_until(|world| world.port("a") == 80);
}

/// No version shows what was lost: that `a` was changed, `b` deleted and `c` created.
#[test]
fn a_server_that_has_passed_what_is_known_is_found() {
    let mut world = world(timing());
    let backup = world.server.backup();
    world.server.delete(SERVICES, "default", "b");
    world.server.put(stored("c", 80));
    world.server.put(stored("a", 81));
    world.update_until(|world| world.service_names() == ["a", "c"] && world.port("a") == 81);
    world.server.stop();
    world.server.restore_and(&backup, |server| move_on(server, 400)).unwrap();
    world.update_until(|world| world.service_names() == ["a", "b"] && world.port("a") == 80);
    // Later changes arrive as well.
    world.server.put(stored("d", 80));
    world.update_until(|world| world.service_names() == ["a", "b", "d"]);
}

/// The last change of a kind may have been before the backup, so that its own position shows nothing: another kind
/// detects the loss.
#[test]
fn what_one_kind_finds_concerns_all() {
    let mut world = world(timing());
    let backup = world.server.backup();
    // Only the Node changes after the backup.
    let labels = json!({"topology.kubernetes.io/zone": "z"});
    world
        .server
        .put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": labels}}));
    world.update_until(|world| world.node.as_ref().is_some_and(|node| node.zone.is_some()));
    let before = lists(&world);
    world.server.stop();
    let rewrite = |server: &ApiServer| {
        server.put(stored("new", 80));
        move_on(server, 400);
    };
    world.server.restore_and(&backup, rewrite).unwrap();
    world.update_until(|world| world.service_names() == ["a", "b", "new"]);
    let began = Instant::now();
    while lists(&world) == before {
        assert!(began.elapsed() < LONG, "Services are not listed: {:#?}", world.server.requests());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// If the position is verified, nothing was lost, and nothing is listed.
#[test]
fn a_server_that_was_restarted_costs_no_list() {
    let mut world = world(timing());
    let before = lists(&world);
    for round in 0..3 {
        world.server.delete(SERVICES, "default", "b");
        world.update_until(|world| world.service_names() == ["a"]);
        world.server.stop();
        move_on(&world.server, 200);
        world.server.put(stored("b", 90 + round));
        world.server.resume().unwrap();
        world.update_until(|world| world.service_names() == ["a", "b"] && world.port("b") == 90 + round);
    }
    assert_eq!(lists(&world), before);
    let is_exact = |query: &std::collections::BTreeMap<String, String>| {
        query.get("resourceVersionMatch").is_some_and(|matching| matching == "Exact")
    };
    let requests = world.server.requests();
    assert!(
        requests.iter().any(|request| request.verb == Verb::List && is_exact(&request.query)),
        "{requests:#?}"
    );
}

/// A real server sends nothing to a watch from a version that it has not reached.
#[test]
fn a_watch_that_is_silent_is_verified() {
    let mut world = world(Timing { idle: Duration::from_secs(1), ..timing() });
    let began = Instant::now();
    let verified = |world: &World| {
        let requests = world.server.requests().into_iter();
        requests.filter(|it| it.resource == Some(SERVICES) && it.verb == Verb::List).count()
    };
    while verified(&world) < 1 + lists(&world) {
        assert!(began.elapsed() < LONG, "{:#?}", world.server.requests());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(lists(&world), 1);
    world.server.put(stored("c", 80));
    world.update_until(|world| world.service_names() == ["a", "b", "c"]);
}
