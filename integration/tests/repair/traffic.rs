//! Client connections while others change our tables.

use std::time::{Duration, Instant};

use portolan_integration::{Family, eventually};

use crate::scene::{PATIENCE, Scene};

#[test]
fn connections_are_served_again_after_a_flush_and_those_open_go_on() {
    let scene = Scene::new();
    let _agent = scene.run();
    for family in Family::BOTH {
        let client = scene.lab.client();
        let target = scene.lab.node_a.outside().port(family, 30_081);
        let mut open = client.open(target).unwrap();
        for _ in 0..4 {
            let before = scene.tables();
            scene.nft("flush ruleset");
            let flushed = Instant::now();
            let served = || client.within(Duration::from_secs(1)).tcp(target).server().is_some();
            eventually(PATIENCE, served).expect("a new connection is served");
            println!("{family}: served {:?} after the flush", flushed.elapsed());
            eventually(PATIENCE, || scene.tables() == before).expect("the tables are restored");
        }
        open.exchange("still there")
            .unwrap_or_else(|error| panic!("an open connection over {family}: {error}"));
    }
}

#[test]
fn a_change_that_is_undone_disturbs_no_other_service() {
    let scene = Scene::new();
    let _agent = scene.run();
    let [web, api] = [1, 2].map(|number| scene.lab.cluster_ip(number).port(Family::V4, 80));
    let client = scene.pods[0].client();
    for _ in 0..5 {
        scene.nft("delete element ip portolan frontends { 10.96.0.1 . tcp . 80 }");
        for _ in 0..20 {
            let answer = client.tcp(api);
            assert!(answer.server().is_some(), "{answer}");
        }
        eventually(PATIENCE, || client.tcp(web).server().is_some()).expect("it is served again");
    }
}
