//! The binary is killed at random moments: no connection fails, and the next process finishes its work.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use portolan_integration::{Agent, CLUSTER_CIDR, Client, Family, Notifications, eventually};

use crate::{
    proportional::{fill, objects},
    scene::{PATIENCE, Scene},
};

const ARGUMENTS: [&str; 2] = ["--cluster-cidr", CLUSTER_CIDR];
/// The least number of changes, and of kills meanwhile.
const CHANGES: u32 = 1_000;
const KILLS: u32 = 10;

/// Opens about 50 connections a second until it is stopped, at least 50, and asserts that each is served.
fn connect(client: &Client, target: std::net::SocketAddr, done: &AtomicBool) {
    let mut count = 0;
    while !done.load(Ordering::Relaxed) || count < 50 {
        let next = Instant::now() + Duration::from_millis(20);
        let answer = client.tcp(target);
        assert!(answer.server().is_some(), "connection {count} to {target}: {answer}");
        count += 1;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

#[test]
fn killed_at_random_moments_during_a_thousand_changes() {
    let scene = Scene::new();
    fill(&scene.manifests, 200);
    Agent::start(&scene.lab.node_a, scene.manifests.path(), &ARGUMENTS).unwrap().terminate().unwrap();
    let (done, kills) = (AtomicBool::new(false), AtomicU32::new(0));
    let clients = [
        (scene.pods[0].client(), scene.lab.cluster_ip(1).port(Family::V4, 80)),
        (scene.lab.client(), scene.lab.node_a.outside().port(Family::V6, 30_081)),
    ];
    let mut moment = 7_u64;
    thread::scope(|scope| {
        let done = &done;
        let connecting: Vec<_> =
            clients.iter().map(|(client, target)| scope.spawn(|| connect(client, *target, done))).collect();
        let changing = scope.spawn(|| {
            for n in 0.. {
                if n >= CHANGES && kills.load(Ordering::Relaxed) >= KILLS {
                    break;
                }
                let (service, endpoints) = (60_000 + n % 7, 1 + n % 5);
                let name = format!("changing-{service}.yaml");
                let objects = objects(service as u16, endpoints as u8);
                scene.manifests.put(&name, &objects).unwrap();
                thread::sleep(Duration::from_millis(4));
            }
        });
        while !changing.is_finished() {
            let agent = Agent::spawn(&scene.lab.node_a, scene.manifests.path(), &ARGUMENTS).unwrap();
            // The moments range from before the first write to long after it.
            moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            thread::sleep(Duration::from_millis(20 + (moment >> 33) % 250));
            agent.kill().unwrap();
            kills.fetch_add(1, Ordering::Relaxed);
        }
        done.store(true, Ordering::Relaxed);
        changing.join().unwrap();
        for connecting in connecting {
            connecting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });

    let last = Agent::start(&scene.lab.node_a, scene.manifests.path(), &ARGUMENTS).unwrap();
    let facts = ["-f", scene.manifests.path().to_str().unwrap(), "--hostname-override", "node-a"];
    let diff = [&["diff"], facts.as_slice(), &ARGUMENTS].concat();
    let equal = || Agent::command(&scene.lab.node_a, &diff).unwrap().status.code() == Some(0);
    eventually(PATIENCE, equal).expect("the kernel equals the state");
    last.kill().unwrap();
    let notifications = Notifications::start(scene.namespace()).unwrap();
    let _again = Agent::start(&scene.lab.node_a, scene.manifests.path(), &ARGUMENTS).unwrap();
    assert_eq!(notifications.changes().unwrap(), Vec::<String>::new(), "nothing is rewritten");
}
