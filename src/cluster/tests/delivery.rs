//! When the agent is told what.

use super::*;
use crate::agent::Ending;

#[tokio::test]
async fn what_a_server_does_not_have_is_done_without() {
    let server = quiet_server([SERVICES, SLICES, NODES]);
    server.reply(CIDRS, Reply::refuse(&status(404, "the server could not find the requested resource")));
    let mut world = World::new(server, timing(), None);
    let update = world.update().await;
    assert!(update.changes.contains(&Change::ServiceCidrs(Vec::new())));
}

#[tokio::test]
async fn a_node_that_is_refused_is_not_waited_for_as_long_as_one_that_may_come() {
    let server = quiet_server([SERVICES, SLICES, CIDRS]);
    for _ in 0..1000 {
        server.reply(NODES, Reply::refuse(&status(403, "nodes is forbidden")));
    }
    // Waiting for it would take half a minute.
    let mut world = World::new(server, Timing { patience: Duration::ZERO, node: LONG, ..timing() }, None);
    world.update().await;
    sleep(Duration::from_millis(200)).await;
    for event in world.inbox.take() {
        assert!(matches!(&event, Event::Cluster(update) if !update.changes.is_empty()), "{event:?}");
    }
}

#[tokio::test]
async fn node_and_ranges_are_not_waited_for_for_ever() {
    let server = quiet_server([SERVICES, SLICES]);
    // Nodes and ServiceCIDRs get no answer.
    let timing = Timing { patience: SHORT, node: SHORT, ..timing() };
    let mut world = World::new(server, timing, None);
    let update = world.update().await;
    assert_eq!(update.changes.len(), 2, "{update:?}");
}

/// A source that must know the networks of the node's pods before it tells anything.
fn needing_pod_networks(server: Server, timing: Timing) -> World {
    let options = Options { node_name: "n1".into(), proxy_name: None, needs_pod_networks: true, timing };
    World::with_options(server, options)
}

fn node(version: u64, cidrs: &[&str]) -> Value {
    json!({
        "metadata": {"name": "n1", "resourceVersion": version.to_string()},
        "spec": {"podCIDRs": cidrs},
    })
}

#[tokio::test]
async fn the_networks_of_pods_are_waited_for_where_they_are_needed() {
    let server = quiet_server([SERVICES, SLICES, CIDRS]);
    let (reply, feed) = Reply::lines([added(&node(3, &[])), initial_events_end(9)]).and_feed();
    server.reply(NODES, reply);
    let mut world = needing_pod_networks(server, Timing { patience: Duration::ZERO, ..timing() });
    world.is_quiet().await;
    feed.send(&event("MODIFIED", &node(10, &["10.1.2.0/24"])));
    world.update().await;
    assert_eq!(world.node.as_ref().unwrap().pod_cidrs, ["10.1.2.0/24".parse().unwrap()]);
    // Afterwards nobody waits.
    feed.send(&event("MODIFIED", &node(11, &[])));
    world.update().await;
}

#[tokio::test]
async fn networks_of_pods_that_never_come_end_the_agent() {
    let server = quiet_server([SERVICES, SLICES, CIDRS]);
    server.reply(NODES, Reply::refuse(&status(403, "nodes is forbidden")));
    let timing = Timing { patience: Duration::ZERO, pod_networks: Duration::from_millis(300), ..timing() };
    let world = needing_pod_networks(server, timing);
    let until = Instant::now() + LONG;
    let event = loop {
        match world.inbox.take().pop() {
            Some(event) => break event,
            None => assert!(Instant::now() < until, "nothing came"),
        }
        sleep(Duration::from_millis(2)).await;
    };
    assert!(matches!(event, Event::Stop(Ending::Failed)), "{event:?}");
}

#[tokio::test]
async fn what_arrives_together_is_told_together_and_what_changes_nothing_is_not_told() {
    let server = server_but_services();
    let (reply, feed) = Reply::lines([added(&service("web", 3, 80)), initial_events_end(9)]).and_feed();
    server.reply(SERVICES, reply);
    let mut world = World::new(server, timing(), None);
    world.update().await;
    feed.send(&event("MODIFIED", &service("web", 10, 80)));
    world.is_quiet().await;
    let two = format!("{}\n{}", added(&service("a", 11, 80)), added(&service("b", 12, 80)));
    feed.send_text(&two);
    let update = world.update().await;
    assert_eq!(update.changes.len(), 2);
    assert_eq!(world.service_names(), ["a", "b", "web"]);
}

#[tokio::test]
async fn an_update_says_when_its_changes_began() {
    let server = quiet_server([SERVICES, NODES, CIDRS]);
    let triggered = |version, address, at: &str| {
        let mut slice = slice("web-1", version, &[address]);
        slice["metadata"]["annotations"] = json!({"endpoints.kubernetes.io/last-change-trigger-time": at});
        slice
    };
    let old = "2020-01-01T00:00:00Z";
    let (reply, feed) =
        Reply::lines([added(&triggered(3, "10.0.0.1", old)), initial_events_end(9)]).and_feed();
    server.reply(SLICES, reply);
    let mut world = World::new(server, timing(), None);
    assert_eq!(world.update().await.triggers, []);
    // Began before the agent did.
    feed.send(&event("MODIFIED", &triggered(10, "10.0.0.2", old)));
    assert_eq!(world.update().await.triggers, []);
    let at = jiff::Timestamp::now();
    // Another time alone is no change.
    feed.send(&event("MODIFIED", &triggered(11, "10.0.0.2", &at.to_string())));
    world.is_quiet().await;
    feed.send(&event("MODIFIED", &triggered(12, "10.0.0.3", &at.to_string())));
    assert_eq!(world.update().await.triggers, [at]);
    feed.send(&event("DELETED", &triggered(13, "10.0.0.3", &at.to_string())));
    assert_eq!(world.update().await.triggers, []);
    assert!(world.slices.is_empty());
}
