//! How everything is listed: as a stream, or in pages.

use super::*;

#[tokio::test]
async fn nothing_is_sent_before_services_and_slices_are_listed() {
    let server = Server::new();
    let (reply, services) = Reply::lines([added(&service("web", 3, 80))]).and_feed();
    server.reply(SERVICES, reply);
    let (reply, slices) = Reply::lines([]).and_feed();
    server.reply(SLICES, reply);
    let node = json!({"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "a"}}});
    server.reply(NODES, Reply::lines([added(&node), initial_events_end(9)]).and_wait());
    let cidr = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16"]}});
    server.reply(CIDRS, Reply::lines([added(&cidr), initial_events_end(9)]).and_wait());
    let mut world = World::new(server, timing(), None);
    world.is_quiet().await;
    services.send(&initial_events_end(9));
    // Already a change, but not one that may be sent alone.
    services.send(&added(&service("api", 10, 443)));
    world.is_quiet().await;
    slices.send(&added(&slice("web-1", 4, &["10.0.0.1"])));
    world.is_quiet().await;
    slices.send(&initial_events_end(9));

    world.update().await;
    assert_eq!(world.service_names(), ["api", "web"]);
    assert_eq!(world.slices.len(), 1);
    assert_eq!(world.node.as_ref().unwrap().zone.as_deref(), Some("a"));
    assert_eq!(world.cidrs, ["10.96.0.0/16"]);

    let queries = |path| world.server.queries(path).into_iter().map(|(_, query)| query).collect::<Vec<_>>();
    let watch =
        "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let selectors =
        "labelSelector=!service.kubernetes.io/service-proxy-name&fieldSelector=spec.clusterIP!=None";
    assert_eq!(queries(SERVICES), [format!("{selectors}&{watch}")]);
    let selectors = "labelSelector=!service.kubernetes.io/headless,kubernetes.io/service-name";
    assert_eq!(queries(SLICES), [format!("{selectors}&{watch}")]);
    assert_eq!(queries(NODES), [format!("fieldSelector=metadata.name=n1&{watch}")]);
    assert_eq!(queries(CIDRS), [watch]);
    // Not all end at the same time.
    let requests = world.server.requests();
    let seconds =
        requests.iter().filter_map(|request| request.split_once("&timeoutSeconds=")?.1.split('&').next());
    let seconds: Vec<u32> = seconds.map(|seconds| seconds.parse().unwrap()).collect();
    assert!(seconds.len() == 4 && seconds.iter().all(|seconds| (300..=600).contains(seconds)), "{seconds:?}");
}

#[tokio::test]
async fn with_a_proxy_name_only_its_services_are_asked_for() {
    let world = World::new(Server::new(), timing(), Some("mesh"));
    let query = world.server.query(SERVICES, 1).await;
    assert!(query.starts_with("labelSelector=service.kubernetes.io/service-proxy-name=mesh&"), "{query}");
}

/// A list of two pages, as a server without streaming lists gives them.
fn pages(server: &Server) {
    let page = json!({
        "kind": "ServiceList", "apiVersion": "v1",
        "metadata": {"resourceVersion": "7", "continue": "a b", "remainingItemCount": 1},
        "items": [service("api", 3, 80), "no object", {"metadata": {"name": "NO NAME"}}],
    });
    server.reply(SERVICES, Reply::json(&page));
    let page = json!({"metadata": {"resourceVersion": "7"}, "items": [service("web", 4, 80)]});
    server.reply(SERVICES, Reply::json(&page));
    server.reply(SERVICES, Reply::lines([added(&service("zoo", 8, 80))]).and_wait());
}

async fn check_pages(mut world: World, first: usize) {
    // The first event of the watch may come together with the list.
    while !world.service_names().contains(&"zoo") {
        world.update().await;
    }
    assert_eq!(world.service_names(), ["api", "web", "zoo"]);
    let selectors =
        "labelSelector=!service.kubernetes.io/service-proxy-name&fieldSelector=spec.clusterIP!=None";
    let queries: Vec<String> = world.server.queries(SERVICES).into_iter().map(|(_, query)| query).collect();
    assert_eq!(
        queries[first..],
        [
            format!("{selectors}&limit=500&resourceVersion=0"),
            format!("{selectors}&limit=500&continue=a b"),
            format!("{selectors}&watch=true&allowWatchBookmarks=true&resourceVersion=7"),
        ]
    );
}

#[tokio::test]
async fn a_server_that_refuses_streaming_lists_is_listed_in_pages() {
    let server = server_but_services();
    server.reply(SERVICES, Reply::refuse(&status(422, "sendInitialEvents is forbidden")));
    pages(&server);
    check_pages(World::new(server, timing(), None), 1).await;
}

#[tokio::test]
async fn a_server_that_never_ends_initial_events_is_listed_in_pages() {
    let server = server_but_services();
    server.reply(SERVICES, Reply::lines([added(&service("web", 4, 80))]).and_wait());
    pages(&server);
    let timing = Timing { initial_events: SHORT, ..timing() };
    check_pages(World::new(server, timing, None), 1).await;
}

#[tokio::test]
async fn a_server_that_takes_it_for_any_other_watch_is_listed_in_pages() {
    let server = server_but_services();
    server.reply(SERVICES, Reply::lines([added(&service("web", 4, 80)), bookmark(7)]).and_wait());
    pages(&server);
    check_pages(World::new(server, timing(), None), 1).await;
}

#[tokio::test]
async fn a_server_that_ends_initial_events_early_is_listed_in_pages() {
    let server = server_but_services();
    server.reply(SERVICES, Reply::lines([]));
    pages(&server);
    check_pages(World::new(server, timing(), None), 1).await;
}

#[tokio::test]
async fn a_token_that_expired_begins_the_list_anew() {
    let server = server_but_services();
    server.reply(SERVICES, Reply::refuse(&status(400, "unknown parameter")));
    let page =
        json!({"metadata": {"resourceVersion": "7", "continue": "x"}, "items": [service("gone", 3, 80)]});
    server.reply(SERVICES, Reply::json(&page));
    server.reply(SERVICES, Reply::refuse(&status(410, "The provided continue parameter is too old")));
    pages(&server);
    check_pages(World::new(server, timing(), None), 3).await;
}

#[tokio::test]
async fn a_list_that_breaks_off_is_not_taken_for_one() {
    let server = server_but_services();
    server.reply(SERVICES, Reply::lines([added(&service("half", 4, 80))]).and_break());
    server.reply(SERVICES, Reply::refuse(&status(422, "no")));
    let page = json!({"metadata": {"resourceVersion": "7"}, "items": [service("half", 3, 80)]});
    let mut cut = page.to_string();
    cut.truncate(cut.len() - 2);
    server.reply(SERVICES, Reply::text(cut));
    pages(&server);
    check_pages(World::new(server, timing(), None), 3).await;
}
