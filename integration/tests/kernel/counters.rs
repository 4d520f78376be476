//! Counters on the elements of the endpoint maps.

use std::fmt::Write as _;

use portolan::kernel::nftables::{Count, Counts, Tables, read_counts};
use portolan_integration::Expecting;
use portolan_rules::{
    compile::Compiler,
    frontends::FrontendKey,
    model::{Node, Protocol},
    plane::Config,
    ruleset::{Family, Ruleset},
    state::State,
};

use crate::{
    namespace::{commit, enter, expect, kernel, nft},
    tables::create,
};

/// Returns the tables of a node without Services.
fn tables(endpoint_counters: bool) -> Ruleset {
    let mut compiler = Compiler::new(Config { endpoint_counters, ..Config::default() });
    compiler.load(&mut State::new(Node::default()), &Ruleset::default());
    compiler.ruleset()
}

fn count(frontend: FrontendKey, slot: u32, endpoint: &str, owner: &str, connections: u64) -> Count {
    Count { frontend, slot, endpoint: endpoint.parse().ok(), owner: owner.into(), connections }
}

const ELEMENTS: &str = "
    add element ip portolan frontends { 10.96.0.1 . tcp . 80 comment \"default/web:http\" : 1:2 }
    add element ip portolan frontends { 10.96.0.2 . tcp . 80 : 1:2 }
    add element ip portolan frontends { 10.96.0.3 . tcp . 80 counter packets 6 bytes 1 comment \"default/db\" : 0:1 }
    add element ip6 portolan frontends { fd00:96::1 . udp . 53 comment \"kube-system/dns\" : 1:1 }
    add element ip portolan node-ports { tcp . 30080 comment \"default/web:http\" : 3:2 }
    add element ip portolan endpoints { 10.96.0.1 . tcp . 80 . 0:0 counter packets 5 bytes 300 : 10.0.0.1 . 8080 }
    add element ip portolan endpoints { 10.96.0.1 . tcp . 80 . 0:1 : 10.0.0.2 . 8080 }
    add element ip portolan endpoints { 10.96.0.2 . tcp . 80 . 0:0 counter packets 9 bytes 9 : 10.0.0.2 . 8080 }
    add element ip6 portolan endpoints { fd00:96::1 . udp . 53 . 8000:0 counter packets 4294967297 bytes 9 : fd00::1 . 53 }
    add element ip portolan node-endpoints { tcp . 30080 . 0:1 counter packets 7 bytes 9 : 10.0.0.1 . 8080 }
";

#[test]
fn counts_are_read_with_what_they_belong_to() {
    let mut kernel = kernel();
    assert_eq!(read_counts("portolan", 100).unwrap(), Counts::All(vec![]), "no tables yet");
    commit(&mut kernel, &create(&tables(true)));
    nft(&["-f", "-"], Some(ELEMENTS));
    let Counts::All(mut counts) = read_counts("portolan", 100).unwrap() else {
        panic!("no other process changes the tables")
    };
    counts.sort_by_key(|count| count.connections);
    let web = FrontendKey::Address([10, 96, 0, 1].into(), Protocol::Tcp, 80);
    let db = FrontendKey::Address([10, 96, 0, 3].into(), Protocol::Tcp, 80);
    let dns = FrontendKey::Address("fd00:96::1".parse().unwrap(), Protocol::Udp, 53);
    let node_port = FrontendKey::NodePort(Family::Ip, Protocol::Tcp, 30080);
    assert_eq!(
        counts,
        [
            count(web, 1, "10.0.0.2:8080", "default/web:http", 0),
            count(web, 0, "10.0.0.1:8080", "default/web:http", 5),
            count(db, Count::NO_SLOT, "none", "default/db", 6),
            count(node_port, 1, "10.0.0.1:8080", "default/web:http", 7),
            count(dns, 1 << 31, "[fd00::1]:53", "kube-system/dns", 4_294_967_297),
        ]
    );
    // There are ten elements: frontends and endpoints at slots.
    assert!(matches!(read_counts("portolan", 10).unwrap(), Counts::All(counts) if counts.len() == 5));
    assert_eq!(read_counts("portolan", 9).unwrap(), Counts::TooMany);
}

#[test]
fn counts_do_not_make_rulesets_differ() {
    let mut kernel = kernel();
    let empty = tables(true);
    commit(&mut kernel, &create(&empty));
    nft(&["-f", "-"], Some(ELEMENTS));
    let counted = kernel.read("portolan", &mut Expecting(&empty)).unwrap();
    let listed = nft(&["list", "ruleset"], None);
    assert!(listed.contains(" counter packets 5 bytes 300 : 10.0.0.1 . 8080"), "{listed}");
    // Portolan writes the ruleset without counts.
    nft(&["flush", "ruleset"], None);
    commit(&mut kernel, &create(&counted));
    expect(&mut kernel, &counted);
    let Counts::All(counts) = read_counts("portolan", 100).unwrap() else {
        panic!("no other process changes the tables")
    };
    assert_eq!(counts.len(), 5, "each element has its own counter");
    assert!(counts.iter().all(|count| count.connections == 0));
    // The output of `render` gives the same ruleset.
    nft(&["-f", "-"], Some(&portolan_rules::print::nft(&counted)));
    expect(&mut kernel, &counted);
}

#[test]
fn without_the_option_nothing_counts() {
    let mut kernel = kernel();
    commit(&mut kernel, &create(&tables(false)));
    let uncounted: Vec<&str> = ELEMENTS.lines().filter(|line| !line.contains("counter")).collect();
    nft(&["-f", "-"], Some(&uncounted.join("\n")));
    let listed = nft(&["list", "ruleset"], None);
    assert!(listed.contains("10.0.0.2 . 8080") && !listed.contains("counter"), "{listed}");
    assert_eq!(read_counts("portolan", 100).unwrap(), Counts::All(vec![]));
}

#[test]
fn a_large_map_is_read_whole_or_given_up_soon() {
    enter();
    let mut text = String::from(
        "table ip portolan {\n map frontends { type ipv4_addr . inet_proto . inet_service : classid; elements = { 10.96.0.1 . tcp . 80 comment \"default/web\" : 1:2 }\n }\n map endpoints { type ipv4_addr . inet_proto . inet_service . classid : ipv4_addr . inet_service; size 32768; counter; elements = {\n",
    );
    for slot in 0..20_000_u32 {
        writeln!(text, "10.96.0.1 . tcp . 80 . 1:{slot:x} counter packets {slot} bytes 1 : 10.0.0.1 . 80,")
            .unwrap();
    }
    text.push_str("}\n }\n}\n");
    nft(&["-f", "-"], Some(&text));
    let Counts::All(counts) = read_counts("portolan", 20_001).unwrap() else {
        panic!("no other process changes the tables")
    };
    assert_eq!(counts.len(), 20_000);
    assert_eq!(counts.iter().map(|count| count.connections).sum::<u64>(), (0..20_000).sum::<u64>());
    assert_eq!(read_counts("portolan", 5_000).unwrap(), Counts::TooMany);
}
