//! What watches can do wrong.

use std::{thread, time::Duration};

use portolan_integration::{EventFaults, Resource, Verb, numbered};

use crate::scene::{Scene, while_connecting};

/// A scene with 60 Services and the binary running.
fn scene() -> (Scene, portolan_integration::Agent) {
    let scene = Scene::new();
    let [one, two] = scene.web_pods();
    scene.put_web(&[&one, &two]);
    scene.server.put_all((0..60).flat_map(|number| numbered(number, 0..2)));
    let agent = scene.run();
    scene.wait_until_equal("at first");
    (scene, agent)
}

/// Changes of every kind, together and one by one.
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
    let (scene, _agent) = scene();
    scene.server.distort_events(EventFaults { duplicate: true, ..EventFaults::default() });
    let (client, target) = (scene.shell.client(), scene.web());
    while_connecting(&client, target, || {
        changes(&scene);
        scene.wait_until_equal("every event came twice");
    });
}

#[test]
fn events_in_another_order_arrive_at_the_same_state() {
    let (scene, _agent) = scene();
    scene.server.distort_events(EventFaults { swap: true, ..EventFaults::default() });
    let (client, target) = (scene.shell.client(), scene.web());
    while_connecting(&client, target, || {
        changes(&scene);
        scene.wait_until_equal("events came in another order");
    });
}

/// Events of one object that are sent together: the newer comes first, and must win.
#[test]
fn of_two_events_of_an_object_the_newer_wins_whichever_comes_last() {
    let (scene, _agent) = scene();
    scene.server.distort_events(EventFaults { swap: true, ..EventFaults::default() });
    scene.server.put_all((0..30).flat_map(|number| {
        let [[_, old], [_, new]] = [numbered(number, 1..9), numbered(number, 3..5)];
        [old, new]
    }));
    scene.wait_until_equal("the older event came last");
}

/// What was never sent is found when everything is listed, which a lost connection to a forgetful server
/// makes necessary.
#[test]
fn lost_events_are_made_up_for_when_everything_is_listed() {
    let (mut scene, _agent) = scene();
    scene.server.distort_events(EventFaults { lose_every: 2, ..EventFaults::default() });
    let (client, target) = (scene.shell.client(), scene.web());
    while_connecting(&client, target, || {
        changes(&scene);
        thread::sleep(Duration::from_secs(1));
        assert!(scene.difference().is_some(), "events were lost, and there is nothing to tell it");
        scene.server.distort_events(EventFaults::default());
        scene.server.put_all(numbered(200, 0..1));
        scene.server.compact();
        scene.server.drop_connections().unwrap();
        scene.server.put_all(numbered(201, 0..1));
        scene.server.compact();
        scene.wait_until_equal("everything was listed");
    });
}

/// The connection ends while events are under way: they come again on the next.
#[test]
fn events_that_a_broken_connection_swallowed_come_again() {
    let (mut scene, _agent) = scene();
    let lists = scene.server.count(Verb::List, Resource::EndpointSlices);
    scene.server.silence_watches(true);
    changes(&scene);
    scene.server.drop_connections().unwrap();
    scene.server.silence_watches(false);
    scene.wait_until_equal("the connection is there again");
    assert_eq!(scene.server.count(Verb::List, Resource::EndpointSlices), lists, "without another list");
}

#[test]
fn a_forgotten_version_leads_to_a_list_that_also_deletes() {
    for as_status in [false, true] {
        let (mut scene, _agent) = scene();
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

/// Bookmarks keep a quiet watch young: it goes on although what it last saw is forgotten.
#[test]
fn after_a_bookmark_no_list_is_needed() {
    let (mut scene, _agent) = scene();
    let nodes = scene.lab.nodes().map(portolan_integration::Node::object);
    // Nothing of this is seen by the watches of Services and slices.
    (0..50).for_each(|_| scene.server.put(nodes[1].clone()));
    scene.server.compact();
    scene.server.send_bookmarks();
    thread::sleep(Duration::from_secs(1));
    let requests = scene.server.requests().len();
    scene.server.drop_connections().unwrap();
    scene.server.put_all(numbered(300, 0..1));
    scene.wait_until_equal("after a bookmark");
    let later = scene.server.requests().split_off(requests);
    let lists = later.iter().filter(|request| {
        request.resource == Some(Resource::Services)
            && (request.verb == Verb::List || request.query.contains_key("sendInitialEvents"))
    });
    assert_eq!(lists.count(), 0, "{later:#?}");
}
