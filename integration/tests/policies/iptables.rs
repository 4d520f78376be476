//! `render -o iptables`, loaded by both variants of Debian's iptables: packets get the same answers as from the
//! nftables rules.

use portolan_integration::{CLUSTER_CIDR, Family};

use crate::{
    affinity::{
        a_client_meets_one_endpoint_at_every_frontend_of_the_port_in,
        the_ports_of_a_service_are_independent_in,
    },
    balancing::{an_endpoint_of_weight_zero_takes_none_in, source_hash, weights_divide_new_connections_in},
    frontends::{assert_all_serve, put, ready, targets},
    local::{
        both_policies_refuse_without_endpoints_in,
        external_local_keeps_the_client_s_address_and_short_circuits_pods_and_the_node_in,
        external_local_without_a_local_endpoint_is_silent_to_the_outside_only_in,
        internal_local_leads_to_the_endpoint_of_this_node_in,
    },
    matrix::{MASQUERADE_ALL, WITHOUT_DETECTOR, holds_in},
    scene::Scene,
    source_ranges::{
        a_vip_is_for_sources_in_the_ranges_and_the_other_frontends_for_all_in,
        the_node_in_a_range_may_use_the_vip_as_its_source_in,
        without_endpoints_the_allowed_are_refused_and_the_others_meet_silence_in,
    },
};

/// The variants of iptables: over `nf_tables`, and the kernel's older tables.
const VARIANTS: [&str; 2] = ["nft", "legacy"];

/// Runs `check` with the rules of each variant.
fn with_each(check: impl Fn(Scene)) {
    for variant in VARIANTS {
        println!("iptables-{variant}");
        check(Scene::with_iptables(variant));
    }
}

#[test]
fn masquerading_with_a_detector_is_the_same() {
    with_each(|scene| holds_in(scene, &["--cluster-cidr", CLUSTER_CIDR], &[]));
}

#[test]
fn masquerading_without_a_detector_is_the_same() {
    with_each(|scene| holds_in(scene, &[], &[&WITHOUT_DETECTOR]));
}

#[test]
fn masquerading_everything_is_the_same() {
    let arguments = ["--cluster-cidr", CLUSTER_CIDR, "--masquerade-all"];
    with_each(|scene| holds_in(scene, &arguments, &[&MASQUERADE_ALL]));
}

#[test]
fn pods_are_known_by_their_interfaces_as_well() {
    let by_interface = ["--detect-local-mode", "InterfaceNamePrefix", "--pod-interface-name-prefix", "pod"];
    let arguments = [&by_interface[..], &["--masquerade-bit", "0"]].concat();
    with_each(|scene| holds_in(scene, &arguments, &[]));
}

#[test]
fn policies_are_the_same() {
    with_each(internal_local_leads_to_the_endpoint_of_this_node_in);
    with_each(external_local_keeps_the_client_s_address_and_short_circuits_pods_and_the_node_in);
}

#[test]
fn refusals_and_silence_are_the_same() {
    with_each(external_local_without_a_local_endpoint_is_silent_to_the_outside_only_in);
    with_each(both_policies_refuse_without_endpoints_in);
}

#[test]
fn source_ranges_are_the_same() {
    with_each(a_vip_is_for_sources_in_the_ranges_and_the_other_frontends_for_all_in);
    with_each(the_node_in_a_range_may_use_the_vip_as_its_source_in);
    with_each(without_endpoints_the_allowed_are_refused_and_the_others_meet_silence_in);
}

#[test]
fn session_affinity_is_the_same() {
    with_each(a_client_meets_one_endpoint_at_every_frontend_of_the_port_in);
    with_each(the_ports_of_a_service_are_independent_in);
}

#[test]
fn weights_are_the_same() {
    with_each(weights_divide_new_connections_in);
    with_each(an_endpoint_of_weight_zero_takes_none_in);
}

/// As the rendered text documents.
#[test]
fn source_hash_is_a_random_draw() {
    with_each(|mut scene| {
        let [one, two, three] = scene.web_pods();
        put(&scene, 1, &source_hash(&scene, 1), &ready(&[&one, &two, &three]));
        scene.run();
        for family in Family::BOTH {
            for (kind, target) in targets(&scene, 1, family) {
                assert_all_serve(&scene.shell.client(), target, &["web-1", "web-2", "web-3"], kind);
            }
        }
    });
}
