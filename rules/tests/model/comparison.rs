//! What two rulesets differ in, Service by Service.

use portolan_rules::{
    comparison::{compare, programmed},
    model::{LoadBalancing, Service, TrafficPolicy},
};

use crate::scene::in_both_families;

/// Whatever a Service asks for: if an endpoint is replaced, this Service differs, and no other.
#[test]
fn an_endpoint_that_is_replaced_is_a_difference_of_its_service() {
    let edits: [fn(&mut Service); 4] = [
        |_| {},
        |service| service.affinity_timeout = Some(60),
        |service| service.load_balancing = LoadBalancing::SourceHash,
        |service| {
            service.affinity_timeout = Some(60);
            service.external_policy = TrafficPolicy::Local;
        },
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        in_both_families(|scene| {
            let programmed = |endpoints| {
                let scene = scene.clone().service(1, endpoints).exposed().edit(edit);
                programmed(&scene.service(2, "L3").cluster.compile())
            };
            let before = programmed("L1 L2 R1");
            assert_eq!(compare(&before, &before), []);
            let differences = compare(&before, &programmed("L1 L4 R1"));
            assert_eq!(differences.len(), 1, "{number}: {differences:?}");
            let sentences = differences[0].sentences().join("; ");
            assert!(sentences.contains("endpoints replaced"), "{number}: {sentences}");
        });
    }
}
