//! A dump equals the committed ruleset, and nft can list and load it.

use portolan_rules::ruleset::Family;

use crate::{
    namespace::{commit, expect, kernel, list, nft},
    tables::{create, data_plane, everything_else, ruleset},
};

#[test]
fn the_data_plane_is_read_back_as_written() {
    let mut kernel = kernel();
    let ruleset = ruleset(data_plane);
    commit(&mut kernel, &create(&ruleset));
    expect(&mut kernel, &ruleset);
}

#[test]
fn every_statement_is_read_back_as_written() {
    let mut kernel = kernel();
    let ruleset = ruleset(|family| everything_else(family, false));
    commit(&mut kernel, &create(&ruleset));
    expect(&mut kernel, &ruleset);
    list();
}

#[test]
fn nft_lists_what_it_would_itself_have_written() {
    let mut kernel = kernel();
    for tables in [data_plane, |family| everything_else(family, true)] as [fn(Family) -> _; 2] {
        let ruleset = ruleset(tables);
        commit(&mut kernel, &create(&ruleset));
        let listed = list();
        assert!(nft(&["-j", "list", "ruleset"], None).contains("portolan"));
        nft(&["flush", "ruleset"], None);
        nft(&["-f", "-"], Some(&listed));
        assert_eq!(list(), listed);
        // The rules that nft loaded from its own text are equal to the last instruction.
        expect(&mut kernel, &ruleset);
        nft(&["flush", "ruleset"], None);
    }
}

#[test]
fn the_listing_says_what_was_meant() {
    let mut kernel = kernel();
    commit(&mut kernel, &create(&ruleset(data_plane)));
    let listed = nft(&["list", "table", "ip", "portolan"], None);
    for line in [
        "type ipv4_addr . inet_proto . inet_service : classid",
        "10.0.0.0 . tcp . 80 comment \"default/web:http\" : 1:3",
        "elements = { 0:1 : goto no-endpoints, 1:3 : goto cluster-3 }",
        "ip saddr != 10.0.0.0/8 meta mark set meta mark | 0x00004000",
        "meta priority set numgen random mod 3 goto send",
        "meta l4proto != icmp dnat ip to ip daddr . meta l4proto . th dport . meta priority map @endpoints",
        "meta priority set meta priority & 8000:0",
        "meta priority set ip daddr . meta l4proto . th dport map @frontends meta priority vmap @classes",
        "reject with tcp reset",
        "ct status dnat meta priority set none",
        "meta mark & 0x00004000 == 0x00004000 meta mark set meta mark ^ 0x00004000 masquerade fully-random",
        "ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random",
    ] {
        let found = listed.lines().any(|found| found.trim().trim_end_matches(',').contains(line));
        assert!(found, "no line `{line}` in\n{listed}");
    }
}
