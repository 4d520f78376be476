//! Somebody who changes our tables again and again.

use std::{thread, time::Duration};

use crate::scene::{Scene, count_lines, wait_for_line};

#[test]
fn repairs_wait_longer_and_longer() {
    let scene = Scene::new();
    let agent = scene.run();
    let before = scene.tables();
    for _ in 0..60 {
        scene.nft(
            "delete element ip portolan frontends { 10.96.0.1 . tcp . 80 }\n\
                   add element ip portolan frontends { 10.96.0.1 . tcp . 80 : 0:7 }\n",
        );
        thread::sleep(Duration::from_millis(50));
        // Undone or not: what comes next must find the element.
    }
    wait_for_line(&agent, "Our tables are changed again and again");
    let repairs = count_lines(&agent, "Repaired what somebody else changed");
    assert!((5..30).contains(&repairs), "{repairs} repairs of 60 changes: {}", agent.stderr());
    assert_eq!(count_lines(&agent, "again and again"), 1, "said once");
    // In the end everything is right.
    assert!(
        portolan_integration::eventually(Duration::from_mins(1), || scene.tables() == before).is_some(),
        "{}",
        agent.stderr()
    );
}

#[test]
fn changes_of_services_do_not_wait_for_a_fight() {
    let scene = Scene::new();
    let agent = scene.run();
    for _ in 0..40 {
        scene.nft("add chain ip portolan evil\n");
        thread::sleep(Duration::from_millis(30));
    }
    wait_for_line(&agent, "Our tables are changed again and again");
    let service = crate::scene::service("new", scene.lab.cluster_ip(7));
    scene.put("new", &service, &[&scene.pods[0]]);
    let address = scene.lab.cluster_ip(7).port(portolan_integration::Family::V4, 80);
    let served = || scene.pods[1].client().tcp(address).server() == Some("web-1");
    portolan_integration::eventually(crate::scene::PATIENCE, served).expect("the Service is served");
}
