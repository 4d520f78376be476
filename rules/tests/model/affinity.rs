//! Session affinity, and the choice by source hash. Invariant 7: a client keeps its endpoint across the frontends of
//! one port, separately for each port. The client is forgotten when it is idle, and gets a new endpoint when its
//! endpoint is gone.

use std::{collections::HashSet, net::IpAddr};

use portolan_rules::{
    model::{LoadBalancing, Protocol::Tcp},
    simulate::{Fate, Packet},
};

use crate::{
    live::Live,
    scene::{Scene, endpoint, in_both_families},
};

const MINUTE: u64 = 60_000;
const ENDPOINTS: &str = "L1 L2 R1 R2";

/// One Service with these endpoints that remembers clients for a minute.
fn sticky(scene: Scene, endpoints: &str) -> Scene {
    scene.service(1, endpoints).exposed().edit(|service| service.affinity_timeout = Some(60))
}

/// Connects, checks that the rules do what the reference says, and returns the endpoint and how many endpoints were
/// possible.
fn connect(live: &mut Live, packet: &Packet, choice: usize) -> (IpAddr, usize) {
    let connection = live.connect(packet, choice);
    assert!(connection.is_as_promised(), "{}", portolan_rules::simulate::explain(&connection.outcome));
    match connection.fate {
        Fate::Sent { to, .. } => (to.ip(), connection.outcome.fates().len()),
        other => panic!("{other}"),
    }
}

#[test]
fn the_first_connection_is_drawn_and_the_next_ones_follow_it() {
    in_both_families(|scene| {
        let scene = sticky(scene, ENDPOINTS);
        let packet = scene.packet("L9", "ClusterIP1:80");
        for choice in 0..4 {
            let mut live = Live::new(scene.cluster.clone());
            let (first, of) = connect(&mut live, &packet, choice);
            assert_eq!(of, 4);
            for _ in 0..15 {
                assert_eq!(connect(&mut live, &packet, 0), (first, 1));
            }
        }
    });
}

#[test]
fn all_frontends_of_a_port_share_their_clients() {
    in_both_families(|scene| {
        let scene = sticky(scene, ENDPOINTS);
        let mut live = Live::new(scene.cluster.clone());
        let (first, _) = connect(&mut live, &scene.packet("ext1", "VIP1:80"), 2);
        for to in ["ClusterIP1:80", "externalIP1:80", "node1:30080", "VIP1:80"] {
            assert_eq!(connect(&mut live, &scene.packet("ext1", to), 0), (first, 1), "{to}");
        }
        assert_eq!(connect(&mut live, &scene.packet("ext2", "VIP1:80"), 0).1, 4, "another client");
    });
}

#[test]
fn ports_are_independent() {
    in_both_families(|scene| {
        let ports = [("http", Tcp, 80, 80), ("https", Tcp, 443, 443)];
        let scene = scene
            .service(1, ENDPOINTS)
            .ports(&ports)
            .edit(|service| service.affinity_timeout = Some(60))
            .service(2, ENDPOINTS)
            .edit(|service| service.affinity_timeout = Some(60));
        let mut live = Live::new(scene.cluster.clone());
        for to in ["ClusterIP1:80", "ClusterIP1:443", "ClusterIP2:80"] {
            assert_eq!(connect(&mut live, &scene.packet("L9", to), 0).1, 4, "{to}");
        }
    });
}

#[test]
fn the_time_runs_from_the_last_connection() {
    in_both_families(|scene| {
        let scene = sticky(scene, ENDPOINTS);
        let packet = scene.packet("L9", "ClusterIP1:80");
        let mut live = Live::new(scene.cluster.clone());
        let (first, _) = connect(&mut live, &packet, 3);
        for _ in 0..5 {
            live.wait(MINUTE - 1);
            assert_eq!(connect(&mut live, &packet, 0), (first, 1));
        }
        live.wait(MINUTE);
        assert_eq!(connect(&mut live, &packet, 0).1, 4);
    });
}

#[test]
fn an_endpoint_that_goes_loses_its_clients_and_returns_without_them() {
    in_both_families(|scene| {
        let scene = sticky(scene, ENDPOINTS);
        let packet = scene.packet("L9", "ClusterIP1:80");
        let mut live = Live::new(scene.cluster.clone());
        let (first, _) = connect(&mut live, &packet, 1);
        let all = live.cluster.slices[0].endpoints.clone();
        live.change(|cluster| cluster.slices[0].endpoints.retain(|e| e.address != first));
        live.change(|cluster| cluster.slices[0].endpoints = all.clone());
        assert_eq!(connect(&mut live, &packet, 0).1, 4, "it has been away");

        let mut live = Live::new(scene.cluster.clone());
        let (first, _) = connect(&mut live, &packet, 1);
        live.change(|cluster| cluster.slices[0].endpoints.retain(|e| e.address != first));
        let (second, of) = connect(&mut live, &packet, 1);
        assert_eq!(of, 3);
        live.change(|cluster| cluster.slices[0].endpoints = all);
        assert_eq!(connect(&mut live, &packet, 0), (second, 1), "it has moved on");
    });
}

#[test]
fn an_endpoint_that_stays_keeps_its_clients_through_changes_and_restarts() {
    in_both_families(|scene| {
        let scene = sticky(scene, "L1 L2 R1 R2 R3");
        let packet = scene.packet("L9", "VIP1:80");
        for choice in 0..5 {
            let mut live = Live::new(scene.cluster.clone());
            let (first, _) = connect(&mut live, &packet, choice);
            live.change(|cluster| {
                let endpoints = &mut cluster.slices[0].endpoints;
                let other = endpoints.iter().position(|e| e.address != first).expect("others");
                endpoints.remove(other);
                endpoints.insert(0, endpoint(scene.family, "L5"));
            });
            assert_eq!(connect(&mut live, &packet, 0), (first, 1));
            live.restart();
            assert_eq!(connect(&mut live, &packet, 0), (first, 1));
            live.change(|cluster| cluster.slices[0].endpoints.retain(|e| e.address == first));
            live.change(|cluster| cluster.slices[0].endpoints.push(endpoint(scene.family, "R7")));
            assert_eq!(connect(&mut live, &packet, 0), (first, 1));
        }
    });
}

#[test]
fn switching_affinity_takes_effect_both_ways() {
    in_both_families(|scene| {
        let scene = sticky(scene, ENDPOINTS);
        let packet = scene.packet("ext1", "node1:30080");
        let mut live = Live::new(scene.cluster.clone());
        connect(&mut live, &packet, 1);
        live.change(|cluster| cluster.services[0].affinity_timeout = None);
        assert_eq!(connect(&mut live, &packet, 0).1, 4);
        live.change(|cluster| cluster.services[0].affinity_timeout = Some(60));
        assert_eq!(connect(&mut live, &packet, 2).1, 4, "what was known before is forgotten");
        assert_eq!(connect(&mut live, &packet, 0).1, 1);
    });
}

#[test]
fn any_timeout_is_kept_and_lasts_an_eighth_longer_at_most() {
    for seconds in [1, 7, 17, 61, 299, 1801, 10_799, 86_399] {
        in_both_families(|scene| {
            let scene = sticky(scene, ENDPOINTS).edit(|service| service.affinity_timeout = Some(seconds));
            let packet = scene.packet("L9", "ClusterIP1:80");
            let mut live = Live::new(scene.cluster.clone());
            let (first, _) = connect(&mut live, &packet, 2);
            let timeout = u64::from(seconds) * 1000;
            live.wait(timeout - 1);
            assert_eq!(connect(&mut live, &packet, 0), (first, 1), "{seconds} s");
            live.wait(timeout + timeout / 8);
            assert_eq!(connect(&mut live, &packet, 0).1, 4, "{seconds} s");
        });
    }
}

#[test]
fn another_timeout_counts_from_the_next_connection() {
    in_both_families(|scene| {
        let scene = sticky(scene, ENDPOINTS);
        let packet = scene.packet("L9", "ClusterIP1:80");
        let mut live = Live::new(scene.cluster.clone());
        let (first, _) = connect(&mut live, &packet, 1);
        live.change(|cluster| cluster.services[0].affinity_timeout = Some(10));
        live.wait(MINUTE - 1);
        assert_eq!(connect(&mut live, &packet, 0), (first, 1));
        live.wait(10_000);
        assert_eq!(connect(&mut live, &packet, 0).1, 4);
    });
}

#[test]
fn policy_local_never_leads_a_client_elsewhere() {
    in_both_families(|scene| {
        let scene = sticky(scene, "L1 L2 R1").external_local();
        let (inside, outside) = (scene.packet("ext1", "ClusterIP1:80"), scene.packet("ext1", "VIP1:80"));
        let mut live = Live::new(scene.cluster.clone());
        let remote = scene.address("R1");
        let choice = (0..3).find(|choice| {
            let mut trial = Live::new(scene.cluster.clone());
            connect(&mut trial, &inside, *choice).0 == remote
        });
        assert_eq!(connect(&mut live, &inside, choice.expect("it may be R1")), (remote, 3));
        let (local, of) = connect(&mut live, &outside, 0);
        assert!(local != remote && of == 2, "R1 is not for this frontend");
        assert_eq!(connect(&mut live, &inside, 0), (local, 1), "the client has moved");
    });
}

#[test]
fn a_terminating_endpoint_keeps_no_clients_while_others_are_ready() {
    in_both_families(|scene| {
        let scene = sticky(scene, "L1 R1");
        let packet = scene.packet("L9", "ClusterIP1:80");
        let mut live = Live::new(scene.cluster.clone());
        let (first, _) = connect(&mut live, &packet, 0);
        live.change(|cluster| {
            let gone = cluster.slices[0].endpoints.iter_mut().find(|e| e.address == first);
            let gone = gone.expect("it is there");
            (gone.ready, gone.terminating) = (false, true);
        });
        let (second, of) = connect(&mut live, &packet, 0);
        assert!(second != first && of == 1);
    });
}

#[test]
fn an_endpoint_that_topology_excludes_loses_its_clients() {
    in_both_families(|scene| {
        let mut scene = sticky(scene, "L1/zone=east L2/zone=west");
        scene.cluster.node.zone = None;
        let packet = scene.packet("L9", "ClusterIP1:80");
        for (choice, zone) in [(0, "west"), (1, "west"), (0, "east"), (1, "east")] {
            let mut live = Live::new(scene.cluster.clone());
            assert_eq!(connect(&mut live, &packet, choice).1, 2);
            live.change(|cluster| cluster.node.zone = Some(zone.into()));
            assert_eq!(connect(&mut live, &packet, 0).1, 1);
            live.change(|cluster| cluster.node.zone = None);
            assert_eq!(connect(&mut live, &packet, 0).1, 1, "it stays where it was led to last");
        }
    });
}

#[test]
fn a_source_hash_is_the_same_for_all_frontends_and_nodes() {
    in_both_families(|scene| {
        let scene = scene.service(1, ENDPOINTS).exposed().edit(|service| {
            service.load_balancing = LoadBalancing::SourceHash;
        });
        let mut elsewhere = scene.cluster.clone();
        elsewhere.node.name = "there".into();
        elsewhere.slices[0].endpoints.reverse();
        let mut sticky = scene.cluster.clone();
        sticky.services[0].affinity_timeout = Some(60);
        let mut nodes = [&scene.cluster, &elsewhere, &sticky].map(|cluster| Live::new(cluster.clone()));
        let mut used = HashSet::new();
        for client in ["L3", "L4", "L5", "L6", "R3", "R4", "R5", "ext1", "ext2", "ext3", "ext4", "ext5"] {
            let mut chosen = HashSet::new();
            for node in &mut nodes {
                for to in ["ClusterIP1:80", "VIP1:80", "node1:30080"] {
                    // Long enough for session affinity to forget.
                    node.wait(MINUTE);
                    let (endpoint, of) = connect(node, &scene.packet(client, to), 0);
                    assert_eq!(of, 1, "{client} → {to}");
                    chosen.insert(endpoint);
                }
            }
            assert_eq!(chosen.len(), 1, "{client} is led to {chosen:?}");
            used.extend(chosen);
        }
        assert!(used.len() > 1, "clients are spread");
    });
}
