//! A flush of many Services.

use std::time::{Duration, Instant};

use portolan::kernel::nftables::Monitor;
use portolan_integration::{Namespace, nft};

use crate::{
    proportional::fill,
    scene::{PATIENCE, Scene},
};

/// Flushes everything; returns the time from the flush to the repair, measured by another listener.
fn flush(namespace: &Namespace) -> Duration {
    namespace.enter(|| {
        let mut monitor = Monitor::open("portolan").unwrap();
        let status = std::process::Command::new("nft").args(["flush", "ruleset"]).status().unwrap();
        assert!(status.success());
        let (limit, mut flushed) = (Instant::now() + PATIENCE, None);
        while Instant::now() < limit {
            // Notifications of the repair's elements may be lost; its generation marks the end.
            let Ok(Some(event)) = monitor.receive() else {
                std::thread::sleep(Duration::from_micros(100));
                continue;
            };
            match event.generation {
                Some(generation) if generation.process == "nft" => flushed = Some(Instant::now()),
                Some(_) => return flushed.expect("the flush comes first").elapsed(),
                None => {}
            }
        }
        panic!("not repaired");
    })
}

/// Returns how long nft takes to load these rules, which shows the speed of this machine at the moment.
fn loading(rules: &str) -> Duration {
    let namespace = Namespace::new("yardstick").unwrap();
    let start = Instant::now();
    nft(&namespace, &["-f", "-"], rules).unwrap();
    start.elapsed()
}

#[test]
fn a_flush_of_a_thousand_services_is_undone_quickly() {
    let scene = Scene::new();
    fill(&scene.manifests, 1_000);
    let _agent = scene.run();
    let before = scene.tables();
    let rules = nft(scene.namespace(), &["list", "ruleset"], "").unwrap();
    let (mut times, mut yardsticks): (Vec<_>, Vec<_>) =
        (0..4).map(|_| (flush(scene.namespace()), loading(&rules))).unzip();
    times.sort();
    yardsticks.sort();
    println!("a flush at 1,000 Services is undone after {times:?}; nft loads them in {yardsticks:?}");
    // It takes a hundred milliseconds on an idle machine with an optimised build; this is neither. On an even slower
    // machine nft is slow as well, which takes about fifty milliseconds on an idle one.
    let limit = Duration::from_secs(2).max(40 * yardsticks[0]);
    assert!(times[0] < limit, "{times:?}, nft {yardsticks:?}");
    let restored = || scene.tables() == before;
    portolan_integration::eventually(PATIENCE, restored).expect("all of it is restored");
    assert!(nft(scene.namespace(), &["list", "table", "ip", "portolan"], "").is_ok());
}
