//! Lists in one piece and in pages, and answers that are not lists.

use std::time::Duration;

use portolan::source::cluster::{Options, Timing};
use portolan_integration::{ApiServer, Reply, Resource};
use serde_json::{Value, json};

use crate::world::*;

const SERVICES: Resource = Resource::Services;
/// The first request for each kind.
const LISTED: &str = "limit=500&resourceVersion=0";

#[test]
fn nothing_is_sent_before_services_and_slices_are_listed() {
    let server = server();
    let (reply, services) = Reply::text("").and_feed();
    // This change must not be sent alone.
    server.prepare(SERVICES, [reply, Reply::lines([added(&service("api", 10, 443))]).and_wait()]);
    let (reply, slices) = Reply::text("").and_feed();
    server.prepare(Resource::EndpointSlices, [reply, quiet()]);
    let node = json!({"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "a"}}});
    server.prepare(Resource::Nodes, [list(Resource::Nodes, 9, &[node]), quiet()]);
    let cidr = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16"]}});
    server.prepare(Resource::ServiceCidrs, [list(Resource::ServiceCidrs, 9, &[cidr]), quiet()]);
    let mut world = World::new(server, timing());
    world.is_quiet();
    services.send(&service_list(9, &[service("web", 3, 80)]));
    drop(services);
    world.query(SERVICES, 2);
    world.is_quiet();
    slices.send(&document(Resource::EndpointSlices, 9, &[slice("web-1", 4, &["10.0.0.1"])]));
    world.is_quiet();
    drop(slices);

    // Everything at once, except what is still in transit.
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
        assert_eq!(world.query(resource, 1), LISTED);
        world.query(resource, 2);
    }
    // The watches do not all end at the same time.
    let requests = world.server.requests();
    let timeouts = requests.iter().filter_map(|request| request.query.get("timeoutSeconds"));
    let seconds: Vec<u32> = timeouts.map(|seconds| seconds.parse().unwrap()).collect();
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

/// Prepares a list of two pages, as a server without a watch cache sends it.
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
fn a_list_in_pages_is_read() {
    let server = server_but_services();
    pages(&server);
    check_pages(World::new(server, timing()), &[]);
}

/// A server sends long lists in one piece from its cache, compressed.
#[test]
fn a_compressed_list_is_read() {
    let text = service_list(7, &[service("web", 4, 80)]).to_string();
    for (compressed, is_good) in [(gzip(text.as_bytes()), true), (gzip(&text.as_bytes()[..50]), false)] {
        let server = server_but_services();
        let list = Reply::bytes(compressed).with_header("content-encoding", "gzip");
        server.prepare(SERVICES, [list, Reply::lines([added(&service("zoo", 8, 80))]).and_wait()]);
        let mut world = World::new(server, timing());
        if is_good {
            world.update_until(|world| world.service_names() == ["web", "zoo"]);
            let requests = world.server.requests();
            let of_services = requests.iter().filter(|request| request.resource == Some(SERVICES));
            assert_eq!(of_services.map(|it| it.takes_gzip).collect::<Vec<_>>(), [true, false]);
        } else {
            world.query(SERVICES, 2);
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
        let lists: Vec<String> = queries.filter(|query| !query.contains("watch=")).collect();
        assert_eq!(lists[0], LISTED);
        assert_eq!(lists.len() > 1, relist.is_some(), "{lists:#?}");
        // The lists come from the server's cache.
        assert!(lists.iter().all(|query| query.contains("resourceVersion=")), "{lists:#?}");
    }
}

/// Old servers answer a list with a limit and a version from etcd.
#[test]
fn a_later_list_has_no_limit() {
    let server = server_but_services();
    let (watch, feed) = Reply::lines([]).and_feed();
    let first = list(SERVICES, 7, &[service("web", 4, 80)]);
    server.prepare(SERVICES, [first, watch, list(SERVICES, 9, &[service("api", 4, 80)])]);
    let mut world = World::new(server, timing());
    world.update();
    feed.send(&event("ERROR", &expired()));
    world.update();
    assert_eq!(world.service_names(), ["api"]);
    assert_eq!(world.query(SERVICES, 3), "resourceVersion=7");
}

#[test]
fn a_token_that_expired_begins_the_list_anew() {
    let server = server_but_services();
    let mut page = service_list(7, &[service("gone", 3, 80)]);
    page["metadata"]["continue"] = json!("x");
    let expired = status(410, "Expired", "The provided continue parameter is too old");
    server.prepare(SERVICES, [Reply::json(&page), Reply::refuse(&expired)]);
    // The new list is the newest state, which does no harm.
    let mut page = service_list(7, &[service("api", 3, 80)]);
    page["metadata"]["continue"] = json!("a b");
    server.prepare(SERVICES, [Reply::json(&page), list(SERVICES, 7, &[service("web", 4, 80)]), quiet()]);
    let mut world = World::new(server, timing());
    world.update();
    assert_eq!(world.service_names(), ["api", "web"]);
    let queries = [1, 2, 3, 4].map(|number| world.query(SERVICES, number));
    assert_eq!(queries, [LISTED, "continue=x&limit=500", LISTED, "continue=a b&limit=500"]);
}

#[test]
fn a_list_that_breaks_off_is_not_taken_for_one() {
    let server = server_but_services();
    let mut cut = service_list(7, &[service("half", 3, 80)]).to_string();
    cut.truncate(cut.len() - 2);
    server.prepare(SERVICES, [Reply::text(&*cut).and_break(), Reply::text(cut)]);
    pages(&server);
    check_pages(World::new(server, timing()), &[LISTED, LISTED]);
}

/// Every kind of answer that is not a list: no object is deleted, and the next valid list is used.
#[test]
fn what_is_not_a_list_deletes_nothing() {
    let of = |items: Value| {
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
        of(json!({})).to_string(),
        of(json!([service("b", 4, 80), "no object"])).to_string(),
        of(json!([service("b", 4, 80), null])).to_string(),
        of(json!([service("b", 4, 80), nameless])).to_string(),
        text.replacen("\"port\":80", "\"port\":80,,", 1),
        text[..text.len() - 1].to_owned(),
        "<html>welcome</html>".to_owned(),
        String::new(),
    ];
    let server = server_but_services();
    let known = [service("a", 3, 80), service("b", 4, 80)];
    let (watch, feed) = Reply::lines([]).and_feed();
    server.prepare(SERVICES, [list(SERVICES, 9, &known), watch]);
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
    assert_eq!(world.service_names(), ["b"], "deleted by the valid list, and by no answer before it");
}

#[test]
fn an_empty_list_after_objects_counts_only_the_second_time() {
    let server = server_but_services();
    let known = || list(SERVICES, 9, &[service("a", 3, 80)]);
    let (watch, feed) = Reply::lines([]).and_feed();
    let (again, more) = Reply::lines([]).and_feed();
    let empty = || list(SERVICES, 30, &[]);
    server.prepare(SERVICES, [known(), watch, empty(), known(), again, empty(), empty(), quiet()]);
    let mut world = World::new(server, timing());
    world.update();
    feed.send(&event("ERROR", &expired()));
    world.update();
    assert_eq!(world.service_names(), ["a"], "the list after the empty one");
    more.send(&event("ERROR", &expired()));
    world.update();
    assert!(world.services.is_empty());
    let queries = world.queries(SERVICES);
    assert!(queries[6].0 - queries[5].0 >= Duration::from_millis(5), "not at once: {queries:#?}");
}
