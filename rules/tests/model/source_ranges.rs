//! `loadBalancerSourceRanges`.

use portolan_rules::ruleset::Family;

use crate::scene::{Scene, in_both_families, network};

/// A Service with these ranges.
fn restricted(scene: Scene, endpoints: &str, ranges: &[(&str, &str)]) -> Scene {
    let family = scene.family;
    let ranges = ranges.iter().map(|(v4, v6)| network(family, v4, v6)).collect();
    scene.service(1, endpoints).exposed().edit(|service| service.source_ranges = ranges)
}

const OUTSIDE: (&str, &str) = ("198.51.100.0/25", "2001:db8:51::/121");
const NODES: (&str, &str) = ("192.0.2.0/24", "2001:db8:2::/64");
const PODS: (&str, &str) = ("10.1.0.0/16", "fd00:1::/32");

#[test]
fn only_the_load_balancers_addresses_are_guarded() {
    in_both_families(|scene| {
        restricted(scene, "L1", &[OUTSIDE]).expect(
            "ranges",
            &[
                ("ext1", "VIP1:80", "L1 SNAT"),
                ("ext200", "VIP1:80", "drop"),
                ("ext200", "node1:30080", "L1 SNAT"),
                ("ext200", "externalIP1:80", "L1 SNAT"),
                ("ext200", "ClusterIP1:80", "L1 SNAT"),
                ("ext200", "VIP1:81", "untouched"),
            ],
        );
    });
}

#[test]
fn pods_and_nodes_are_not_exempt_not_even_under_policy_local() {
    in_both_families(|scene| {
        let scene = restricted(scene, "L1 R1", &[OUTSIDE]).external_local();
        scene.expect(
            "outside only",
            &[
                ("L9", "VIP1:80", "drop"),
                ("node1", "VIP1:80", "drop"),
                ("VIP1", "VIP1:80", "drop"),
                ("ext1", "VIP1:80", "L1"),
                ("ext200", "VIP1:80", "drop"),
            ],
        );
    });
    in_both_families(|scene| {
        restricted(scene, "L1 R1", &[PODS])
            .external_local()
            .expect("pods only", &[("L9", "VIP1:80", "L1+R1"), ("ext1", "VIP1:80", "drop")]);
    });
}

#[test]
fn a_range_with_the_nodes_own_address_lets_its_virtual_ips_in() {
    in_both_families(|scene| {
        restricted(scene, "L1", &[NODES]).expect(
            "nodes only",
            &[
                ("node1", "VIP1:80", "L1 SNAT"),
                ("VIP1", "VIP1:80", "L1 SNAT"),
                ("externalIP1", "VIP1:80", "drop"),
                ("ext1", "VIP1:80", "drop"),
            ],
        );
    });
}

#[test]
fn ranges_of_the_other_family_leave_this_one_open() {
    in_both_families(|scene| {
        let other = match scene.family {
            Family::Ip => OUTSIDE.1,
            Family::Ip6 => OUTSIDE.0,
        };
        restricted(scene, "L1", &[(other, other)]).expect(
            "ranges of the other family only",
            &[("ext1", "VIP1:80", "L1 SNAT"), ("ext200", "VIP1:80", "L1 SNAT"), ("L9", "VIP1:80", "L1 SNAT")],
        );
    });
}

#[test]
fn the_range_of_everything_is_no_filter() {
    in_both_families(|scene| {
        restricted(scene, "L1", &[OUTSIDE, ("0.0.0.0/0", "::/0")])
            .expect("/0", &[("ext200", "VIP1:80", "L1 SNAT"), ("L9", "VIP1:80", "L1 SNAT")]);
    });
}

#[test]
fn the_halves_of_everything_are_everything() {
    in_both_families(|scene| {
        restricted(scene, "L1", &[("0.0.0.0/1", "::/1"), ("128.0.0.0/1", "8000::/1")])
            .expect("two halves", &[("ext200", "VIP1:80", "L1 SNAT"), ("L9", "VIP1:80", "L1 SNAT")]);
    });
}

#[test]
fn host_bits_of_a_range_do_not_matter() {
    in_both_families(|scene| {
        restricted(scene, "L1", &[("198.51.100.77/25", "2001:db8:51::77/121")])
            .expect("host bits", &[("ext1", "VIP1:80", "L1 SNAT"), ("ext200", "VIP1:80", "drop")]);
    });
}

#[test]
fn without_endpoints_allowed_sources_are_refused_and_others_dropped() {
    in_both_families(|scene| {
        restricted(scene, "", &[OUTSIDE]).expect(
            "no endpoints",
            &[
                ("ext1", "VIP1:80", "reject"),
                ("ext200", "VIP1:80", "drop"),
                ("L9", "VIP1:80", "drop"),
                ("ext200", "node1:30080", "reject"),
                ("ext200", "externalIP1:80", "reject"),
            ],
        );
    });
}

#[test]
fn each_service_has_its_own_ranges() {
    in_both_families(|scene| {
        let family = scene.family;
        let nodes = network(family, NODES.0, NODES.1);
        restricted(scene, "L1", &[OUTSIDE])
            .service(2, "L2")
            .exposed()
            .edit(|service| service.source_ranges = vec![nodes])
            .expect(
                "two Services",
                &[
                    ("ext1", "VIP1:80", "L1 SNAT"),
                    ("ext1", "VIP2:80", "drop"),
                    ("node1", "VIP1:80", "drop"),
                    ("node1", "VIP2:80", "L2 SNAT"),
                ],
            );
    });
}
