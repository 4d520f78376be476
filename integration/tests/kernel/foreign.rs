//! Portolan sees what others put into its tables.

use portolan::kernel::nftables::{FOREIGN_PRIORITY, Kernel, Tables};
use portolan_integration::Expecting;
use portolan_rules::ruleset::{Concat, Element, Family, Ruleset, Statement, Table, Value, Verdict};

use crate::{
    namespace::{commit, kernel, nft},
    tables::{create, data_plane, ruleset},
};

/// Loads a text and returns its IPv4 table.
fn table(text: &str) -> Table {
    let mut kernel = kernel();
    nft(&["-f", "-"], Some(text));
    kernel.dump("portolan").unwrap().tables.remove(&Family::Ip).unwrap()
}

#[test]
fn rules_that_portolan_never_writes_are_foreign() {
    let table = table(
        "table ip portolan { chain c {
            counter accept
            tcp dport { 80, 443 } accept
            ip saddr 10.0.0.1 log
            meta priority set 1:1 accept
            ip ttl 64 accept
            dnat to 10.0.0.1
            masquerade
            numgen inc mod 2 vmap { 0 : accept, 1 : drop }
            ct state new accept
            limit rate 1/second accept
            reject with icmp type host-unreachable
            oifname eth0 accept
            meta mark 1-3 accept
            ct original saddr 10.0.0.1 accept
            jump { accept; }
        }\n }",
    );
    let foreign: Vec<bool> = table.chains["c"]
        .rules
        .iter()
        .map(|rule| rule.statements.iter().any(|statement| matches!(statement, Statement::Foreign(_))))
        .collect();
    assert_eq!(foreign.len(), 15);
    for (i, foreign) in foreign.into_iter().enumerate() {
        assert!(foreign, "rule {i}: {:?}", table.chains["c"].rules[i]);
    }
    let description = Statement::Foreign("counter, immediate".into());
    assert_eq!(table.chains["c"].rules[0].statements, [description]);
    assert!(table.sets.is_empty(), "anonymous sets belong to their rules");
    assert_eq!(table.chains.len(), 1, "as do anonymous chains");
}

/// A rule is known only at its position and as a whole.
#[test]
fn rules_that_are_not_the_expected_ones_are_foreign() {
    let mut kernel = kernel();
    let mut expected = ruleset(data_plane);
    commit(&mut kernel, &create(&expected));
    let is_known = |kernel: &mut Kernel, expected: &Ruleset| -> Vec<bool> {
        let found = kernel.read("portolan", &mut Expecting(expected)).unwrap();
        let (found, expected) = (&found.tables[&Family::Ip], &expected.tables[&Family::Ip]);
        let rules = |table: &Table| table.chains["services"].rules.clone();
        rules(found).iter().enumerate().map(|(i, rule)| rules(expected).get(i) == Some(rule)).collect()
    };
    let count = expected.tables[&Family::Ip].chains["services"].rules.len();
    assert_eq!(is_known(&mut kernel, &expected), vec![true; count]);
    nft(&["-f", "-"], Some("add rule ip portolan services ct status dnat accept"));
    assert_eq!(is_known(&mut kernel, &expected), [vec![true; count], vec![false]].concat());
    nft(&["-f", "-"], Some("insert rule ip portolan services counter drop"));
    assert!(!is_known(&mut kernel, &expected)[0]);
    // The target of a foreign rule's jump is read.
    let services = expected.tables.get_mut(&Family::Ip).unwrap().chains.get_mut("services").unwrap();
    services.rules.clear();
    nft(&["-f", "-"], Some("flush chain ip portolan services\nadd rule ip portolan services goto send"));
    let found = kernel.read("portolan", &mut Expecting(&expected)).unwrap();
    let statements = &found.tables[&Family::Ip].chains["services"].rules[0].statements;
    assert_eq!(statements[..], [Statement::Foreign("immediate".into()), Statement::goto("send")]);
}

#[test]
fn sets_that_the_model_cannot_express_have_no_types() {
    let table = table(
        "table ip portolan {
            set marks { type mark; elements = { 1, 2 }\n }
            set expiring { type ipv4_addr; flags timeout; timeout 1h; elements = { 10.0.0.1 }\n }
            set fixed { type ipv4_addr; flags constant; elements = { 10.0.0.1 }\n }
            map translation { type ipv4_addr : mark; elements = { 10.0.0.1 : 1 }\n }
            set limiting { type ipv4_addr; limit rate 1/second; elements = { 10.0.0.1 }\n }
            set both { type ipv4_addr; counter quota 5 mbytes; elements = { 10.0.0.1 }\n }
            set plain { type ipv4_addr; elements = { 10.0.0.1 comment \"somebody's\" }\n }
        }",
    );
    for name in ["marks", "expiring", "fixed", "translation", "limiting", "both"] {
        let set = &table.sets[name];
        assert!(set.key.is_empty() && set.elements.is_empty(), "{name}: {set:?}");
    }
    let key = Concat::new(&[Value::Ipv4([10, 0, 0, 1].into())]);
    let element = Element::member().with_comment(&"somebody's".into());
    assert_eq!(table.sets["plain"].elements.get(&key), Some(&element));
}

#[test]
fn chains_that_the_model_cannot_express_differ_from_all_others() {
    let table = table(
        "table ip portolan {
            chain routed { type route hook output priority 0; }
            chain strict { type filter hook input priority 0; policy drop; }
            chain usual { type filter hook input priority 0; }
        }",
    );
    let priority = |name: &str| table.chains[name].base.unwrap().priority;
    assert_eq!(priority("routed"), FOREIGN_PRIORITY);
    assert_eq!(priority("strict"), FOREIGN_PRIORITY);
    assert_eq!(priority("usual"), 0);
}

#[test]
fn a_sleeping_table_differs_from_one_that_works() {
    for table in [
        table("table ip portolan { flags dormant; chain usual { type filter hook input priority 0; }\n }"),
        table("table ip portolan { flags dormant; }"),
    ] {
        assert_eq!(table.chains["prerouting"].base.unwrap().priority, FOREIGN_PRIORITY);
    }
}

#[test]
fn the_catch_all_element_has_an_empty_key() {
    let table = table(
        "table ip portolan {
            map any { type ipv4_addr : verdict; flags interval; elements = { 10.0.0.0/8 : drop, * : accept }\n }
        }",
    );
    let elements = &table.sets["any"].elements;
    assert_eq!(elements.get(&Concat::default()), Some(&Element::verdict(Verdict::Accept)));
    let (_, range) = elements.iter().last().unwrap();
    let end = Concat::new(&[Value::Ipv4([10, 255, 255, 255].into())]);
    assert_eq!(range.end.as_deref(), Some(&end));
}
