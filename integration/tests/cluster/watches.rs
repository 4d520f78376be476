//! Faults of watches.

use std::{
    thread,
    time::{Duration, Instant},
};

use portolan_integration::{Agent, EventFaults, Pod, Request, Resource, Verb, numbered};

use crate::scene::{Scene, wait_until, while_connecting};

/// A scene with 60 Services, the running binary, and the pods of Service `web`, which serve until they are dropped.
fn scene() -> (Scene, (Agent, [Pod; 2])) {
    let scene = Scene::new();
    let pods = scene.web_pods();
    scene.put_web(&pods.each_ref());
    scene.server.put_all((0..60).flat_map(|number| numbered(number, 0..2)));
    let agent = scene.run();
    scene.wait_until_equal("at first");
    (scene, (agent, pods))
}

/// Makes changes of every kind, together and one by one.
fn changes(scene: &Scene) {
    scene.server.put_all((0..30).flat_map(|number| numbered(number, 1..4)));
    for number in 30..45 {
        scene.server.put_all(numbered(number, 5..9));
        scene.server.delete_all(&numbered(number, []));
        scene.server.put_all(numbered(number, 2..5));
    }
    for number in 45..60 {
        scene.server.delete_all(&numbered(number, []));
    }
    scene.server.put_all((100..120).flat_map(|number| numbered(number, 0..3)));
}

#[test]
fn events_that_come_twice_change_nothing() {
    let (scene, _running) = scene();
    scene.server.distort_events(EventFaults { duplicate: true, ..EventFaults::default() });
    let (client, target) = (scene.shell.client(), scene.web());
    while_connecting(&client, target, || {
        changes(&scene);
        scene.wait_until_equal("every event came twice");
    });
}

#[test]
fn events_in_another_order_arrive_at_the_same_state() {
    let (scene, _running) = scene();
    scene.server.distort_events(EventFaults { swap: true, ..EventFaults::default() });
    let (client, target) = (scene.shell.client(), scene.web());
    while_connecting(&client, target, || {
        changes(&scene);
        scene.wait_until_equal("events came in another order");
    });
}

/// Two events of one object are sent together. The newer one comes first, and must win.
#[test]
fn of_two_events_of_an_object_the_newer_wins_whichever_comes_last() {
    let (scene, _running) = scene();
    scene.server.distort_events(EventFaults { swap: true, ..EventFaults::default() });
    scene.server.put_all((0..30).flat_map(|number| {
        let [[_, old], [_, new]] = [numbered(number, 1..9), numbered(number, 3..5)];
        [old, new]
    }));
    scene.wait_until_equal("the older event came last");
}

/// A list finds changes whose events were never sent. The list becomes necessary when the connection is lost and the
/// server has forgotten the version.
#[test]
fn lost_events_are_made_up_for_when_everything_is_listed() {
    let (mut scene, _running) = scene();
    scene.server.distort_events(EventFaults { lose_every: 2, ..EventFaults::default() });
    let (client, target) = (scene.shell.client(), scene.web());
    while_connecting(&client, target, || {
        changes(&scene);
        thread::sleep(Duration::from_secs(1));
        assert!(scene.difference().is_some(), "events were lost, and nothing shows it");
        scene.server.distort_events(EventFaults::default());
        // While no client is connected, so that the version of a returning client is forgotten.
        scene.server.stop();
        scene.server.put_all(numbered(200, 0..1));
        scene.server.compact();
        scene.server.resume().unwrap();
        scene.wait_until_equal("everything was listed");
    });
}

/// The connection ends while events are in transit: the next connection delivers them again.
#[test]
fn events_that_a_broken_connection_swallowed_come_again() {
    let (mut scene, _running) = scene();
    let lists = |scene: &Scene| {
        let requests = scene.server.requests();
        let of_slices = requests.iter().filter(|request| request.resource == Some(Resource::EndpointSlices));
        of_slices.filter(|request| is_list(request)).count()
    };
    let before = lists(&scene);
    scene.server.silence_watches(true);
    changes(&scene);
    scene.server.drop_connections().unwrap();
    scene.server.silence_watches(false);
    scene.wait_until_equal("the connection is back");
    assert_eq!(lists(&scene), before, "without another list");
}

/// Whether the request is for all objects, rather than for one to verify a position.
fn is_list(request: &Request) -> bool {
    let is_exact = request.query.get("resourceVersionMatch").is_some_and(|matching| matching == "Exact");
    !is_exact && request.verb == Verb::List
}

#[test]
fn a_forgotten_version_leads_to_a_list_that_also_deletes() {
    for as_status in [false, true] {
        let (mut scene, _running) = scene();
        if as_status {
            scene.server.refuse_old_watches();
        }
        let (client, target) = (scene.shell.client(), scene.web());
        while_connecting(&client, target, || {
            scene.server.stop();
            changes(&scene);
            scene.server.compact();
            scene.server.resume().unwrap();
            scene.wait_until_equal("the version was forgotten");
        });
    }
}

/// Returns how long ago the server last sent something for this kind, in seconds.
fn age(agent: &Agent, kind: &str) -> f64 {
    let metrics = agent.get(10249, "/metrics").expect("the metrics server answers").body;
    let sample = format!("portolan_newest_data_age_seconds{{kind=\"{kind}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&sample));
    value.unwrap_or_else(|| panic!("no {sample} in {metrics}")).parse().unwrap()
}

/// Bookmarks keep the version of a quiet watch recent: it continues although the server forgot its last event.
#[test]
fn after_a_bookmark_no_list_is_needed() {
    let (mut scene, (agent, _pods)) = scene();
    let nodes = scene.lab.nodes().map(portolan_integration::Node::object);
    // The watches of Services and slices see none of these changes.
    (0..50).for_each(|_| scene.server.put(nodes[1].clone()));
    scene.server.compact();
    // Nothing has come for some time; then every watch gets a bookmark.
    let ages = || ["Service", "EndpointSlice"].map(|kind| age(&agent, kind));
    wait_until("it is quiet", || ages().iter().all(|age| *age >= 3.0));
    // So that a bookmark has a newer version, even if a watch was too slow and was started again.
    scene.server.put(nodes[1].clone());
    let sent = Instant::now();
    scene.server.send_bookmarks();
    wait_until("bookmarks are heard", || {
        let since = sent.elapsed().as_secs_f64();
        ages().iter().all(|age| *age <= since)
    });
    let requests = scene.server.requests().len();
    scene.server.drop_connections().unwrap();
    scene.server.put_all(numbered(300, 0..1));
    scene.wait_until_equal("after a bookmark");
    let later = scene.server.requests().split_off(requests);
    let lists =
        later.iter().filter(|request| request.resource == Some(Resource::Services) && is_list(request));
    assert_eq!(lists.count(), 0, "{later:#?}");
}

/// How soon the agent must notice: by TCP keepalive, or at the latest by missing bookmarks.
const DEADLINE: Duration = Duration::from_mins(8);

/// The network drops the connections silently, as a restarted load balancer or firewall does.
#[test]
fn half_open_connections_are_given_up() {
    let (scene, _running) = scene();
    scene.lab.half_open(&scene.lab.node_a).unwrap();
    let (client, target) = (scene.shell.client(), scene.web());
    while_connecting(&client, target, || {
        changes(&scene);
        thread::sleep(Duration::from_secs(2));
        assert!(scene.difference().is_some(), "its connections are dead");
        scene.wait_until_equal_within(DEADLINE, "the connections were made anew");
    });
}

/// The connection lives, but the server has forgotten the watch.
#[test]
fn a_watch_that_falls_silent_is_made_anew() {
    let scene = Scene::with_bookmarks(Duration::from_secs(2));
    let [one, two] = scene.web_pods();
    scene.put_web(&[&one]);
    let _agent = scene.run();
    scene.wait_until_served(&["web-1"], "at first");
    // Long enough for the agent to receive bookmarks.
    thread::sleep(Duration::from_secs(5));
    scene.server.forget_watches();
    scene.put_web(&[&two]);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(scene.shell.client().tcp(scene.web()).server(), Some("web-1"), "its watches are dead");
    let served = portolan_integration::eventually(DEADLINE, || {
        scene.shell.client().tcp(scene.web()).server() == Some("web-2")
    });
    assert!(served.is_some(), "the watches were not made anew within {DEADLINE:?}");
    scene.wait_until_equal("the watches were made anew");
}
