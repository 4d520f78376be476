use std::{net::IpAddr, sync::Arc};

use proptest::prelude::*;

use super::{json, nft, operation, rule, statement};
use crate::{
    ruleset::{
        BaseChain, Chain, ChainType, ClassId, Concat, DataType, Element, Family, Field, Hook, MatchValue,
        Operation, RejectWith, Rule, Ruleset, Set, SetFlags, Statement, Value, Verdict,
    },
    tests::fixture::{self, arbitrary, concat},
};

fn element(set: &Set, key: &Concat, element: &Element) -> String {
    super::element::element(set, key, element).to_string()
}

fn set_declaration(set: &Set) -> String {
    format!("{} {}", super::nft::kind(set), super::nft::declared_set(set))
}

fn key(set: &Set, key: &Concat, end: Option<&Concat>) -> String {
    super::element::key(&set.key, key, end).to_string()
}

#[test]
fn every_kind_as_text() {
    insta::assert_snapshot!(nft(&fixture::every_kind()));
}

#[test]
fn every_kind_as_json() {
    insta::assert_snapshot!(lines(&json(&fixture::every_kind())));
}

#[test]
fn services_as_text() {
    insta::assert_snapshot!(nft(&fixture::services()));
}

/// One object per line.
fn lines(document: &serde_json::Value) -> String {
    let objects = document["nftables"].as_array().unwrap();
    objects.iter().fold(String::new(), |text, object| text + &object.to_string() + "\n")
}

#[test]
fn an_empty_ruleset_is_a_comment_and_no_command() {
    assert!(nft(&Ruleset::default()).lines().all(|line| line.starts_with('#')));
    let document = json(&Ruleset::default());
    assert_eq!(document["nftables"].as_array().unwrap().len(), 1, "metainfo only");
}

#[test]
fn a_table_is_deleted_before_it_is_defined() {
    let text = nft(&fixture::services());
    let [add, delete, define] =
        ["add table ip6 portolan\n", "delete table ip6 portolan\n", "table ip6 portolan {"]
            .map(|command| text.find(&format!("\n{command}")).unwrap());
    assert!(add < delete && delete < define);
}

#[test]
fn json_adds_chains_before_the_verdicts_that_lead_to_them() {
    let document = lines(&json(&fixture::services()));
    let chain = document.find(r#"{"add":{"chain":{"family":"ip","name":"cluster-3""#).unwrap();
    let map = document.find(r#""map":"verdict""#).unwrap();
    assert!(chain < map);
}

fn tcp_only(statement: Statement) -> Rule {
    Rule::new([Statement::equal(Field::L4Proto, MatchValue::Proto(6)), statement])
}

#[test]
fn a_match_that_reset_implies_is_left_out_as_nft_leaves_it_out() {
    let reset = tcp_only(Statement::Reject(RejectWith::TcpReset));
    assert_eq!(rule(&reset, Family::Ip), "reject with tcp reset");
    let other = tcp_only(Statement::Reject(RejectWith::PortUnreachable));
    assert_eq!(rule(&other, Family::Ip), "meta l4proto tcp reject");
}

#[test]
fn a_rule_with_a_foreign_statement_is_one_comment_line() {
    let foreign = tcp_only(Statement::Foreign("log prefix \"x\"\ndrop".to_owned()));
    assert_eq!(rule(&foreign, Family::Ip), "# meta l4proto tcp log prefix \"x\" drop");
    assert_eq!(statement(&foreign.statements[1], Family::Ip), "# log prefix \"x\" drop");
    assert_eq!(json(&with_rule(foreign))["nftables"][5]["add"]["rule"]["expr"][1], "log prefix \"x\" drop");
}

fn with_rule(rule: Rule) -> Ruleset {
    let mut table = crate::ruleset::Table::new("t");
    table.add_chain(Chain::regular("c", vec![rule]));
    Ruleset { tables: [(Family::Ip, table)].into() }
}

#[test]
fn comments_cannot_end_their_quotes_or_their_line() {
    let set = Set::new("s", &[DataType::InetProto]);
    let member = Element::member().with_comment(&"a \"b\"\n# c\u{7f}".into());
    assert_eq!(element(&set, &concat([Value::Proto(6)]), &member), "tcp comment \"a 'b' # c \"");
}

#[test]
fn ranges_are_prefixes_where_addresses_allow() {
    let set = Set::new("s", &[DataType::Ipv4Addr, DataType::InetService]);
    let ip = |text: &str| Value::from(text.parse::<IpAddr>().unwrap());
    for (from, to, expected) in [
        ("10.0.0.0", "10.255.255.255", "10.0.0.0/8 . 80-90"),
        ("0.0.0.0", "255.255.255.255", "0.0.0.0/0 . 80-90"),
        ("10.0.0.4", "10.0.0.5", "10.0.0.4/31 . 80-90"),
        ("10.0.0.5", "10.0.0.6", "10.0.0.5-10.0.0.6 . 80-90"),
        ("10.0.0.5", "10.0.0.5", "10.0.0.5 . 80-90"),
    ] {
        let start = concat([ip(from), Value::Port(80)]);
        let end = concat([ip(to), Value::Port(90)]);
        assert_eq!(key(&set, &start, Some(&end)), expected);
    }
}

#[test]
fn ends_of_ranges_have_no_names_that_nft_cannot_read() {
    let set = Set::new("s", &[DataType::InetProto, DataType::ClassId]);
    let start = concat([Value::Proto(6), Value::Class(ClassId(0))]);
    let end = concat([Value::Proto(17), Value::Class(ClassId(15))]);
    assert_eq!(key(&set, &start, Some(&end)), "6-17 . 0:0-0:f");
}

#[test]
fn bytes_that_do_not_fit_their_types_are_hexadecimal() {
    let set = Set::new("s", &[DataType::Ipv4Addr]);
    assert_eq!(key(&set, &concat([Value::Proto(6), Value::Port(1)]), None), "0600000000010000");
}

#[test]
fn operations_read_like_commands() {
    let set = fixture::services().tables[&Family::Ip].sets["endpoints"].clone();
    let (first, member) = set.elements.iter().next().unwrap();
    let declaration = Arc::new(Set { elements: [].into(), ..set.clone() });
    let base = BaseChain { chain_type: ChainType::Nat, hook: Hook::Postrouting, priority: 100 };
    let operations = [
        Operation::AddTable,
        Operation::AddSet(Box::new(Set::clone(&declaration))),
        Operation::AddChain(Box::new(Chain::regular("cluster-3", vec![]))),
        Operation::AddChain(Box::new(Chain::base("postrouting", base, vec![]))),
        Operation::AddRule { chain: "send".into(), rule: Rule::new([Statement::goto("no-endpoints")]) },
        Operation::AddElement { set: declaration.clone(), key: first.clone(), element: member.clone() },
        Operation::DeleteElement { set: declaration, key: first.clone(), end: None },
        Operation::FlushChain("send".into()),
        Operation::DeleteChain("send".into()),
        Operation::DeleteSet("endpoints".into()),
        Operation::DeleteTable,
    ];
    let lines = operations.map(|each| operation(&each, Family::Ip, "portolan")).join("\n");
    insta::assert_snapshot!(lines, @r"
    + table ip portolan
    + map ip portolan endpoints { type ipv4_addr . inet_proto . inet_service . classid : ipv4_addr . inet_service; size 4096; }
    + chain ip portolan cluster-3
    + chain ip portolan postrouting { type nat hook postrouting priority srcnat; policy accept; }
    + rule ip portolan send goto no-endpoints
    + element ip portolan endpoints { 10.0.0.9 . tcp . 80 . none : 10.1.0.2 . 8080 }
    - element ip portolan endpoints { 10.0.0.9 . tcp . 80 . none }
    - rules ip portolan send
    - chain ip portolan send
    - set ip portolan endpoints
    - table ip portolan
    ");
}

#[test]
fn a_set_is_declared_on_one_line() {
    let flags = SetFlags { interval: true, dynamic: true, timeout: true };
    let set = Set::verdict_map("v", &[DataType::Ipv6Addr, DataType::ClassId]).with_size(5).with_flags(flags);
    assert_eq!(
        set_declaration(&set),
        "map v { type ipv6_addr . classid : verdict; size 5; flags dynamic,interval,timeout; }"
    );
    let counting = Set::new("s", &[DataType::InetService]).with_size(5).with_counter();
    assert_eq!(set_declaration(&counting), "set s { type inet_service; size 5; counter; }");
}

/// Depth of braces outside strings and comments at the end of the text; `None` if it ever falls below 0.
fn depth(text: &str) -> Option<u32> {
    let mut depth = 0_u32;
    for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with('#')) {
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                '{' if !quoted => depth += 1,
                '}' if !quoted => depth = depth.checked_sub(1)?,
                _ => {}
            }
        }
        if quoted {
            return None;
        }
    }
    Some(depth)
}

proptest! {
    #[test]
    fn any_ruleset_prints_balanced_and_always_alike(ruleset in arbitrary::ruleset()) {
        let text = nft(&ruleset);
        prop_assert_eq!(depth(&text), Some(0), "{}", text);
        let copy = ruleset.clone();
        prop_assert_eq!(&text, &nft(&copy));
        prop_assert_eq!(json(&ruleset).to_string(), json(&copy).to_string());
        let rules = ruleset.tables.values().flat_map(|t| t.chains.values()).map(|c| c.rules.len());
        let listed = lines(&json(&ruleset)).matches(r#"{"add":{"rule""#).count();
        prop_assert_eq!(rules.sum::<usize>(), listed);
    }

    #[test]
    fn any_statement_is_one_line(statement in arbitrary::statement()) {
        for family in Family::ALL {
            let text = super::statement(&statement, family);
            prop_assert!(!text.contains(char::is_control), "{:?}", text);
            prop_assert!(!text.is_empty());
        }
    }

    #[test]
    fn any_element_is_one_line(set in arbitrary::set()) {
        for (key, member) in &set.elements {
            let text = element(&set, key, member);
            prop_assert!(!text.contains(char::is_control), "{:?}", text);
            prop_assert_eq!(text.matches('"').count(), 2 * usize::from(member.comment.is_some()));
        }
    }
}

#[test]
fn verdicts_of_elements_follow_their_comments() {
    let set = Set::verdict_map("v", &[DataType::ClassId]);
    let drop = Element::verdict(Verdict::Drop).with_comment(&"x".into());
    assert_eq!(element(&set, &concat([Value::Class(ClassId(0x2_0003))]), &drop), "2:3 comment \"x\" : drop");
}
