//! The source reads recorded answers of a real API server, byte for byte.

use std::{collections::BTreeSet, time::Duration};

use portolan::source::cluster::Timing;
use portolan_integration::{Feed, Recording, Reply, Resource};

use crate::world::*;

use Resource::{EndpointSlices, Services};

/// Returns the recorded answer; all lines of a watch come at once.
fn recorded(name: &str) -> Reply {
    let recording = Recording::named(name);
    let reply = if recording.is_protobuf() {
        let kind = recording.headers.iter().find(|(name, _)| name == "content-type");
        let (_, kind) = kind.unwrap_or_else(|| panic!("{name} has a type"));
        Reply::bytes(recording.bytes()).with_header("content-type", kind)
    } else {
        Reply::text(recording.body)
    };
    let reply = reply.with_status(recording.status);
    let asked = Recording::named(name).headers.into_iter().find(|(name, _)| name == "retry-after");
    match asked {
        Some((_, seconds)) => reply.with_header("retry-after", &seconds),
        None => reply,
    }
}

/// A world whose Services are listed, and their watch.
fn listed() -> (World, Feed) {
    let server = server_but_services();
    let (watch, feed) = Reply::lines([]).and_feed();
    server.prepare(Services, [recorded("list-json"), watch]);
    let mut world = World::new(server, timing());
    world.update();
    assert_eq!(world.service_names(), names("list-json"));
    (world, feed)
}

fn names(list: &str) -> Vec<String> {
    let list = Recording::named(list).json().unwrap();
    let items = list["items"].as_array().unwrap();
    let names: BTreeSet<_> =
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    names.into_iter().collect()
}

/// Returns the parameter `resourceVersion` of a request.
fn version(query: &str) -> Option<&str> {
    query.split('&').find_map(|parameter| parameter.strip_prefix("resourceVersion="))
}

#[test]
fn a_list_is_read() {
    let (world, _feed) = listed();
    assert!(world.services.len() > 1);
    let query = world.query(Services, 2);
    assert_eq!(version(&query), Some("13310"), "{query}");
}

#[test]
fn a_list_in_protobuf_is_what_it_is_in_json() {
    let (json, _feed) = listed();
    let server = server_but_services();
    server.prepare(Services, [recorded("list-protobuf"), quiet()]);
    let mut world = World::new(server, timing());
    world.update();
    assert_eq!(world.services, json.services);
    let query = world.query(Services, 2);
    assert_eq!(version(&query), Some("13311"), "{query}");
}

#[test]
fn events_in_protobuf_are_read() {
    let server = quiet_server([Services, Resource::Nodes, Resource::ServiceCidrs]);
    let watch = recorded("watch-initial-events-protobuf").and_wait();
    server.prepare(EndpointSlices, [list(EndpointSlices, 1, &[]), watch]);
    let mut world = World::new(server, timing());
    world.update_until(|world| !world.slices.is_empty());
    assert_eq!(world.slices.keys().map(|name| &*name.name).collect::<Vec<_>>(), ["recorded-1-a"]);

    let server = quiet_server([Services, Resource::Nodes, Resource::ServiceCidrs]);
    let replies = [list(EndpointSlices, 6_999, &[]), recorded("watch-protobuf"), quiet()];
    server.prepare(EndpointSlices, replies);
    let mut world = World::new(server, timing());
    let query = world.query(EndpointSlices, 3);
    assert_eq!(version(&query), Some("7186"), "the last bookmark: {query}");
    world.update_until(|world| {
        let endpoints = world.slices.values().flat_map(|slice| &slice.endpoints);
        endpoints.map(|endpoint| endpoint.address.to_string()).eq(["192.0.2.9"])
    });
}

#[test]
fn a_list_in_pages_is_read() {
    let server = server_but_services();
    server.prepare(Services, ["list-page-1", "list-page-2", "list-json"].map(recorded));
    server.prepare(Services, [quiet()]);
    let mut world = World::new(server, timing());
    world.update();
    assert_eq!(world.service_names(), names("list-json"));
    for (number, page) in [(2, "list-page-1"), (3, "list-page-2")] {
        let list = Recording::named(page).json().unwrap();
        let token = list["metadata"]["continue"].as_str().unwrap();
        assert_eq!(world.query(Services, number), format!("continue={token}&limit=500"));
    }
}

#[test]
fn a_watch_that_ends_and_a_version_that_is_forgotten_are_read() {
    let server = quiet_server([Services, Resource::Nodes, Resource::ServiceCidrs]);
    let watches = ["watch-initial-events", "watch-old-version"].map(recorded);
    let empty = || list(EndpointSlices, 11_600, &[]);
    server.prepare(EndpointSlices, [list(EndpointSlices, 1, &[])]);
    server.prepare(EndpointSlices, watches);
    server.prepare(EndpointSlices, [empty(), quiet()]);
    let mut world = World::new(server, timing());
    world.update_until(|world| !world.slices.is_empty());
    assert_eq!(world.slices.keys().map(|name| &*name.name).collect::<Vec<_>>(), ["recorded-1-a"]);
    // The watch ended after a bookmark, whose version the server has forgotten.
    let queries = [3, 4].map(|number| world.query(EndpointSlices, number));
    assert_eq!(queries.each_ref().map(|query| version(query)), [Some("11568"); 2], "{queries:?}");
    assert!(queries[0].contains("watch=true") && !queries[1].contains("watch=true"), "{queries:?}");
    // The next list is empty, which takes effect only the second time.
    world.query(EndpointSlices, 5);
    assert!(!world.slices.is_empty());
}

#[test]
fn the_events_of_a_watch_are_read() {
    let server = quiet_server([Services, Resource::Nodes, Resource::ServiceCidrs]);
    server.prepare(EndpointSlices, [list(EndpointSlices, 6800, &[]), recorded("watch-json"), quiet()]);
    let mut world = World::new(server, timing());
    world.update_until(|world| !world.slices.is_empty());
    let query = world.query(EndpointSlices, 3);
    assert_eq!(version(&query), Some("6933"), "the last bookmark: {query}");
    world.inbox.take();
    assert_eq!(world.slices.len(), 1);
}

/// For a version that it has not reached, a real server refuses a list, and sends nothing to a watch.
#[test]
fn a_version_that_the_server_has_not_reached_is_dropped() {
    let (mut world, feed) = listed();
    world.server.prepare(Services, [recorded("list-future-version")]);
    world.server.prepare(Services, [list(Services, 3, &[service("old", 2, 80)]), quiet()]);
    feed.send(&event("ERROR", &expired()));
    world.update();
    assert_eq!(world.service_names(), ["old"]);
    assert_eq!(world.query(Services, 3), "resourceVersion=13310");
    assert_eq!(world.query(Services, 4), "limit=500");

    let one = || list(EndpointSlices, 3, &[slice("web-1", 2, &["10.0.0.1"])]);
    let server = quiet_server([Services, Resource::Nodes, Resource::ServiceCidrs]);
    let future = recorded("watch-initial-events-future");
    server.prepare(EndpointSlices, [list(EndpointSlices, 99_999_999, &[]), future, one(), quiet()]);
    let mut world = World::new(server, timing());
    world.update_until(|world| world.slices.len() == 1);
    assert_eq!(world.query(EndpointSlices, 3), "limit=500");

    let server = quiet_server([Services, Resource::Nodes, Resource::ServiceCidrs]);
    server.prepare(EndpointSlices, [list(EndpointSlices, 99_999_999, &[]), quiet()]);
    // The server sends nothing to the watch, until the source verifies the position.
    server.prepare_exact(EndpointSlices, recorded("list-future-version-exact"));
    server.prepare(EndpointSlices, [one(), quiet()]);
    let mut world = World::new(server, Timing { idle: Duration::from_millis(500), ..timing() });
    world.update_until(|world| !world.slices.is_empty());
    assert_eq!(world.query(EndpointSlices, 3), "limit=500");
}

/// Whatever the refusal, no object is deleted, and the next list is used.
#[test]
fn every_refusal_is_survived() {
    let refusals: Vec<_> = Recording::all().into_iter().filter(|recording| recording.status >= 400).collect();
    assert!(refusals.len() > 10);
    let (mut world, feed) = listed();
    for refusal in &refusals {
        world.server.prepare(Services, [recorded(&refusal.name)]);
    }
    let last = Reply::json(&service_list(20_000, &[service("last", 15_000, 80)]));
    world.server.prepare(Services, [last, quiet()]);
    feed.send(&event("ERROR", &expired()));
    let before = world.services.len();
    world.update();
    assert_eq!(world.service_names(), ["last"], "and {before} until then");
}
