//! `loadBalancerSourceRanges`: behaviour.md §1, §3 "LB source ranges", and the rows of §12a.

use std::net::{IpAddr, SocketAddr};

use portolan_integration::{Client, Dual, Family, Service};
use serde_json::json;

use crate::{
    frontends::{
        assert_all_serve, assert_refuses, assert_silence, exposed, put, ready, targets, wait_for_silence,
        wait_until_serve,
    },
    scene::Scene,
};

/// Returns the outside client with its usual address.
fn allowed(scene: &Scene, family: Family) -> Client {
    from(&scene.lab.client(), scene.lab.client_address().of(family))
}

/// Adds an address to the outside client that is in no range, unlike its usual address, and returns it.
fn stranger(scene: &Scene) -> Dual {
    let stranger = Dual::new([203, 0, 113, 200], [0x2001, 0xdb8, 2, 0, 0, 0, 1, 0x200]);
    for family in Family::BOTH {
        scene.lab.add_client_address(stranger.of(family)).unwrap();
    }
    stranger
}

const CLIENTS: [&str; 2] = ["203.0.113.0/25", "2001:db8:2::/112"];
const NODES: [&str; 2] = ["192.0.2.0/24", "2001:db8:1::/64"];

fn ranges(service: &Service, ranges: &[&str]) -> Service {
    service.clone().with("/spec/loadBalancerSourceRanges", json!(ranges))
}

fn from(client: &Client, source: IpAddr) -> Client {
    client.from(SocketAddr::new(source, 0))
}

/// Rows "ext allowed/blocked → NodePort, VIPs", "pod → VIPs", "node → VIPs".
#[test]
fn a_vip_is_for_sources_in_the_ranges_and_the_other_frontends_for_all() {
    a_vip_is_for_sources_in_the_ranges_and_the_other_frontends_for_all_in(Scene::new());
}

pub fn a_vip_is_for_sources_in_the_ranges_and_the_other_frontends_for_all_in(mut scene: Scene) {
    let [one, two, _] = scene.web_pods();
    let stranger = stranger(&scene);
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    let service = ranges(&exposed(&scene, 1), &[&CLIENTS[..], &[" 198.18.0.0/15"]].concat());
    put(&scene, 1, &service, &ready(&[&one, &two]));
    scene.run();
    let servers = ["web-1", "web-2"];
    for family in Family::BOTH {
        let [cluster_ip, node_port, (_, vip), external_ip] = targets(&scene, 1, family);
        let [pod, node, outside] = scene.everywhere();
        let blocked = from(&outside, stranger.of(family));
        let outside = allowed(&scene, family);
        assert_all_serve(&outside, vip, &servers, "the VIP, allowed");
        assert_silence(&blocked, vip, "the VIP, not in the ranges");
        // Neither pods nor nodes are exempt.
        assert_silence(&pod, vip, "the VIP");
        assert_silence(&node, vip, "the VIP");
        for client in [pod, node, outside, blocked] {
            for (kind, target) in [cluster_ip, node_port, external_ip] {
                assert_all_serve(&client, target, &servers, kind);
            }
        }
    }
}

/// "If the node's own IP is within a range, all the Service's VIPs become allowed sources": the rows
/// "node→VIPs; source=VIP→same VIP".
#[test]
fn the_node_in_a_range_may_use_the_vip_as_its_source() {
    the_node_in_a_range_may_use_the_vip_as_its_source_in(Scene::new());
}

pub fn the_node_in_a_range_may_use_the_vip_as_its_source_in(mut scene: Scene) {
    let [one, two, _] = scene.web_pods();
    let stranger = stranger(&scene);
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    let service = ranges(&exposed(&scene, 1), &NODES);
    put(&scene, 1, &service, &ready(&[&one, &two]));
    scene.run();
    let node = scene.lab.node_a.client();
    for family in Family::BOTH {
        let vip = scene.lab.external_ip(1);
        let (length, nodad) = if family == Family::V4 { (32, "") } else { (128, " nodad") };
        let command = format!("addr add {}/{length} dev lo{nodad}\n", vip.of(family));
        scene.lab.node_a.namespace().ip(&command).unwrap();
        let target = vip.port(family, 80);
        let own = from(&node, scene.lab.node_a.outside().of(family));
        assert_all_serve(&own, target, &["web-1", "web-2"], "the VIP, from its own address");
        let as_vip = from(&node, vip.of(family));
        assert_all_serve(&as_vip, target, &["web-1", "web-2"], "the VIP, from the VIP");
        assert_silence(&allowed(&scene, family), target, "the VIP");
        assert_silence(&from(&scene.lab.client(), stranger.of(family)), target, "the VIP");
    }
}

/// "Ranges of only the other family ⇒ this family unfiltered" (§1); "any /0 ⇒ no filtering".
#[test]
fn ranges_of_one_family_leave_the_other_open() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let stranger = stranger(&scene);
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    let service = exposed(&scene, 1);
    let outside = scene.lab.client();
    let client = Family::BOTH.map(|family| from(&outside, stranger.of(family)));
    let address = scene.lab.external_ip(1);
    let vip = |family| address.port(family, 80);
    let endpoints = ready(&[&one, &two]);
    put(&scene, 1, &ranges(&service, &CLIENTS[..1]), &endpoints);
    scene.run();
    let servers = ["web-1", "web-2"];
    assert_silence(&client[0], vip(Family::V4), "the IPv4 VIP");
    assert_all_serve(&client[1], vip(Family::V6), &servers, "the IPv6 VIP");
    put(&scene, 1, &ranges(&service, &CLIENTS[1..]), &endpoints);
    wait_until_serve(&client[0], vip(Family::V4), &servers, "only IPv6 ranges");
    assert_silence(&client[1], vip(Family::V6), "the IPv6 VIP");
    put(&scene, 1, &ranges(&service, &["198.18.0.0/15", "0.0.0.0/0", "2001:db8:ffff::/48"]), &endpoints);
    assert_all_serve(&client[0], vip(Family::V4), &servers, "every client is in a range");
    assert_silence(&client[1], vip(Family::V6), "another network");
}

/// "The filter exists even with zero endpoints: disallowed drop, allowed reject."
#[test]
fn without_endpoints_the_allowed_are_refused_and_the_others_meet_silence() {
    without_endpoints_the_allowed_are_refused_and_the_others_meet_silence_in(Scene::new());
}

pub fn without_endpoints_the_allowed_are_refused_and_the_others_meet_silence_in(mut scene: Scene) {
    let stranger = stranger(&scene);
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    put(&scene, 1, &ranges(&exposed(&scene, 1), &CLIENTS), &[]);
    scene.run();
    for family in Family::BOTH {
        let [.., (_, vip), _] = targets(&scene, 1, family);
        assert_refuses(&allowed(&scene, family), vip, "the VIP, allowed");
        assert_silence(&from(&scene.lab.client(), stranger.of(family)), vip, "the VIP");
        assert_silence(&scene.shell.client(), vip, "the VIP");
    }
}

/// §12b "source ranges … clearing restores"; eTP=Local is filtered in the same way.
#[test]
fn changed_ranges_apply_also_under_policy_local() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let stranger = stranger(&scene);
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    for policy in ["Cluster", "Local"] {
        let service = exposed(&scene, 1).with("/spec/externalTrafficPolicy", policy);
        let servers = if policy == "Local" { &["web-1"][..] } else { &["web-1", "web-2"] };
        let endpoints = ready(&[&one, &two]);
        put(&scene, 1, &ranges(&service, &CLIENTS), &endpoints);
        if policy == "Cluster" {
            scene.run();
        }
        for family in Family::BOTH {
            let [.., (_, vip), _] = targets(&scene, 1, family);
            wait_until_serve(&allowed(&scene, family), vip, servers, policy);
            wait_for_silence(&from(&scene.lab.client(), stranger.of(family)), vip, policy);
        }
        put(&scene, 1, &ranges(&service, &["203.0.113.128/25", "2001:db8:2::1:0/112"]), &endpoints);
        for family in Family::BOTH {
            let [.., (_, vip), _] = targets(&scene, 1, family);
            wait_for_silence(&allowed(&scene, family), vip, "the other half");
            let other = from(&scene.lab.client(), stranger.of(family));
            wait_until_serve(&other, vip, servers, "the other half");
        }
        put(&scene, 1, &service, &endpoints);
        for family in Family::BOTH {
            let [.., (_, vip), _] = targets(&scene, 1, family);
            wait_until_serve(&allowed(&scene, family), vip, servers, "no ranges");
        }
    }
}
