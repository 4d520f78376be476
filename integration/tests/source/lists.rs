//! How everything is listed: as a stream, or in pages; and what is not a list.

use std::time::Duration;

use portolan::source::cluster::{Options, Timing};
use portolan_integration::{ApiServer, Reply, Resource};
use serde_json::{Value, json};

use crate::world::*;

const SERVICES: Resource = Resource::Services;
const STREAMED: &str = "allowWatchBookmarks=true&resourceVersion=0&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&watch=true";

#[test]
fn nothing_is_sent_before_services_and_slices_are_listed() {
    let server = server();
    let (reply, services) = Reply::lines([added(&service("web", 3, 80))]).and_feed();
    server.prepare(SERVICES, [reply]);
    let (reply, slices) = Reply::lines([]).and_feed();
    server.prepare(Resource::EndpointSlices, [reply]);
    let node = json!({"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "a"}}});
    server.prepare(Resource::Nodes, [Reply::lines([added(&node), initial_events_end(9)]).and_wait()]);
    let cidr = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16"]}});
    server.prepare(Resource::ServiceCidrs, [Reply::lines([added(&cidr), initial_events_end(9)]).and_wait()]);
    let mut world = World::new(server, timing());
    world.is_quiet();
    services.send(&initial_events_end(9));
    // Already a change, but not one that may be sent alone.
    services.send(&added(&service("api", 10, 443)));
    world.is_quiet();
    slices.send(&added(&slice("web-1", 4, &["10.0.0.1"])));
    world.is_quiet();
    slices.send(&initial_events_end(9));

    // Everything at once, but for what is still under way.
    let update = world.update();
    assert!(update.changes.len() >= 4, "{update:?}");
    world.update_until(|world| world.service_names() == ["api", "web"]);
    assert_eq!(world.slices.len(), 1);
    assert_eq!(world.node.as_ref().unwrap().zone.as_deref(), Some("a"));
    assert_eq!(world.cidrs, ["10.96.0.0/16"]);

    let requests = world.server.requests();
    let selectors = |resource| {
        let query = &requests.iter().find(|request| request.resource == Some(resource)).unwrap().query;
        ["labelSelector", "fieldSelector"].map(|name| query.get(name).map_or("", String::as_str))
    };
    for (resource, expected) in [
        (SERVICES, ["!service.kubernetes.io/service-proxy-name", "spec.clusterIP!=None"]),
        (
            Resource::EndpointSlices,
            [
                "!service.kubernetes.io/headless,kubernetes.io/service-name,!service.kubernetes.io/service-proxy-name",
                "",
            ],
        ),
        (Resource::Nodes, ["", "metadata.name=n1"]),
        (Resource::ServiceCidrs, ["", ""]),
    ] {
        assert_eq!(selectors(resource), expected);
        assert_eq!(world.query(resource, 1), STREAMED);
    }
    // Not all end at the same time.
    let seconds: Vec<u32> =
        requests.iter().map(|request| request.query["timeoutSeconds"].parse().unwrap()).collect();
    assert!(seconds.len() == 4 && seconds.iter().all(|seconds| (300..=600).contains(seconds)), "{seconds:?}");
}

#[test]
fn with_a_proxy_name_only_its_services_are_asked_for() {
    let options = Options { proxy_name: Some("mesh".into()), ..options(timing()) };
    let world = World::with_options(server(), options);
    world.query(SERVICES, 1);
    let requests = world.server.requests();
    let request = requests.iter().find(|request| request.resource == Some(SERVICES)).unwrap();
    assert_eq!(request.query["labelSelector"], "service.kubernetes.io/service-proxy-name=mesh");
}

/// A list of two pages, as a server without streaming lists gives them.
fn pages(server: &ApiServer) {
    let mut page = service_list(7, &[service("api", 3, 80), json!({"metadata": {"name": "NO NAME"}})]);
    page["metadata"]["continue"] = json!("a b");
    page["metadata"]["remainingItemCount"] = json!(1);
    server.prepare(
        SERVICES,
        [
            Reply::json(&page),
            Reply::json(&service_list(7, &[service("web", 4, 80)])),
            Reply::lines([added(&service("zoo", 8, 80))]).and_wait(),
        ],
    );
}

#[track_caller]
fn check_pages(mut world: World, before: &[&str]) {
    // The first event of the watch may come together with the list.
    world.update_until(|world| world.service_names().contains(&"zoo"));
    assert_eq!(world.service_names(), ["api", "web", "zoo"]);
    let queries: Vec<String> = world.queries(SERVICES).into_iter().map(|(_, query)| query).collect();
    let pages = [
        "limit=500&resourceVersion=0",
        "continue=a b&limit=500",
        "allowWatchBookmarks=true&resourceVersion=7&watch=true",
    ];
    assert_eq!(queries, [before, &pages].concat());
}

#[test]
fn a_server_that_refuses_streaming_lists_is_listed_in_pages() {
    let server = server_but_services();
    server.prepare(SERVICES, [Reply::refuse(&status(422, "Invalid", "sendInitialEvents is forbidden"))]);
    pages(&server);
    check_pages(World::new(server, timing()), &[STREAMED]);
}

#[test]
fn a_server_that_never_ends_initial_events_is_listed_in_pages() {
    let server = server_but_services();
    server.prepare(SERVICES, [Reply::lines([added(&service("web", 4, 80))]).and_wait()]);
    pages(&server);
    check_pages(World::new(server, Timing { initial_events: SHORT, ..timing() }), &[STREAMED]);
}

#[test]
fn a_server_that_takes_it_for_any_other_watch_is_listed_in_pages() {
    let server = server_but_services();
    server.prepare(SERVICES, [Reply::lines([added(&service("web", 4, 80)), bookmark(7)]).and_wait()]);
    pages(&server);
    check_pages(World::new(server, timing()), &[STREAMED]);
}

#[test]
fn a_server_that_ends_initial_events_early_is_listed_in_pages() {
    let server = server_but_services();
    server.prepare(SERVICES, [Reply::lines([])]);
    pages(&server);
    check_pages(World::new(server, timing()), &[STREAMED]);
}

/// Silence is no refusal: the next list is a streaming one again, as a server that is short of memory wants it.
#[test]
fn streaming_lists_come_back_after_silence() {
    let server = server_but_services();
    server.prepare(
        SERVICES,
        [Reply::lines([]).and_wait(), Reply::json(&service_list(7, &[service("web", 4, 80)]))],
    );
    let (watch, feed) = Reply::lines([bookmark(8)]).and_feed();
    server.prepare(SERVICES, [watch, Reply::lines([initial_events_end(9)]).and_wait()]);
    let mut world = World::new(server, Timing { initial_events: SHORT, ..timing() });
    world.update();
    feed.send(&event("ERROR", &expired()));
    assert_eq!(world.query(SERVICES, 4), STREAMED.replace("resourceVersion=0", "resourceVersion=8"));
}

/// As a server without streaming lists sends long ones: in one piece from its cache, compressed.
#[test]
fn a_compressed_list_is_read() {
    let text = service_list(7, &[service("web", 4, 80)]).to_string();
    for (compressed, is_good) in [(gzip(text.as_bytes()), true), (gzip(&text.as_bytes()[..50]), false)] {
        let server = server_but_services();
        let refusal = Reply::refuse(&status(422, "Invalid", "sendInitialEvents is forbidden"));
        let list = Reply::bytes(compressed).with_header("content-encoding", "gzip");
        server.prepare(SERVICES, [refusal, list]);
        server.prepare(SERVICES, [Reply::lines([added(&service("zoo", 8, 80))]).and_wait()]);
        let mut world = World::new(server, timing());
        if is_good {
            world.update_until(|world| world.service_names() == ["web", "zoo"]);
            let requests = world.server.requests();
            let of_services = requests.iter().filter(|request| request.resource == Some(SERVICES));
            assert_eq!(of_services.map(|it| it.takes_gzip).collect::<Vec<_>>(), [false, true, false]);
        } else {
            world.query(SERVICES, 3);
            world.is_quiet();
        }
    }
}

#[test]
fn everything_is_listed_anew_only_if_that_is_asked_for() {
    let watch = Duration::from_secs(2);
    for relist in [None, Some(Duration::from_millis(10))] {
        let mut world = World::new(server(), Timing { watch, relist, ..timing() });
        world.update();
        // Watches end, and the next begin.
        world.query(SERVICES, 4);
        let queries = world.queries(SERVICES).into_iter().map(|(_, query)| query);
        let lists: Vec<String> = queries.filter(|query| query.contains("sendInitialEvents")).collect();
        assert_eq!(lists[0], STREAMED);
        assert_eq!(lists.len() > 1, relist.is_some(), "{lists:#?}");
        // From the server's cache.
        assert!(
            lists.iter().all(|query| query.contains("NotOlderThan") && query.contains("resourceVersion="))
        );
    }
}

/// Old servers read a list with a limit and a version from etcd.
#[test]
fn a_later_list_has_no_limit() {
    let server = server_but_services();
    let refusal = status(422, "Invalid", "sendInitialEvents is forbidden");
    server.prepare(
        SERVICES,
        [Reply::refuse(&refusal), Reply::json(&service_list(7, &[service("web", 4, 80)]))],
    );
    let (watch, feed) = Reply::lines([]).and_feed();
    server.prepare(SERVICES, [watch, Reply::json(&service_list(9, &[service("api", 4, 80)]))]);
    let mut world = World::new(server, timing());
    world.update();
    feed.send(&event("ERROR", &expired()));
    world.update();
    assert_eq!(world.service_names(), ["api"]);
    assert_eq!(world.query(SERVICES, 4), "resourceVersion=7");
}

#[test]
fn a_token_that_expired_begins_the_list_anew() {
    let server = server_but_services();
    let mut page = service_list(7, &[service("gone", 3, 80)]);
    page["metadata"]["continue"] = json!("x");
    let expired = status(410, "Expired", "The provided continue parameter is too old");
    let refusal = status(400, "BadRequest", "unknown parameter");
    server.prepare(SERVICES, [Reply::refuse(&refusal), Reply::json(&page), Reply::refuse(&expired)]);
    pages(&server);
    let first = "limit=500&resourceVersion=0";
    check_pages(World::new(server, timing()), &[STREAMED, first, "continue=x&limit=500"]);
}

#[test]
fn a_list_that_breaks_off_is_not_taken_for_one() {
    let server = server_but_services();
    server.prepare(SERVICES, [Reply::lines([added(&service("half", 4, 80))]).and_break()]);
    server.prepare(SERVICES, [Reply::refuse(&status(422, "Invalid", "no"))]);
    let mut cut = service_list(7, &[service("half", 3, 80)]).to_string();
    cut.truncate(cut.len() - 2);
    server.prepare(SERVICES, [Reply::text(cut)]);
    pages(&server);
    check_pages(World::new(server, timing()), &[STREAMED, STREAMED, "limit=500&resourceVersion=0"]);
}

/// Everything that a list may be instead of a list: nothing goes, and the list that is one is taken up.
#[test]
fn what_is_not_a_list_deletes_nothing() {
    let list = |items: Value| {
        let mut list = service_list(30, &[]);
        list["items"] = items;
        list
    };
    let with = |field: &str, value: Value| {
        let mut list = service_list(30, &[service("b", 4, 80)]);
        list[field] = value;
        list
    };
    let mut nameless = service("a", 3, 80);
    nameless["metadata"].as_object_mut().unwrap().remove("name");
    let text = service_list(30, &[service("a", 3, 80), service("b", 4, 80)]).to_string();
    let answers = [
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {"resourceVersion": "30"}}).to_string(),
        json!({"metadata": {"resourceVersion": "30"}}).to_string(),
        with("kind", json!("PodList")).to_string(),
        with("kind", json!(null)).to_string(),
        with("metadata", json!({})).to_string(),
        list(json!({})).to_string(),
        list(json!([service("b", 4, 80), "no object"])).to_string(),
        list(json!([service("b", 4, 80), null])).to_string(),
        list(json!([service("b", 4, 80), nameless])).to_string(),
        text.replacen("\"port\":80", "\"port\":80,,", 1),
        text[..text.len() - 1].to_owned(),
        "<html>welcome</html>".to_owned(),
        String::new(),
    ];
    let server = server_but_services();
    let refusal = || Reply::refuse(&status(422, "Invalid", "sendInitialEvents is forbidden"));
    let known = [service("a", 3, 80), service("b", 4, 80)];
    let (watch, feed) = Reply::lines([]).and_feed();
    server.prepare(SERVICES, [refusal(), Reply::json(&service_list(9, &known)), watch]);
    for answer in &answers {
        server.prepare(SERVICES, [Reply::text(answer)]);
    }
    server.prepare(
        SERVICES,
        [Reply::json(&service_list(40, &[service("b", 4, 80)])), Reply::lines([]).and_wait()],
    );
    let mut world = World::new(server, timing());
    world.update();
    assert_eq!(world.service_names(), ["a", "b"]);
    feed.send(&event("ERROR", &expired()));
    world.update();
    assert_eq!(world.service_names(), ["b"], "by the list that is one, and by nothing before it");
}

/// The same of the initial events of a watch.
#[test]
fn a_streaming_list_with_an_object_that_cannot_be_decoded_is_not_taken_up() {
    let server = server_but_services();
    let (watch, feed) =
        Reply::lines([added(&service("a", 3, 80)), added(&service("b", 4, 80)), initial_events_end(9)])
            .and_feed();
    let garbled = [added(&service("b", 4, 80)), added(&json!("a")), initial_events_end(30)];
    server.prepare(SERVICES, [watch, Reply::lines(garbled).and_wait()]);
    server.prepare(
        SERVICES,
        [Reply::json(&service_list(40, &[service("b", 4, 80)])), Reply::lines([]).and_wait()],
    );
    let mut world = World::new(server, timing());
    world.update();
    feed.send(&event("ERROR", &expired()));
    world.update();
    assert_eq!(world.service_names(), ["b"]);
    assert_eq!(world.query(SERVICES, 3), "resourceVersion=9", "by the next list");
}

#[test]
fn an_empty_list_after_objects_counts_only_the_second_time() {
    let server = server_but_services();
    let known = || [added(&service("a", 3, 80)), initial_events_end(9)];
    let (watch, feed) = Reply::lines(known()).and_feed();
    let (again, more) = Reply::lines(known()).and_feed();
    let empty = || Reply::lines([initial_events_end(30)]).and_wait();
    server.prepare(SERVICES, [watch, empty(), again, empty(), empty()]);
    let mut world = World::new(server, timing());
    world.update();
    feed.send(&event("ERROR", &expired()));
    world.update();
    assert_eq!(world.service_names(), ["a"], "the list after the empty one");
    more.send(&event("ERROR", &expired()));
    world.update();
    assert!(world.services.is_empty());
    let queries = world.queries(SERVICES);
    assert_eq!(queries.len(), 5, "{queries:#?}");
    assert!(queries[4].0 - queries[3].0 >= Duration::from_millis(5), "not at once");
}
