//! What goes wrong with watches, and how it ends well.

use super::*;

/// A world whose Services `a` and `b` were listed at version 9, and whose watch says what the test says.
async fn listed(timing: Timing) -> (World, server::Feed) {
    let server = server_but_services();
    let objects = [added(&service("a", 3, 80)), added(&service("b", 4, 80)), initial_events_end(9)];
    let (reply, feed) = Reply::lines(objects).and_feed();
    server.reply(SERVICES, reply);
    let mut world = World::new(server, timing, None);
    world.update().await;
    assert_eq!(world.service_names(), ["a", "b"]);
    (world, feed)
}

/// The list after much has happened: `b` is another, `a` is gone, `c` is new.
fn afterwards() -> Reply {
    Reply::lines([added(&service("b", 40, 81)), added(&service("c", 41, 80)), initial_events_end(50)])
        .and_wait()
}

/// The same, with a watch that ends.
fn afterwards_and_end() -> Reply {
    Reply::lines([added(&service("c", 41, 80)), initial_events_end(50)])
}

async fn check_afterwards(world: &mut World) {
    let update = world.update().await;
    assert!(matches!(&update.changes[..], [Change::Services(all)] if all.len() == 2), "{update:?}");
    assert_eq!(world.service_names(), ["b", "c"]);
    assert_eq!(world.services[&ObjectName::new("default", "b")].ports[0].port, 81);
}

fn version(query: &str) -> Option<&str> {
    query.split('&').find_map(|parameter| parameter.strip_prefix("resourceVersion="))
}

#[tokio::test]
async fn a_watch_that_ends_goes_on_from_the_last_bookmark() {
    let (world, feed) = listed(timing()).await;
    feed.send(&bookmark(20));
    // So that it is no watch that ends at once.
    sleep(Duration::from_millis(50)).await;
    drop(feed);
    let query = world.server.query(SERVICES, 2).await;
    assert_eq!(version(&query), Some("20"));
    assert!(!query.contains("sendInitialEvents"), "{query}");
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_anew_and_nothing_is_missed() {
    let (mut world, feed) = listed(timing()).await;
    feed.send(&added(&service("c", 10, 80)));
    world.update().await;
    world.server.reply(
        SERVICES,
        Reply::lines([event("DELETED", &service("a", 11, 80)), added(&service("d", 12, 80))]).and_break(),
    );
    world.server.reply(SERVICES, Reply::refuse(&status(503, "etcd is away")));
    world.server.reply(SERVICES, Reply::lines([event("DELETED", &service("b", 13, 80))]).and_wait());
    drop(feed);
    while world.service_names() != ["c", "d"] {
        world.update().await;
    }
    let versions: Vec<_> = world.server.queries(SERVICES).into_iter().map(|(_, query)| query).collect();
    let versions: Vec<_> = versions.iter().map(|query| version(query)).collect();
    assert_eq!(versions, [None, Some("10"), Some("12"), Some("12")]);
}

#[tokio::test]
async fn gone_as_an_event_lists_anew_and_deletes() {
    let (mut world, feed) = listed(timing()).await;
    world.server.reply(SERVICES, afterwards());
    feed.send(&event("ERROR", &status(410, "too old resource version: 9 (30)")));
    check_afterwards(&mut world).await;
    let query = world.server.query(SERVICES, 2).await;
    assert_eq!(version(&query), Some("9"), "a list must not be older than what is known");
    assert!(query.contains("sendInitialEvents=true"), "{query}");
}

#[tokio::test]
async fn gone_as_an_answer_lists_anew_and_deletes() {
    let (mut world, feed) = listed(timing()).await;
    world.server.reply(SERVICES, Reply::refuse(&status(410, "Gone")));
    world.server.reply(SERVICES, afterwards());
    sleep(Duration::from_millis(50)).await;
    drop(feed);
    check_afterwards(&mut world).await;
}

/// Each with something to say, so that it looks alive.
#[tokio::test]
async fn watches_that_end_again_and_again_are_asked_for_more_and_more_slowly() {
    let (world, feed) =
        listed(Timing { first_retry: Duration::from_millis(100), last_retry: LONG, ..timing() }).await;
    for version in 20..60 {
        world.server.reply(SERVICES, Reply::lines([bookmark(version)]));
    }
    drop(feed);
    // Half of 100 + 200 + 400 + 800 ms at least.
    let began = Instant::now();
    world.server.query(SERVICES, 6).await;
    assert!(began.elapsed() >= Duration::from_millis(700), "{:?}", began.elapsed());
}

/// Not every server leaves out what it has nothing to say about.
#[tokio::test]
async fn a_reason_with_nulls_in_it_is_understood() {
    let (mut world, feed) = listed(timing()).await;
    world.server.reply(SERVICES, afterwards());
    let reason = json!({
        "kind": "Status", "metadata": null, "status": "Failure", "message": null, "details": null, "code": 410,
    });
    feed.send(&event("ERROR", &reason));
    check_afterwards(&mut world).await;
}

/// However long the server was away: that it has forgotten what came before is no reason to wait.
#[tokio::test]
async fn after_an_outage_a_forgotten_version_is_made_up_for_at_once() {
    let mut waited = LONG;
    // Waiting as after any other failure would take 1.28 s at least; a slow machine gets another chance.
    for _ in 0..5 {
        waited = waited.min(wait_before_the_list(8).await);
        if waited < Duration::from_secs(1) {
            return;
        }
    }
    panic!("{waited:?}");
}

/// How long after it was told that its version is forgotten, after so many failures, it lists.
async fn wait_before_the_list(failures: usize) -> Duration {
    let (mut world, feed) = listed(Timing { last_retry: LONG, ..timing() }).await;
    for _ in 0..failures {
        world.server.reply(SERVICES, Reply::refuse(&status(503, "starting")));
    }
    world.server.reply(SERVICES, Reply::lines([event("ERROR", &status(410, "too old resource version"))]));
    world.server.reply(SERVICES, afterwards());
    drop(feed);
    check_afterwards(&mut world).await;
    let queries = world.server.queries(SERVICES);
    assert_eq!(queries.len(), failures + 3);
    queries[failures + 2].0 - queries[failures + 1].0
}

/// Else every node would list again and again, as fast as it can.
#[tokio::test]
async fn a_server_that_forgets_again_and_again_is_given_time() {
    let (mut world, feed) =
        listed(Timing { first_retry: Duration::from_secs(1), last_retry: LONG, ..timing() }).await;
    let gone = || Reply::lines([event("ERROR", &status(410, "too old resource version"))]);
    for _ in 0..2 {
        world.server.reply(SERVICES, afterwards_and_end());
        world.server.reply(SERVICES, gone());
    }
    world.server.reply(SERVICES, afterwards());
    feed.send(&event("ERROR", &status(410, "too old resource version")));
    let began = Instant::now();
    world.server.query(SERVICES, 6).await;
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    world.update().await;
}

#[tokio::test]
async fn a_server_restored_from_a_backup_is_believed() {
    let (mut world, feed) = listed(timing()).await;
    feed.send(&event("ERROR", &status(410, "too old")));
    world.server.reply(SERVICES, Reply::refuse(&status(504, "Too large resource version: 9, current: 2")));
    // All of it is older than what is known.
    let before = Reply::lines([added(&service("a", 1, 79)), initial_events_end(2)]).and_feed();
    world.server.reply(SERVICES, before.0);
    world.update().await;
    assert_eq!(world.service_names(), ["a"]);
    assert_eq!(world.services[&ObjectName::new("default", "a")].ports[0].port, 79);
    assert_eq!(version(&world.server.query(SERVICES, 3).await), None);
    before.1.send(&added(&service("b", 3, 80)));
    world.update().await;
    assert_eq!(world.service_names(), ["a", "b"]);
}

#[tokio::test]
async fn events_that_are_late_doubled_or_in_disorder_end_at_the_truth() {
    let (mut world, feed) = listed(timing()).await;
    for line in [
        event("MODIFIED", &service("a", 12, 82)),
        // In disorder: another object's older event is news, this object's is not.
        event("MODIFIED", &service("b", 10, 90)),
        event("MODIFIED", &service("a", 11, 81)),
        event("DELETED", &service("b", 14, 90)),
        event("MODIFIED", &service("b", 13, 93)),
        event("MODIFIED", &service("a", 12, 82)),
        added(&service("c", 16, 86)),
        event("DELETED", &service("c", 15, 80)),
        added(&service("end", 17, 80)),
    ] {
        feed.send(&line);
    }
    while !world.service_names().contains(&"end") {
        world.update().await;
    }
    assert_eq!(world.service_names(), ["a", "c", "end"]);
    let port = |name| world.services[&ObjectName::new("default", name)].ports[0].port;
    assert_eq!((port("a"), port("c")), (82, 86));
}

#[tokio::test]
async fn a_watch_that_says_nothing_is_started_anew() {
    let (mut world, feed) = listed(Timing { idle: SHORT, ..timing() }).await;
    feed.send(&bookmark(30));
    world.server.reply(SERVICES, Reply::lines([event("DELETED", &service("a", 31, 80))]).and_wait());
    // The first watch never ends.
    world.update().await;
    assert_eq!(world.service_names(), ["b"]);
    assert_eq!(version(&world.server.query(SERVICES, 2).await), Some("30"));
    drop(feed);
}

#[tokio::test]
async fn a_watch_that_outlasts_its_time_is_started_anew() {
    let timing = Timing { watch: Duration::from_secs(1), watch_margin: Duration::ZERO, ..timing() };
    let (world, feed) = listed(timing).await;
    for version in 20.. {
        feed.send(&bookmark(version));
        if world.server.queries(SERVICES).len() > 1 {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_request_that_gets_no_answer_is_made_again() {
    let server = server_but_services();
    let timing = Timing { response: SHORT, ..timing() };
    let mut world = World::new(server, timing, None);
    world.server.query(SERVICES, 2).await;
    world.server.reply(SERVICES, afterwards());
    world.update().await;
    assert_eq!(world.service_names(), ["b", "c"]);
}

#[tokio::test]
async fn a_server_is_left_alone_for_as_long_as_it_asks() {
    let server = server_but_services();
    let refusal = Reply::text("Too many requests, please try again later.".into());
    server.reply(SERVICES, refusal.with_status(429).with_header("retry-after", "1"));
    server.reply(SERVICES, afterwards());
    let timing = Timing { last_retry: Duration::from_secs(5), ..timing() };
    let mut world = World::new(server, timing, None);
    world.update().await;
    let queries = world.server.queries(SERVICES);
    assert!(queries[1].0 - queries[0].0 >= Duration::from_secs(1));
}

#[tokio::test]
async fn refusals_are_waited_out_however_many() {
    let server = server_but_services();
    for code in [401, 403, 500, 503, 401, 502, 403, 422] {
        server.reply(SERVICES, Reply::refuse(&status(code, "no")));
    }
    server.reply(SERVICES, Reply::text("<html>bad gateway</html>".into()));
    server.reply(SERVICES, Reply::json(&json!({"metadata": {"resourceVersion": "1"}, "items": []})));
    let mut world = World::new(server, timing(), None);
    world.update().await;
    assert!(world.services.is_empty());
}

#[tokio::test]
async fn an_unusable_object_stays_what_it_was_and_others_are_served() {
    let (mut world, feed) = listed(timing()).await;
    let broken = |version| {
        let mut object = service("a", version, 80);
        object["spec"]["ports"] = json!([{"port": 70_000}]);
        object
    };
    feed.send(&event("MODIFIED", &broken(10)));
    feed.send(&json!({"type": "ADDED", "object": "no object"}));
    feed.send(&added(&service("c", 11, 80)));
    let update = world.update().await;
    assert_eq!(update.changes.len(), 1, "{update:?}");
    assert_eq!(world.service_names(), ["a", "b", "c"]);
    // In a list, too.
    let list = [added(&broken(20)), added(&service("b", 4, 80)), initial_events_end(50)];
    world.server.reply(SERVICES, Reply::lines(list).and_wait());
    feed.send(&event("ERROR", &status(410, "too old")));
    world.update().await;
    assert_eq!(world.service_names(), ["a", "b"]);
    assert_eq!(world.services[&ObjectName::new("default", "a")].ports[0].port, 80);
}
