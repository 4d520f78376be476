//! The binary is killed at random moments: no connection fails, and nothing is written twice.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use portolan_integration::{Notifications, numbered};

use crate::scene::{Scene, while_connecting};

const CHANGES: u32 = 1_000;
const SERVICES: u32 = 100;

/// Pseudo-random numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        // The constants of Knuth's MMIX; the high bits are more random than the low ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % limit
    }
}

/// Changes the endpoints of a Service, or removes or restores the Service.
fn change(scene: &Scene, random: &mut Random) {
    let number = random.below(SERVICES);
    if random.below(4) == 0 {
        return scene.server.delete_all(&numbered(number, []));
    }
    let first = random.below(40) as u8;
    scene.server.put_all(numbered(number, first..first + random.below(5) as u8));
}

#[test]
fn killed_at_any_moment_during_a_thousand_changes_it_arrives_at_the_state() {
    let scene = Scene::new();
    let [one, two] = scene.web_pods();
    scene.put_web(&[&one, &two]);
    scene.server.put_all((0..SERVICES).flat_map(|number| numbered(number, 0..3)));
    scene.run().kill().unwrap();
    let web = scene.web().ip().to_string();
    let notifications = Notifications::start(scene.lab.node_a.namespace()).unwrap();
    let (client, target) = (scene.shell.client(), scene.web());
    while_connecting(&client, target, || {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = Random(1);
                for _ in 0..CHANGES {
                    change(&scene, &mut random);
                    thread::sleep(Duration::from_millis(10));
                }
                done.store(true, Ordering::Relaxed);
            });
            let mut random = Random(2);
            while !done.load(Ordering::Relaxed) {
                let agent = scene.spawn_with(&[]);
                // Some are killed before they have read anything, some long after.
                thread::sleep(Duration::from_millis(random.below(1_500).into()));
                agent.kill().unwrap();
            }
        });
        let agent = scene.run();
        scene.wait_until_equal("after all changes");
        agent.kill().unwrap();
    });
    let changes = notifications.changes().unwrap();
    assert!(!changes.is_empty(), "the changes were written");
    let rewritten: Vec<_> = changes.iter().filter(|line| line.contains(&web)).collect();
    assert!(rewritten.is_empty(), "Service `web` never changed: {rewritten:#?}");

    let notifications = Notifications::start(scene.lab.node_a.namespace()).unwrap();
    for _ in 0..3 {
        scene.run().kill().unwrap();
        assert_eq!(notifications.changes().unwrap(), Vec::<String>::new(), "a restart wrote to the kernel");
    }
}
