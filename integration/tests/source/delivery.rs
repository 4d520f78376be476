//! The updates that the agent gets, and when.

use std::time::{Duration, Instant};

use portolan::{
    agent::{Ending, Event},
    source::{
        Change, SourceEvent,
        cluster::{Options, Timing},
    },
};
use portolan_integration::{ApiServer, Reply, Resource};
use serde_json::{Value, json};

use crate::world::*;

use Resource::{EndpointSlices, Nodes, ServiceCidrs, Services};

fn refused(reason: &str, code: u16) -> Reply {
    Reply::refuse(&status(code, reason, "the server does not show it"))
}

#[test]
fn what_a_server_does_not_have_is_done_without() {
    let server = quiet_server([Services, EndpointSlices, Nodes]);
    server.prepare(ServiceCidrs, [refused("NotFound", 404)]);
    let mut world = World::new(server, timing());
    let update = world.update();
    assert!(update.changes.contains(&Change::ServiceCidrs(Vec::new())));
}

#[test]
fn a_node_that_is_refused_is_not_waited_for_as_long_as_one_that_may_come() {
    let server = quiet_server([Services, EndpointSlices, ServiceCidrs]);
    server.prepare(Nodes, (0..1000).map(|_| refused("Forbidden", 403)));
    // Waiting for the Node would take half a minute.
    let mut world = World::new(server, Timing { patience: Duration::ZERO, node: LONG, ..timing() });
    world.update();
    std::thread::sleep(Duration::from_millis(200));
    for event in world.inbox.take() {
        assert!(
            matches!(&event, Event::Source(SourceEvent::Update(update)) if !update.changes.is_empty()),
            "{event:?}"
        );
    }
}

#[test]
fn node_and_ranges_are_not_waited_for_for_ever() {
    let server = quiet_server([Services, EndpointSlices]);
    // Requests for Nodes and ServiceCIDRs get no answer.
    server.prepare(Nodes, []);
    server.prepare(ServiceCidrs, []);
    let timing = Timing { patience: SHORT, node: SHORT, ..timing() };
    let mut world = World::new(server, timing);
    let update = world.update();
    assert_eq!(update.changes.len(), 2, "{update:?}");
}

/// A source that must know the networks of the node's pods before it sends anything.
fn needing_pod_networks(server: ApiServer, timing: Timing) -> World {
    let options = Options { needs_pod_networks: true, ..options(timing) };
    World::with_options(server, options)
}

fn node(version: u64, cidrs: &[&str]) -> Value {
    json!({
        "metadata": {"name": "n1", "resourceVersion": version.to_string()},
        "spec": {"podCIDRs": cidrs},
    })
}

#[test]
fn the_networks_of_pods_are_waited_for_where_they_are_needed() {
    let server = quiet_server([Services, EndpointSlices, ServiceCidrs]);
    let (watch, feed) = Reply::lines([]).and_feed();
    server.prepare(Nodes, [list(Nodes, 9, &[node(3, &[])]), watch]);
    let mut world = needing_pod_networks(server, Timing { patience: Duration::ZERO, ..timing() });
    world.is_quiet();
    feed.send(&event("MODIFIED", &node(10, &["10.1.2.0/24"])));
    world.update();
    assert_eq!(world.node.as_ref().unwrap().pod_cidrs, ["10.1.2.0/24".parse().unwrap()]);
    // Afterwards the source no longer waits for the networks.
    feed.send(&event("MODIFIED", &node(11, &[])));
    world.update();
}

#[test]
fn networks_of_pods_that_never_come_end_the_agent() {
    let server = quiet_server([Services, EndpointSlices, ServiceCidrs]);
    server.prepare(Nodes, [refused("Forbidden", 403)]);
    let timing = Timing { patience: Duration::ZERO, pod_networks: Duration::from_millis(300), ..timing() };
    let world = needing_pod_networks(server, timing);
    let event = world.inbox.recv_timeout(LONG).unwrap().pop().unwrap();
    assert!(matches!(event, Event::Stop(Ending::Failed)), "{event:?}");
}

#[test]
fn what_arrives_together_is_sent_together_and_what_changes_nothing_is_not_sent() {
    let server = server_but_services();
    let (watch, feed) = Reply::lines([]).and_feed();
    server.prepare(Services, [list(Services, 9, &[service("web", 3, 80)]), watch]);
    let mut world = World::new(server, timing());
    world.update();
    feed.send(&event("MODIFIED", &service("web", 10, 80)));
    world.is_quiet();
    let two = format!("{}\n{}", added(&service("a", 11, 80)), added(&service("b", 12, 80)));
    feed.send_text(&two);
    let update = world.update();
    assert_eq!(update.changes.len(), 2);
    assert_eq!(world.service_names(), ["a", "b", "web"]);
}

#[test]
fn an_update_says_when_its_changes_began() {
    let server = quiet_server([Services, Nodes, ServiceCidrs]);
    let triggered = |version, address, at: &str| {
        let mut slice = slice("web-1", version, &[address]);
        slice["metadata"]["annotations"] = json!({"endpoints.kubernetes.io/last-change-trigger-time": at});
        slice
    };
    let old = "2020-01-01T00:00:00Z";
    let (watch, feed) = Reply::lines([]).and_feed();
    server.prepare(EndpointSlices, [list(EndpointSlices, 9, &[triggered(3, "10.0.0.1", old)]), watch]);
    let mut world = World::new(server, timing());
    assert_eq!(world.update().triggers, []);
    // This change began before the agent started.
    feed.send(&event("MODIFIED", &triggered(10, "10.0.0.2", old)));
    assert_eq!(world.update().triggers, []);
    let at = jiff::Timestamp::now();
    // A different trigger time alone is not a change.
    feed.send(&event("MODIFIED", &triggered(11, "10.0.0.2", &at.to_string())));
    world.is_quiet();
    feed.send(&event("MODIFIED", &triggered(12, "10.0.0.3", &at.to_string())));
    assert_eq!(world.update().triggers, [at]);
    feed.send(&event("DELETED", &triggered(13, "10.0.0.3", &at.to_string())));
    assert_eq!(world.update().triggers, []);
    assert!(world.slices.is_empty());
}

/// Half of a list followed by nothing does not count as current data for its kind.
#[test]
fn a_list_that_hangs_is_no_news() {
    let server = server_but_services();
    let whole = service_list(9, &[service("web", 3, 80), service("api", 4, 80)]).to_string();
    server.prepare(Services, [Reply::text(&whole[..whole.len() / 2]).and_wait()]);
    let world = World::new(server, timing());
    let heard = |kind| world.health.report().ages.iter().any(|(known, age)| *known == kind && age.is_some());
    let began = Instant::now();
    while !heard(portolan::api::Kind::EndpointSlice) {
        assert!(began.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(200));
    assert!(!heard(portolan::api::Kind::Service));
}
