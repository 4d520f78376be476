//! When the agent is told what.

use super::*;

#[tokio::test]
async fn what_a_server_does_not_have_is_done_without() {
    let server = Server::new();
    for path in [SERVICES, SLICES, NODES] {
        server.reply(path, Reply::lines([initial_events_end(1)]).and_wait());
    }
    server.reply(CIDRS, Reply::refuse(&status(404, "the server could not find the requested resource")));
    let mut world = World::new(server, timing(), None);
    let update = world.update().await;
    assert!(update.changes.contains(&Change::ServiceCidrs(Vec::new())));
}

#[tokio::test]
async fn node_and_ranges_are_not_waited_for_for_ever() {
    let server = Server::new();
    for path in [SERVICES, SLICES] {
        server.reply(path, Reply::lines([initial_events_end(1)]).and_wait());
    }
    // Nodes and ServiceCIDRs get no answer.
    let timing = Timing { patience: SHORT, ..timing() };
    let mut world = World::new(server, timing, None);
    let update = world.update().await;
    assert_eq!(update.changes.len(), 2, "{update:?}");
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
    let server = Server::new();
    for path in [SERVICES, NODES, CIDRS] {
        server.reply(path, Reply::lines([initial_events_end(1)]).and_wait());
    }
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
