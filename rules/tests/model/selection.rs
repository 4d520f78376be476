//! Which endpoints are chosen from: copies in several slices, readiness, termination, topology.

use portolan_rules::simulate::{Fate, Probability};

use crate::{
    cluster::answer_of,
    scene::{Scene, in_both_families},
};

/// Asserts what becomes of a pod's connection to the ClusterIP of one Service with these slices, in both families.
fn cluster_ip(scenario: &str, slices: &[&str], outcome: &str) {
    in_zone(Some("east"), scenario, slices, outcome);
}

fn in_zone(zone: Option<&str>, scenario: &str, slices: &[&str], outcome: &str) {
    in_both_families(|scene| {
        let mut scene = with_slices(scene, slices);
        scene.cluster.node.zone = zone.map(Into::into);
        scene.expect(scenario, &[("L9", "ClusterIP1:80", outcome)]);
    });
}

fn with_slices(scene: Scene, slices: &[&str]) -> Scene {
    let (first, more) = slices.split_first().expect("a slice");
    more.iter().fold(scene.service(1, first), |scene, slice| scene.slice(slice))
}

#[test]
fn slices_are_united() {
    cluster_ip("several slices", &["L1", "R1 R2", ""], "L1+R1+R2");
    cluster_ip("the same endpoint twice counts once", &["L1 R1", "R1"], "L1+R1");
}

#[test]
fn slices_may_carry_different_numbers_for_one_port_name() {
    in_both_families(|scene| {
        let mut scene = scene.service(1, "L1").slice("R1");
        scene.cluster.slices[1].ports[0].port = 8080;
        scene.expect("named targetPort", &[("L9", "ClusterIP1:80", "L1+R1:8080")]);
    });
}

#[test]
fn a_terminating_copy_displaces_none_and_any_other_copy_displaces_it() {
    for (slices, outcome) in [
        (["L1 R1/t", "R1"], "L1+R1"),
        (["L1 R1", "R1/t"], "L1+R1"),
        (["L1 R1/x", "R1"], "L1+R1"),
        (["L1 R1", "R1/x"], "L1+R1"),
        (["L1/t R1/x", "R1/n"], "L1"),
        (["R1/t", "R1/x"], "R1"),
    ] {
        cluster_ip("a copy in another slice", &slices, outcome);
    }
}

#[test]
fn a_slice_of_another_service_or_namespace_counts_for_nothing() {
    in_both_families(|scene| {
        let mut scene = scene.service(1, "L1").slice("L2").slice("R1");
        scene.cluster.slices[1].service = "other".into();
        scene.cluster.slices[2].name.namespace = "other".into();
        scene.expect("foreign slices", &[("L9", "ClusterIP1:80", "L1")]);
    });
}

#[test]
fn an_endpoint_port_needs_the_name_and_protocol_of_the_service_port() {
    in_both_families(|scene| {
        let mut scene = scene.service(1, "L1").slice("L2").slice("R1");
        scene.cluster.slices[1].ports[0].name = "web".into();
        scene.cluster.slices[2].ports[0].protocol = portolan_rules::model::Protocol::Udp;
        scene.expect("other ports", &[("L9", "ClusterIP1:80", "L1")]);
    });
}

#[test]
fn ready_endpoints_are_preferred_to_terminating_ones() {
    cluster_ip("ready", &["L1 R1/t R2/x R3/n"], "L1");
}

#[test]
fn without_a_ready_endpoint_those_that_terminate_and_serve_are_used() {
    cluster_ip("terminating", &["L1/t R1/t R2/x R3/n"], "L1+R1");
}

#[test]
fn not_ready_serving_and_not_terminating_is_never_used() {
    cluster_ip("only not ready", &["L1/n R1/n"], "reject");
    cluster_ip("not ready beside not serving", &["L1/n R1/x"], "reject");
}

#[test]
fn ready_and_terminating_is_ready() {
    cluster_ip("publishNotReadyAddresses", &["L1/p R1"], "L1+R1");
    cluster_ip("publishNotReadyAddresses beside terminating", &["L1/p R1/t"], "L1");
}

#[test]
fn node_hints_come_before_zone_hints() {
    let endpoints = "L1/node=here/zone=east R1/node=there/zone=east R2/node=there/zone=west";
    cluster_ip("same node", &[endpoints], "L1");
    let elsewhere = "R1/node=there/zone=east R2/node=there/zone=west R3/node=away/zone=east";
    cluster_ip("no node hint names this node: same zone", &[elsewhere], "R1+R3");
    cluster_ip("nor this zone: all", &["R1/node=there/zone=west R2/node=there/zone=west"], "R1+R2");
}

#[test]
fn one_ready_endpoint_without_a_hint_disables_the_level() {
    cluster_ip("a node hint is missing", &["L1/node=here/zone=east R1/zone=east R2/zone=west"], "L1+R1");
    cluster_ip("a zone hint is missing", &["L1/zone=east R1/zone=west R2"], "L1+R1+R2");
    cluster_ip("node hints count without zone hints", &["L1/node=here R1/node=there R2/node=there"], "L1");
}

#[test]
fn endpoints_that_are_not_ready_have_no_say_in_topology() {
    cluster_ip("unhinted, but terminating", &["L1/zone=east R1/zone=west R2/t"], "L1");
    cluster_ip("the hint for this zone is on one not ready", &["L1/n/zone=east R1/zone=west"], "R1");
}

#[test]
fn the_fallback_to_terminating_endpoints_ignores_topology() {
    cluster_ip("terminating in both zones", &["L1/t/zone=east R1/t/zone=west"], "L1+R1");
}

#[test]
fn an_endpoint_may_be_hinted_to_several_zones() {
    cluster_ip("both", &["R1/zone=west/zone=east R2/zone=west"], "R1");
}

#[test]
fn a_node_without_a_zone_has_no_zone_mode() {
    for zone in [None, Some("")] {
        in_zone(zone, "no zone", &["L1/zone=east R1/zone=west"], "L1+R1");
        in_zone(zone, "no zone, node hints", &["L1/node=here/zone=east R1/node=there/zone=west"], "L1");
    }
}

#[test]
fn another_zone_label_takes_effect() {
    in_zone(Some("west"), "zone west", &["L1/zone=east R1/zone=west"], "R1");
}

#[test]
fn hints_never_apply_to_the_local_set_but_short_circuited_traffic_obeys_them() {
    in_both_families(|scene| {
        let endpoints = "L1/zone=west L2/zone=east R1/zone=east R2/zone=west";
        scene.service(1, endpoints).exposed().external_local().service(2, endpoints).internal_local().expect(
            "policy Local with hints",
            &[
                ("ext1", "VIP1:80", "L1+L2"),
                ("L9", "VIP1:80", "L2+R1"),
                ("node1", "node1:30080", "L2+R1 SNAT"),
                ("L9", "ClusterIP1:80", "L2+R1"),
                ("L9", "ClusterIP2:80", "L1+L2"),
            ],
        );
    });
}

#[test]
fn the_fallbacks_of_both_sets_are_independent() {
    in_both_families(|scene| {
        let scene = scene
            .service(1, "L1/t L2/x R1")
            .exposed()
            .external_local()
            .internal_local()
            .service(2, "L1/n R1/t")
            .exposed()
            .external_local();
        scene.expect(
            "ready remote endpoints do not stop a node with only terminating local ones",
            &[
                ("ext1", "VIP1:80", "L1"),
                ("L9", "ClusterIP1:80", "L1"),
                ("L9", "VIP1:80", "R1"),
                ("ext1", "VIP2:80", "drop"),
                ("L9", "VIP2:80", "R1"),
            ],
        );
    });
}

#[test]
fn an_endpoint_is_local_by_its_node_name() {
    in_both_families(|scene| {
        scene.service(1, "L1/on=there R1/on=here L2/on=?").exposed().external_local().expect(
            "nodeName decides, not the address; without one it is not local",
            &[("ext1", "VIP1:80", "R1"), ("L9", "VIP1:80", "L1+L2+R1")],
        );
    });
}

#[test]
fn a_drained_endpoint_counts_as_if_it_were_not_there() {
    cluster_ip("weight 0", &["L1/weight=0 R1 R2"], "R1+R2");
    cluster_ip("the last one of the zone", &["L1/zone=east/weight=0 R1/zone=west"], "R1");
    cluster_ip("it has no say in topology", &["L1/zone=east R1/zone=west R2/weight=0"], "L1");
    cluster_ip("the last ready one", &["L1/weight=0 R1/t"], "R1");
    cluster_ip("all", &["L1/weight=0 R1/weight=0"], "reject");
    in_both_families(|scene| {
        scene
            .service(1, "L1/weight=0 R1")
            .exposed()
            .external_local()
            .expect("the last one of the node", &[("ext1", "VIP1:80", "drop"), ("L9", "VIP1:80", "R1")]);
    });
}

#[test]
fn weights_are_shares_of_new_connections() {
    in_both_families(|scene| {
        let scene = scene.service(1, "L1/weight=2 R1/weight=6 R2/weight=4");
        let packet = scene.packet("L9", "ClusterIP1:80");
        let answer = answer_of(&scene.cluster.simulate(&scene.cluster.compile(), &packet));
        for (name, share) in [("L1", 1), ("R1", 3), ("R2", 2)] {
            let to = (scene.address(name), 80).into();
            assert_eq!(answer[&Fate::Sent { to, masqueraded: false }], Probability::new(share, 6), "{name}");
        }
    });
}
