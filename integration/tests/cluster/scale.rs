//! A thousand Services are programmed, and memory stays small. `make bench` measures the speed.

use portolan_integration::{Resource, Verb, numbered};

use crate::scene::{Scene, wait_until};

#[test]
fn a_thousand_services_and_a_change_of_each_arrive_without_another_list() {
    let scene = Scene::new();
    scene.server.put_all((0..1_000).flat_map(|number| numbered(number, 0..5)));
    let agent = scene.run();
    scene.wait_until_equal("after the start");
    // In a debug build this only detects leaks of whole objects; the benchmark has the figure for users.
    let before = agent.resident_memory().unwrap();
    let lists = scene.server.count(Verb::List, Resource::EndpointSlices);
    let watches = scene.server.count(Verb::Watch, Resource::EndpointSlices);
    for round in 0..20 {
        scene.server.put_all((0..1_000).map(|number| numbered(number, round..round + 5)[1].clone()));
    }
    scene.wait_until_equal("after 20,000 changes");
    assert_eq!(scene.server.count(Verb::List, Resource::EndpointSlices), lists, "listed once");
    assert_eq!(scene.server.count(Verb::Watch, Resource::EndpointSlices), watches, "watched once");
    wait_until("memory grows by less than 24 MiB", || {
        agent.resident_memory().is_some_and(|after| after < before + (24 << 10))
    });
}
