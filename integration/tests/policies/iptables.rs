//! `render -o iptables`, loaded by Debian's iptables: the same answers to the same packets as from the nftables rules.

use portolan_integration::CLUSTER_CIDR;

use crate::{
    affinity::{
        a_client_meets_one_endpoint_at_every_frontend_of_the_port_in,
        the_ports_of_a_service_are_independent_in,
    },
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

#[test]
fn masquerading_with_a_detector_is_the_same() {
    holds_in(Scene::with_iptables(), &["--cluster-cidr", CLUSTER_CIDR], &[]);
}

#[test]
fn masquerading_without_a_detector_is_the_same() {
    holds_in(Scene::with_iptables(), &[], &[&WITHOUT_DETECTOR]);
}

#[test]
fn masquerading_everything_is_the_same() {
    let arguments = ["--cluster-cidr", CLUSTER_CIDR, "--masquerade-all"];
    holds_in(Scene::with_iptables(), &arguments, &[&MASQUERADE_ALL]);
}

#[test]
fn pods_are_known_by_their_interfaces_as_well() {
    let by_interface = ["--detect-local-mode", "InterfaceNamePrefix", "--pod-interface-name-prefix", "pod"];
    holds_in(Scene::with_iptables(), &[&by_interface[..], &["--masquerade-bit", "0"]].concat(), &[]);
}

#[test]
fn policies_are_the_same() {
    internal_local_leads_to_the_endpoint_of_this_node_in(Scene::with_iptables());
    external_local_keeps_the_client_s_address_and_short_circuits_pods_and_the_node_in(Scene::with_iptables());
}

#[test]
fn refusals_and_silence_are_the_same() {
    external_local_without_a_local_endpoint_is_silent_to_the_outside_only_in(Scene::with_iptables());
    both_policies_refuse_without_endpoints_in(Scene::with_iptables());
}

#[test]
fn source_ranges_are_the_same() {
    a_vip_is_for_sources_in_the_ranges_and_the_other_frontends_for_all_in(Scene::with_iptables());
    the_node_in_a_range_may_use_the_vip_as_its_source_in(Scene::with_iptables());
    without_endpoints_the_allowed_are_refused_and_the_others_meet_silence_in(Scene::with_iptables());
}

#[test]
fn session_affinity_is_the_same() {
    a_client_meets_one_endpoint_at_every_frontend_of_the_port_in(Scene::with_iptables());
    the_ports_of_a_service_are_independent_in(Scene::with_iptables());
}
