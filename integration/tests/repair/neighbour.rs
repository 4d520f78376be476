//! Changes of other tables cost nothing.

use std::{
    fmt::Write,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use portolan_integration::{eventually, nft};

use crate::{
    proportional::{fill, objects},
    scene::{PATIENCE, Scene, count_lines, wait_for_line},
};

/// The number of elements that the neighbour loads at once: more notifications than fit into a socket's buffer.
const ELEMENTS: u32 = 200_000;

/// Returns nft commands that load a blocklist of addresses.
fn blocklist() -> String {
    let mut commands = String::from("table ip blocklist { set addresses { type ipv4_addr; elements = {");
    for n in 0..ELEMENTS {
        let [_, a, b, c] = n.to_be_bytes();
        let _ = write!(commands, "192.{a}.{b}.{c},");
    }
    commands + "}\n}\n}"
}

#[test]
fn a_neighbour_that_loads_a_large_set_again_and_again_costs_no_reading() {
    let scene = Scene::new();
    fill(&scene.manifests, 2_000);
    let agent = scene.run();
    wait_for_line(&agent, "In sync");
    let (commands, done) = (blocklist(), AtomicBool::new(false));
    let loads = std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| {
            let mut loads: Vec<Duration> = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let started = Instant::now();
                scene.nft(&commands);
                loads.push(started.elapsed());
                scene.nft("delete table ip blocklist");
            }
            loads
        });
        // One endpoint more, or one less.
        for change in 0..12 {
            let endpoints = 3 + change % 2 + 1;
            scene.manifests.put("one.yaml", &objects(50_000, endpoints)).unwrap();
            let listed =
                || nft(scene.namespace(), &["list", "map", "ip", "portolan", "endpoints"], "").unwrap();
            let last = format!("10.{}.195.80", 128 + endpoints - 1);
            let gone = format!("10.{}.195.80", 128 + endpoints);
            let arrived = || {
                let listed = listed();
                listed.contains(&last) && !listed.contains(&gone)
            };
            eventually(PATIENCE, arrived).unwrap_or_else(|| panic!("change {change}:\n{}", agent.stderr()));
        }
        done.store(true, Ordering::Relaxed);
        neighbour.join().unwrap()
    });
    println!("{ELEMENTS} elements were loaded {} times beside 12 changes", loads.len());
    assert!(loads.len() > 2, "too few to show anything");
    // The first reconcile reads the tables; the others have no reason to.
    assert_eq!(count_lines(&agent, "full=true"), 1, "{}", agent.stderr());
}

#[test]
fn what_a_neighbour_changes_of_ours_in_the_same_commit_is_undone() {
    let scene = Scene::new();
    let _agent = scene.run();
    let elements = (0..100).map(|n| format!("10.0.0.{n}")).collect::<Vec<_>>().join(", ");
    scene.nft(&format!(
        "table ip blocklist {{ set a {{ type ipv4_addr; elements = {{ {elements} }}\n }}\n }}"
    ));
    scene.expect_restored(
        "delete element ip blocklist a { 10.0.0.7, 10.0.0.8 }\n\
         flush map ip portolan frontends\n\
         delete element ip blocklist a { 10.0.0.9 }",
    );
}
