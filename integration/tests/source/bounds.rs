//! Bounds of answers: nothing grows without bound, and nothing takes forever.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use portolan::source::cluster::Timing;
use portolan_integration::{Reply, Resource};
use serde_json::json;

use crate::world::*;

const SERVICES: Resource = Resource::Services;

/// Returns the peak memory of this process, which includes the server, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Runs a source whose second list is bad, and asserts that it then uses a good list.
#[track_caller]
fn survives(bad: impl IntoIterator<Item = Reply>, timing: Timing) -> World {
    let server = server_but_services();
    let (watch, feed) = Reply::lines([]).and_feed();
    server.prepare(SERVICES, [list(SERVICES, 9, &[service("a", 3, 80)]), watch]);
    server.prepare(SERVICES, bad);
    server.prepare(SERVICES, [list(SERVICES, 40, &[service("b", 4, 80)]), quiet()]);
    let mut world = World::new(server, timing);
    world.update();
    feed.send(&event("ERROR", &expired()));
    world.update();
    assert_eq!(world.service_names(), ["b"], "the good list");
    world
}

#[test]
fn a_line_without_an_end_is_given_up() {
    let server = server_but_services();
    let (watch, feed) = Reply::lines([]).and_feed();
    let endless = Reply::text("x".repeat(1 << 16)).and_repeat();
    server.prepare(SERVICES, [list(SERVICES, 9, &[service("a", 3, 80)]), watch, endless]);
    server.prepare(SERVICES, [list(SERVICES, 40, &[service("b", 4, 80)]), quiet()]);
    let mut world = World::new(server, timing());
    world.update();
    let before = peak();
    drop(feed);
    world.update();
    assert_eq!(world.service_names(), ["b"]);
    let after = peak();
    // Twice the limit: before the connection ends, the server may be far ahead.
    assert!(after < before + (64 << 10), "{before} KiB, then {after}");
}

#[test]
fn an_item_without_an_end_is_given_up() {
    let before = peak();
    let begin = r#"{"kind":"ServiceList","items":[{"metadata":{"name":""#;
    survives([Reply::text(begin.to_owned() + &"x".repeat(1 << 16)).and_repeat()], timing());
    let after = peak();
    assert!(after < before + (64 << 10), "{before} KiB, then {after}");
}

/// Sixteen megabytes compressed to a few kilobytes.
#[test]
fn an_item_without_an_end_is_given_up_compressed_as_well() {
    let before = peak();
    let mut bomb = br#"{"kind":"ServiceList","items":[{"metadata":{"name":""#.to_vec();
    bomb.resize(16 << 20, b'x');
    let bomb = gzip(&bomb);
    assert!(bomb.len() < 128 << 10);
    survives([Reply::bytes(bomb).with_header("content-encoding", "gzip")], timing());
    let after = peak();
    assert!(after < before + (64 << 10), "{before} KiB, then {after}");
}

#[test]
fn a_token_that_repeats_is_not_followed() {
    let page = || {
        let mut page = service_list(30, &[service("c", 3, 80)]);
        page["metadata"]["continue"] = json!("again");
        Reply::json(&page)
    };
    let world = survives([page(), page()], timing());
    let queries = world.queries(SERVICES);
    let followed = queries.iter().filter(|(_, query)| query.starts_with("continue=")).count();
    assert_eq!(followed, 1, "{queries:#?}");
}

/// The list sends something all the time, so that it is never silent.
#[test]
fn a_list_that_drips_is_given_up() {
    let (drip, feed) =
        Reply::text(r#"{"kind":"ServiceList","metadata":{"resourceVersion":"30"},"items":["#).and_feed();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            while !is_over.load(Ordering::Relaxed) && began.elapsed() < 2 * LONG {
                feed.send_text(" ");
                thread::sleep(Duration::from_millis(50));
            }
        });
        survives([drip], Timing { list: SHORT, ..timing() });
        is_over.store(true, Ordering::Relaxed);
    });
}
