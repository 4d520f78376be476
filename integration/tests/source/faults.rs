//! Faults of watches and requests, and the recovery from them.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use portolan::source::{Change, cluster::Timing};
use portolan_integration::{Feed, Reply, Resource};
use serde_json::json;

use crate::world::*;

const SERVICES: Resource = Resource::Services;

/// A world whose Services `a` and `b` were listed at version 9, with a watch whose events the test sends.
fn listed(timing: Timing) -> (World, Feed) {
    let server = server_but_services();
    let (watch, feed) = Reply::lines([]).and_feed();
    server.prepare(SERVICES, [list(SERVICES, 9, &[service("a", 3, 80), service("b", 4, 80)]), watch]);
    let mut world = World::new(server, timing);
    world.update();
    assert_eq!(world.service_names(), ["a", "b"]);
    (world, feed)
}

/// Returns a later list: `b` is changed, `a` is gone, `c` is new.
fn afterwards() -> Reply {
    list(SERVICES, 50, &[service("b", 40, 81), service("c", 41, 80)])
}

#[track_caller]
fn check_afterwards(world: &mut World) {
    let update = world.update();
    assert!(matches!(&update.changes[..], [Change::Services(all)] if all.len() == 2), "{update:?}");
    assert_eq!(world.service_names(), ["b", "c"]);
    assert_eq!(world.port("b"), 81);
}

fn unavailable() -> Reply {
    Reply::refuse(&status(503, "ServiceUnavailable", "etcd is away"))
}

fn watch_from(version: u64) -> String {
    format!("allowWatchBookmarks=true&resourceVersion={version}&watch=true")
}

fn list_from(version: u64) -> String {
    format!("resourceVersion={version}")
}

#[test]
fn a_watch_that_ends_goes_on_from_the_last_bookmark() {
    let (world, feed) = listed(timing());
    feed.send(&bookmark(20));
    // So that the watch does not count as one that ends at once.
    sleep(Duration::from_millis(1_100));
    drop(feed);
    assert_eq!(world.query(SERVICES, 3), watch_from(20));
}

#[test]
fn a_connection_that_breaks_is_made_anew_and_nothing_is_missed() {
    let (mut world, feed) = listed(timing());
    feed.send(&added(&service("c", 10, 80)));
    world.update();
    let more = Reply::lines([event("DELETED", &service("a", 11, 80)), added(&service("d", 12, 80))]);
    let last = Reply::lines([event("DELETED", &service("b", 13, 80))]);
    world.server.prepare(SERVICES, [more.and_break(), unavailable(), last.and_wait()]);
    drop(feed);
    world.update_until(|world| world.service_names() == ["c", "d"]);
    let queries: Vec<_> = world.queries(SERVICES).into_iter().skip(2).map(|(_, query)| query).collect();
    assert_eq!(queries, [watch_from(10), watch_from(12), watch_from(12)]);
}

#[test]
fn gone_as_an_event_lists_anew_and_deletes() {
    let (mut world, feed) = listed(timing());
    world.server.prepare(SERVICES, [afterwards(), quiet()]);
    feed.send(&event("ERROR", &expired()));
    check_afterwards(&mut world);
    assert_eq!(world.query(SERVICES, 3), list_from(9), "a list must not be older than what is known");
}

#[test]
fn gone_as_an_answer_lists_anew_and_deletes() {
    let (mut world, feed) = listed(timing());
    world.server.prepare(SERVICES, [Reply::refuse(&status(410, "Gone", "Gone")), afterwards(), quiet()]);
    drop(feed);
    check_afterwards(&mut world);
}

/// Load balancers answer like this while the control plane is away. The known position stays valid.
#[test]
fn a_gateways_answer_is_not_the_api_servers() {
    let (mut world, feed) = listed(timing());
    let page = "<html><body><h1>504 Gateway Time-out</h1></body></html>\n";
    for code in [504, 410, 404, 400, 422] {
        world.server.prepare(SERVICES, [Reply::text(page).with_status(code)]);
    }
    world.server.prepare(SERVICES, [Reply::lines([event("DELETED", &service("a", 10, 80))]).and_wait()]);
    drop(feed);
    world.update();
    assert_eq!(world.service_names(), ["b"]);
    let queries = world.queries(SERVICES);
    assert!(queries[1..].iter().all(|(_, query)| *query == watch_from(9)), "{queries:#?}");
    let waits = queries.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(waits.skip(2).all(|wait| wait >= Duration::from_millis(5)), "{queries:#?}");
}

/// Each watch sends a bookmark, so that it looks alive.
#[test]
fn watches_that_end_again_and_again_are_asked_for_more_and_more_slowly() {
    let timing =
        Timing { first_retry: Duration::from_millis(100), last_retry: LONG, good_after: LONG, ..timing() };
    let (world, feed) = listed(timing);
    world.server.prepare(SERVICES, (20..60).map(|version| Reply::lines([bookmark(version)])));
    drop(feed);
    // At least half of 100 + 200 + 400 + 800 ms.
    let began = Instant::now();
    world.query(SERVICES, 7);
    assert!(began.elapsed() >= Duration::from_millis(700), "{:?}", began.elapsed());
}

/// Some servers send nulls instead of omitting fields.
#[test]
fn a_reason_with_nulls_in_it_is_understood() {
    let (mut world, feed) = listed(timing());
    world.server.prepare(SERVICES, [afterwards(), quiet()]);
    let reason = json!({
        "kind": "Status", "metadata": null, "status": "Failure", "message": null, "details": null, "code": 410,
    });
    feed.send(&event("ERROR", &reason));
    check_afterwards(&mut world);
}

/// However long the server was away, a forgotten version is no reason to wait.
#[test]
fn after_an_outage_a_forgotten_version_is_made_up_for_at_once() {
    let mut waited = LONG;
    // The back-off of any other failure would be at least 1.28 s; on a slow machine the test tries again.
    for _ in 0..5 {
        waited = waited.min(wait_before_the_list(8));
        if waited < Duration::from_secs(1) {
            return;
        }
    }
    panic!("{waited:?}");
}

/// Returns the time from a watch that reports a forgotten version, after this many failures, to the next list.
fn wait_before_the_list(failures: usize) -> Duration {
    let (mut world, feed) = listed(Timing { last_retry: LONG, ..timing() });
    world.server.prepare(SERVICES, (0..failures).map(|_| unavailable()));
    world.server.prepare(SERVICES, [Reply::lines([event("ERROR", &expired())]), afterwards(), quiet()]);
    drop(feed);
    check_afterwards(&mut world);
    let queries = world.queries(SERVICES);
    // A list, a watch, the failures, a watch again, and a list.
    assert_eq!(queries[failures + 3].1, list_from(9), "{queries:#?}");
    queries[failures + 3].0 - queries[failures + 2].0
}

/// Otherwise every node would list again and again, as fast as possible.
#[test]
fn a_server_that_forgets_again_and_again_is_given_time() {
    let (mut world, feed) = listed(Timing {
        first_retry: Duration::from_secs(1),
        last_retry: LONG,
        good_after: LONG,
        ..timing()
    });
    let gone = || Reply::lines([event("ERROR", &expired())]);
    for _ in 0..3 {
        world.server.prepare(SERVICES, [afterwards(), gone()]);
    }
    world.server.prepare(SERVICES, [afterwards(), quiet()]);
    feed.send(&event("ERROR", &expired()));
    let began = Instant::now();
    assert_eq!(world.query(SERVICES, 9), list_from(50));
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    world.update();
}

/// The server refuses a list from a version that it has not reached.
#[test]
fn a_list_that_is_older_than_what_is_known_is_believed() {
    let (mut world, feed) = listed(timing());
    let mut too_large = status(504, "Timeout", "Timeout: Too large resource version: 9, current: 2");
    too_large["details"] = json!({"causes": [{"reason": "ResourceVersionTooLarge"}]});
    // The whole list is older than the known state.
    let before = list(SERVICES, 2, &[service("a", 1, 79)]);
    let (watch, more) = Reply::lines([]).and_feed();
    world.server.prepare(SERVICES, [Reply::refuse(&too_large), before, watch]);
    feed.send(&event("ERROR", &expired()));
    world.update();
    assert_eq!(world.service_names(), ["a"]);
    assert_eq!(world.port("a"), 79);
    assert_eq!(world.query(SERVICES, 4), "limit=500");
    more.send(&added(&service("b", 3, 80)));
    world.update();
    assert_eq!(world.service_names(), ["a", "b"]);
}

/// An event or a bookmark is older than the position: history was replaced, or the server cannot be trusted.
#[test]
fn what_is_older_than_the_position_leads_to_a_list() {
    for late in [event("MODIFIED", &service("a", 8, 99)), event("DELETED", &service("b", 8, 80)), bookmark(8)]
    {
        let (mut world, feed) = listed(timing());
        world.server.prepare(SERVICES, [afterwards(), quiet()]);
        feed.send(&late);
        check_afterwards(&mut world);
        assert_eq!(world.query(SERVICES, 3), "limit=500", "the newest list: {late}");
    }
}

#[test]
fn an_event_that_comes_twice_changes_nothing() {
    let (mut world, feed) = listed(timing());
    let changed = event("MODIFIED", &service("a", 12, 82));
    feed.send(&changed);
    feed.send(&changed);
    feed.send(&added(&service("end", 17, 80)));
    world.update_until(|world| world.service_names().contains(&"end"));
    assert_eq!((world.port("a"), world.queries(SERVICES).len()), (82, 2));
}

#[test]
fn a_watch_that_says_nothing_is_started_anew() {
    let (mut world, feed) = listed(Timing { idle: SHORT, ..timing() });
    feed.send(&bookmark(30));
    world.server.prepare(SERVICES, [Reply::lines([event("DELETED", &service("a", 31, 80))]).and_wait()]);
    // The first watch never ends.
    world.update();
    assert_eq!(world.service_names(), ["b"]);
    assert_eq!(world.query(SERVICES, 3), watch_from(30));
    drop(feed);
}

#[test]
fn a_watch_that_outlasts_its_time_is_started_anew() {
    let timing = Timing { watch: Duration::from_secs(1), watch_margin: Duration::ZERO, ..timing() };
    let (world, feed) = listed(timing);
    for version in 20.. {
        feed.send(&bookmark(version));
        if world.queries(SERVICES).len() > 2 {
            break;
        }
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_request_that_gets_no_answer_is_made_again() {
    let server = server_but_services();
    server.prepare(SERVICES, []);
    let mut world = World::new(server, Timing { response: SHORT, ..timing() });
    world.query(SERVICES, 2);
    world.server.prepare(SERVICES, [afterwards(), quiet()]);
    world.update();
    assert!(world.service_names().contains(&"c"));
}

#[test]
fn a_server_is_left_alone_for_as_long_as_it_asks() {
    let server = server_but_services();
    let refusal = Reply::text("Too many requests, please try again later.");
    server.prepare(SERVICES, [refusal.with_status(429).with_header("retry-after", "3")]);
    server.prepare(SERVICES, [afterwards(), quiet()]);
    // Longer than the source's own back-off.
    let mut world = World::new(server, Timing { last_retry: SHORT, ..timing() });
    world.update();
    let queries = world.queries(SERVICES);
    assert!(queries[1].0 - queries[0].0 >= Duration::from_secs(3), "{queries:?}");
}

#[test]
fn refusals_are_waited_out_however_many() {
    let server = server_but_services();
    for (code, reason) in [
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "NotFound"),
    ] {
        server.prepare(SERVICES, [Reply::refuse(&status(code, reason, "no"))]);
    }
    server.prepare(SERVICES, [Reply::text("<html>bad gateway</html>").with_status(502)]);
    server.prepare(SERVICES, [Reply::text("<html>welcome</html>")]);
    server.prepare(SERVICES, [Reply::refuse(&status(422, "Invalid", "no")), list(SERVICES, 1, &[]), quiet()]);
    let mut world = World::new(server, timing());
    world.update();
    assert!(world.services.is_empty());
}

/// After a restart the server refuses requests for a moment: the first kind that gets an answer wakes the others.
#[test]
fn a_kind_that_is_answered_wakes_the_others() {
    let prompt = (0..5).any(|_| {
        let server = server();
        let denied = || Reply::refuse(&status(403, "Forbidden", "access rules are not loaded yet"));
        let kinds = [SERVICES, Resource::EndpointSlices];
        for kind in kinds {
            server.prepare(kind, (0..7).map(|_| unavailable()));
            server.prepare(kind, [denied()]);
        }
        // From here on requests for Services succeed, and requests for slices would.
        server.prepare(SERVICES, [denied(), list(SERVICES, 9, &[]), quiet()]);
        server.prepare(Resource::EndpointSlices, (0..2).map(|_| denied()));
        server.prepare(Resource::EndpointSlices, [list(Resource::EndpointSlices, 9, &[]), quiet()]);
        let timing = Timing {
            first_retry: Duration::from_millis(100),
            last_retry: LONG,
            patience: Duration::ZERO,
            node: Duration::ZERO,
            ..timing()
        };
        let mut world = World::new(server, timing);
        world.update();
        let answered = kinds.map(|kind| world.queries(kind).last().unwrap().0);
        let apart = answered[0].max(answered[1]) - answered[0].min(answered[1]);
        apart < Duration::from_secs(1)
    });
    assert!(prompt);
}

#[test]
fn an_unusable_object_stays_what_it_was_and_others_are_served() {
    let (mut world, feed) = listed(timing());
    let broken = |version| {
        let mut object = service("a", version, 80);
        object["spec"]["ports"] = json!([{"port": 70_000}]);
        object
    };
    feed.send(&event("MODIFIED", &broken(10)));
    feed.send(&json!({"type": "ADDED", "object": "no object"}));
    feed.send(&added(&service("c", 11, 80)));
    let update = world.update();
    assert_eq!(update.changes.len(), 1, "{update:?}");
    assert_eq!(world.service_names(), ["a", "b", "c"]);
    // The same applies to a list.
    world.server.prepare(SERVICES, [list(SERVICES, 50, &[broken(20), service("b", 4, 80)]), quiet()]);
    feed.send(&event("ERROR", &expired()));
    world.update();
    assert_eq!(world.service_names(), ["a", "b"]);
    assert_eq!(world.port("a"), 80);
}
