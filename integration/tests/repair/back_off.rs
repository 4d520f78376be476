//! Another process that changes our tables again and again.

use std::{
    thread,
    time::{Duration, Instant},
};

use portolan_integration::{Agent, eventually};

use crate::scene::{PATIENCE, Scene, count_lines, wait_for_line};

/// The log line when the back-off of repairs begins.
const AGAIN: &str = "Our tables are changed again and again";

/// Runs these nft commands at least this many times, until the back-off of repairs begins.
fn change_repeatedly(scene: &Scene, agent: &Agent, times: usize, commands: &str) {
    let limit = Instant::now() + PATIENCE;
    for n in 0.. {
        let enough = n >= times && count_lines(agent, AGAIN) > 0;
        if enough || Instant::now() >= limit {
            break;
        }
        scene.nft(commands);
        thread::sleep(Duration::from_millis(40));
    }
    wait_for_line(agent, AGAIN);
}

#[test]
fn repairs_wait_longer_and_longer() {
    let scene = Scene::new();
    let agent = scene.run();
    let before = scene.tables();
    // The next round must find the element, whether the last change was undone or not.
    change_repeatedly(
        &scene,
        &agent,
        60,
        "delete element ip portolan frontends { 10.96.0.1 . tcp . 80 }\n\
         add element ip portolan frontends { 10.96.0.1 . tcp . 80 : 0:7 }\n",
    );
    let repairs = count_lines(&agent, "Repaired what another process changed");
    assert!((5..30).contains(&repairs), "{repairs} repairs of 60 changes: {}", agent.stderr());
    assert_eq!(count_lines(&agent, "again and again"), 1, "logged once");
    // In the end everything is repaired: the back-off is at most a minute.
    assert!(eventually(PATIENCE, || scene.tables() == before).is_some(), "{}", agent.stderr());
}

#[test]
fn changes_of_services_do_not_wait_for_repairs() {
    let scene = Scene::new();
    let agent = scene.run();
    change_repeatedly(&scene, &agent, 40, "add chain ip portolan evil\n");
    let service = crate::scene::service("new", scene.lab.cluster_ip(7));
    scene.put("new", &service, &[&scene.pods[0]]);
    let address = scene.lab.cluster_ip(7).port(portolan_integration::Family::V4, 80);
    let served = || scene.pods[1].client().tcp(address).server() == Some("web-1");
    eventually(PATIENCE, served).expect("the Service is served");
}
