//! The API server goes away, and comes back with other objects.

use std::{thread, time::Duration};

use portolan_integration::{Fault, Rule, numbered};
use serde_json::Value;

use crate::scene::{Scene, wait_until, while_connecting};

/// How long the server is gone. A minute differs only in how often is tried.
const OUTAGE: Duration = Duration::from_secs(8);

/// 1,200 Services, of which 500 are then changed and 500 deleted.
fn services() -> Vec<Value> {
    (0..1_200).flat_map(|number| numbered(number, 0..2)).collect()
}

fn change_and_delete(scene: &Scene) {
    scene.server.put_all((0..500).flat_map(|number| numbered(number, 1..4)));
    scene.server.delete_all(&services()[1_000..2_000]);
}

/// Runs the scene: the server is gone, half of the objects change, and it is back.
fn outage(compacted: bool) {
    let mut scene = Scene::new();
    let [one, two] = scene.web_pods();
    scene.put_web(&[&one, &two]);
    scene.server.put_all(services());
    let _agent = scene.run();
    scene.wait_until_equal("before the outage");
    let mut open = scene.shell.client().open(scene.web()).unwrap();
    let (client, target) = (scene.shell.client(), scene.web());
    while_connecting(&client, target, || {
        scene.server.stop();
        thread::sleep(OUTAGE);
        change_and_delete(&scene);
        if compacted {
            scene.server.compact();
        }
        scene.server.resume().unwrap();
        scene.wait_until_equal("after the outage");
    });
    open.exchange("the connection from before").unwrap();
    scene.wait_until_served(&["web-1", "web-2"], "after the outage");
}

#[test]
fn what_changed_during_an_outage_is_made_up_for() {
    outage(false);
}

#[test]
fn what_was_deleted_and_forgotten_during_an_outage_goes_too() {
    outage(true);
}

#[test]
fn a_server_that_is_not_there_at_the_start_is_waited_for() {
    let mut scene = Scene::new();
    let [one, _] = scene.web_pods();
    scene.put_web(&[&one]);
    scene.server.stop();
    let agent = scene.spawn_with(&[]);
    wait_until("it says what is wrong", || {
        let log = agent.stderr();
        log.contains("192.0.2.1:6443") || log.contains("refused")
    });
    thread::sleep(Duration::from_secs(2));
    assert_ne!(agent.readyz(), Some(200));
    scene.server.resume().unwrap();
    scene.wait_until_served(&["web-1"], "the server is there");
    let log = agent.stderr();
    assert!(log.lines().count() < 30, "it does not say it all the time: {log}");
}

#[test]
fn connections_that_break_again_and_again_lose_nothing() {
    let mut scene = Scene::new();
    let [one, two] = scene.web_pods();
    scene.put_web(&[&one, &two]);
    let _agent = scene.run();
    let (client, target) = (scene.shell.client(), scene.web());
    while_connecting(&client, target, || {
        for round in 0..8_u16 {
            let (first, last) = (round * 20, round * 20 + 40);
            scene.server.put_all((first..last).flat_map(|number| numbered(number, [round as u8])));
            thread::sleep(Duration::from_millis(100 + 150 * u64::from(round % 3)));
            scene.server.drop_connections().unwrap();
            scene.server.delete_all(&numbered(first, []));
        }
        scene.wait_until_equal("after all that");
    });
}

#[test]
fn slow_answers_are_waited_for() {
    let scene = Scene::new();
    let [one, _] = scene.web_pods();
    scene.put_web(&[&one]);
    scene.server.inject(Rule::always(Fault::Delay(Duration::from_millis(700))));
    let _agent = scene.run();
    scene.wait_until_served(&["web-1"], "after slow answers");
    scene.wait_until_equal("after slow answers");
}
