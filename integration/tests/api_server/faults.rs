//! Injected faults of the test API server: each has its effect and no other.

use std::time::{Duration, Instant};

use portolan_integration::{EventFaults, Fault, Resource, Rule, Verb};

use crate::client::{SERVICES, SLICES, Scene, service};

const WATCH: &str = "/api/v1/services?watch=true&resourceVersion=0";
const SHORT: Duration = Duration::from_millis(200);

#[test]
fn a_server_that_is_gone_comes_back_on_the_same_port_with_its_objects() {
    let mut scene = Scene::new();
    scene.server.put(service("a", None));
    let mut watch = scene.get(WATCH);
    assert_eq!(watch.events(1), ["ADDED a 1"]);
    scene.server.stop();
    assert!(watch.event().is_err(), "the connection broke");
    let refused = scene.request("GET", SERVICES, None, "").err().unwrap();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    scene.server.put(service("b", None));
    scene.server.resume().unwrap();
    assert_eq!(scene.get(&format!("{WATCH}&resourceVersion=1")).events(1), ["ADDED b 2"]);
}

#[test]
fn connections_can_be_dropped_without_the_server_being_gone() {
    let mut scene = Scene::new();
    let mut watch = scene.get(WATCH);
    scene.server.drop_connections().unwrap();
    assert!(watch.event().is_err());
    assert_eq!(scene.get(SERVICES).status, 200);
}

#[test]
fn requests_are_refused_delayed_or_left_hanging() {
    let mut scene = Scene::new();
    scene.server.inject(Rule::always(Fault::Refuse(429, Some(7))).of(Resource::Services).times(1));
    assert_eq!(scene.get(SLICES).status, 200);
    let refused = scene.get(SERVICES);
    assert!(refused.headers.contains(&"retry-after: 7".to_owned()), "{:?}", refused.headers);
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json()["reason"], "TooManyRequests");
    assert_eq!(scene.get(SERVICES).status, 200);

    scene.server.inject(Rule::always(Fault::Delay(SHORT)).on(Verb::List));
    let start = Instant::now();
    assert_eq!(scene.get(SERVICES).status, 200);
    assert!(start.elapsed() >= SHORT);
    scene.server.clear_rules();

    scene.server.inject(Rule::always(Fault::Hang).of(Resource::Services));
    scene.patience = Duration::from_secs(10);
    let hanging = std::thread::scope(|scope| {
        let request = scope.spawn(|| scene.request("GET", SERVICES, Some("token-of-the-test"), ""));
        assert_eq!(scene.get(SLICES).status, 200, "other requests are answered meanwhile");
        request.join().unwrap().err().unwrap().kind()
    });
    assert_eq!(hanging, std::io::ErrorKind::WouldBlock, "no answer, and no end");
}

#[test]
fn watches_fall_silent_and_go_on() {
    let scene = Scene::new();
    let mut watch = scene.get(WATCH);
    scene.server.silence_watches(true);
    scene.server.put(service("a", None));
    scene.server.send_bookmarks();
    assert!(watch.is_silent(SHORT));
    assert!(scene.get(WATCH).is_silent(SHORT), "a new watch as well");
    assert_eq!(scene.get(SERVICES).status, 200, "but lists are answered");
    scene.server.silence_watches(false);
    assert_eq!(watch.events(1), ["ADDED a 1"]);
    scene.server.forget_watches();
    scene.server.put(service("b", None));
    assert!(watch.is_silent(SHORT));
    assert_eq!(scene.get(WATCH).events(2), ["ADDED a 1", "ADDED b 2"], "a new watch works");
}

#[test]
fn events_are_lost_doubled_and_swapped() {
    let scene = Scene::new();
    let faults = EventFaults::default();
    let three = || ["a", "b", "c"].map(|name| service(name, None));
    let mut watch = scene.get(WATCH);
    scene.server.distort_events(EventFaults { lose_every: 2, ..faults });
    scene.server.put_all(three());
    assert_eq!(watch.events(2), ["ADDED a 1", "ADDED c 3"]);
    scene.server.distort_events(EventFaults { duplicate: true, ..faults });
    scene.server.put(service("a", None));
    assert_eq!(watch.events(2), ["MODIFIED a 4", "MODIFIED a 4"]);
    scene.server.distort_events(EventFaults { swap: true, ..faults });
    scene.server.put_all(three());
    assert_eq!(watch.events(3), ["MODIFIED b 6", "MODIFIED a 5", "MODIFIED c 7"]);
}
