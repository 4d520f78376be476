//! Each test checks one rule of the kernel's semantics. Rules that are not obvious were observed with counters on a
//! 6.18 kernel.

use super::{
    arriving, base, drop_marked, entry, fate, host, leaving, mark, only, packet, passing, rule, set_mark,
    set_priority, table, way,
};
use crate::{
    ruleset::{
        BitOp, Chain, ChainType, ClassId, DataType, Element, Expression, Family, Field, Hook, MatchValue,
        RejectWith, Rule, Ruleset, Set, SetFlags, Statement, Value, Verdict,
    },
    simulate::{Decision, Fate, Input, Memory, Packet, UnknownReason, simulate},
    tests::fixture::concat,
};

const UNTOUCHED: Fate = Fate::Untouched { masqueraded: false };

fn verdict(verdict: Verdict) -> Rule {
    rule([Statement::Verdict(verdict)])
}

fn jump(chain: &str) -> Rule {
    rule([Statement::jump(chain)])
}

fn goto(chain: &str) -> Rule {
    rule([Statement::goto(chain)])
}

/// Whether a packet that arrives here is dropped.
fn dropped(rules: Vec<Rule>) -> bool {
    match fate(&table([entry(rules)], []), &arriving()) {
        Fate::Dropped => true,
        UNTOUCHED => false,
        other => panic!("{other}"),
    }
}

fn drops_if(matching: Statement) -> bool {
    dropped(vec![rule([matching, Statement::Verdict(Verdict::Drop)])])
}

#[test]
fn a_failed_test_ends_the_rule_but_not_what_it_did() {
    let partial = rule([
        set_mark(Expression::Constant(1)),
        Statement::equal(Field::L4Proto, MatchValue::Proto(17)),
        set_mark(Expression::Constant(2)),
    ]);
    assert!(dropped(vec![partial, drop_marked(1)]));
}

#[test]
fn tests_compare() {
    let net = |text: &str| MatchValue::Prefix(text.parse().unwrap());
    for (field, right, expected) in [
        (Field::SourceAddress, net("192.0.2.0/24"), true),
        (Field::SourceAddress, net("192.0.2.0/32"), false),
        (Field::DestinationAddress, net("10.0.0.1/32"), true),
        (Field::L4Proto, MatchValue::Proto(6), true),
        (Field::L4Proto, MatchValue::Proto(17), false),
        (Field::Priority, MatchValue::Number(0), true),
        (Field::Mark, MatchValue::Number(1), false),
        (Field::ConntrackStatus, MatchValue::Dnat, false),
        (Field::DestinationAddressType, MatchValue::Local, true),
        (Field::SourceAddressType, MatchValue::Local, false),
        (Field::InputInterface, MatchValue::Interface { name: "eth0".into(), prefix: false }, true),
        (Field::InputInterface, MatchValue::Interface { name: "eth".into(), prefix: false }, false),
        (Field::InputInterface, MatchValue::Interface { name: "eth".into(), prefix: true }, true),
        (Field::InputInterface, MatchValue::Interface { name: "cali".into(), prefix: true }, false),
    ] {
        assert_eq!(drops_if(Statement::equal(field, right.clone())), expected, "{field:?} {right:?}");
        assert_eq!(drops_if(Statement::not_equal(field, right.clone())), !expected, "{field:?} {right:?}");
    }
}

#[test]
fn what_this_node_sends_has_an_empty_input_interface() {
    let from_veth = MatchValue::Interface { name: "cali".into(), prefix: true };
    let refuse =
        rule([Statement::not_equal(Field::InputInterface, from_veth), Statement::Verdict(Verdict::Drop)]);
    let chain = base("out", ChainType::Filter, Hook::Output, 0, vec![refuse]);
    assert_eq!(fate(&table([chain], []), &leaving()), Fate::Dropped);
}

#[test]
fn loopback_addresses_are_local_without_being_listed() {
    let local = Statement::equal(Field::DestinationAddressType, MatchValue::Local);
    let ruleset = table([entry(vec![rule([local, Statement::Verdict(Verdict::Drop)])])], []);
    let to = |last| packet([192, 0, 2, 1].into(), last, 80);
    assert_eq!(fate(&ruleset, &to([127, 0, 0, 53].into())), Fate::Dropped);
    assert_eq!(fate(&ruleset, &to([10, 0, 0, 2].into())), UNTOUCHED);
}

#[test]
fn bits_can_be_set_and_tested() {
    let flip = |op, bits| rule([set_mark(Expression::from(Field::Mark).bitwise(op, bits))]);
    let rules = vec![flip(BitOp::Or, 0x4001), flip(BitOp::Xor, 0x1), flip(BitOp::And, 0xff00)];
    assert!(dropped([rules, vec![drop_marked(0x4000)]].concat()));
}

#[test]
fn sets_hold_keys_and_their_absence() {
    let mut set = Set::new("s", &[DataType::InetProto, DataType::InetService]);
    set.elements.insert(concat([Value::Proto(6), Value::Port(80)]), Element::member());
    let key = Expression::fields(&[Field::L4Proto, Field::DestinationPort]);
    for (negated, port, expected) in
        [(false, 80, Fate::Dropped), (false, 81, UNTOUCHED), (true, 80, UNTOUCHED), (true, 81, Fate::Dropped)]
    {
        let in_set = Statement::InSet { key: key.clone(), set: "s".into(), negated };
        let ruleset = table([entry(vec![rule([in_set, Statement::Verdict(Verdict::Drop)])])], [set.clone()]);
        let packet = Packet { destination_port: port, ..arriving() };
        assert_eq!(fate(&ruleset, &packet), expected, "negated {negated}, port {port}");
    }
}

#[test]
fn an_interval_covers_what_lies_between_its_ends_in_every_field() {
    let interval = SetFlags { interval: true, ..SetFlags::default() };
    let mut set = Set::new("s", &[DataType::InetService, DataType::ClassId]).with_flags(interval);
    let end = concat([Value::Port(90), Value::Class(ClassId(0x200))]);
    set.elements.insert(
        concat([Value::Port(80), Value::Class(ClassId(0x1ff))]),
        Element { end: Some(Box::new(end)), ..Element::member() },
    );
    for (port, class, inside) in
        [(80, 0x1ff, true), (90, 0x200, true), (85, 0x1fe, false), (79, 0x200, false), (91, 0x200, false)]
    {
        let key = Expression::fields(&[Field::DestinationPort, Field::Priority]);
        let rules = vec![
            rule([set_priority(Expression::Constant(class))]),
            rule([Statement::in_set(key, "s"), Statement::Verdict(Verdict::Drop)]),
        ];
        let packet = Packet { destination_port: port, ..arriving() };
        let expected = if inside { Fate::Dropped } else { UNTOUCHED };
        assert_eq!(fate(&table([entry(rules)], [set.clone()]), &packet), expected, "{port} {class:x}");
    }
}

#[test]
fn a_lookup_that_misses_ends_the_rule() {
    let mut map = Set::map("m", &[DataType::InetService], &[DataType::ClassId]);
    map.elements.insert(concat([Value::Port(80)]), Element::value(concat([Value::Class(ClassId(7))])));
    let write = rule([
        set_mark(Expression::from(Field::DestinationPort).lookup("m")),
        Statement::Verdict(Verdict::Accept),
    ]);
    let ruleset = table([entry(vec![write, verdict(Verdict::Drop)])], [map]);
    assert_eq!(fate(&ruleset, &arriving()), UNTOUCHED);
    assert_eq!(fate(&ruleset, &Packet { destination_port: 81, ..arriving() }), Fate::Dropped);
}

#[test]
fn a_verdict_map_gives_each_verdict() {
    for (to, expected) in [
        (Verdict::Accept, UNTOUCHED),
        (Verdict::Drop, Fate::Dropped),
        (Verdict::Return, UNTOUCHED),
        (Verdict::Jump("reject".into()), Fate::Rejected(RejectWith::PortUnreachable)),
        (Verdict::Goto("reject".into()), Fate::Rejected(RejectWith::PortUnreachable)),
    ] {
        let mut map = Set::verdict_map("v", &[DataType::InetService]);
        map.elements.insert(concat([Value::Port(80)]), Element::verdict(to));
        let dispatch = Statement::VerdictMap { key: Field::DestinationPort.into(), map: "v".into() };
        let reject = Chain::regular("reject", vec![rule([Statement::Reject(RejectWith::PortUnreachable)])]);
        let chains = [entry(vec![rule([dispatch]), verdict(Verdict::Drop)]), reject];
        let ruleset = table(chains, [map]);
        assert_eq!(fate(&ruleset, &arriving()), expected);
        let miss = Packet { destination_port: 81, ..arriving() };
        assert_eq!(fate(&ruleset, &miss), Fate::Dropped, "a miss goes on with the next rule");
    }
}

#[test]
fn a_jump_comes_back_and_a_goto_comes_back_to_the_jump() {
    let chains = [
        entry(vec![jump("a"), mark(9)]),
        Chain::regular("a", vec![mark(1), goto("b"), verdict(Verdict::Drop)]),
        Chain::regular("b", vec![mark(2)]),
    ];
    let case = only(&table(chains, []), &arriving());
    assert_eq!(way(&case), ["entry/0", "a/0", "a/1", "b/0", "entry/1"]);
    assert_eq!(case.steps.iter().map(|step| step.depth).collect::<Vec<_>>(), [0, 1, 1, 1, 0]);
}

#[test]
fn return_goes_to_the_jump_and_ends_a_base_chain() {
    let chains = [
        entry(vec![jump("a"), verdict(Verdict::Return), verdict(Verdict::Drop)]),
        Chain::regular("a", vec![verdict(Verdict::Return), verdict(Verdict::Drop)]),
    ];
    let case = only(&table(chains, []), &arriving());
    assert_eq!((case.fate, way(&case)), (UNTOUCHED, ["entry/0", "a/0", "entry/1"].map(String::from).into()));
}

#[test]
fn accept_ends_its_own_base_chain_only() {
    let later = base("later", ChainType::Filter, Hook::Prerouting, 1, vec![verdict(Verdict::Drop)]);
    let chains = [
        entry(vec![jump("a"), verdict(Verdict::Drop)]),
        Chain::regular("a", vec![verdict(Verdict::Accept)]),
        later,
    ];
    let case = only(&table(chains, []), &arriving());
    assert_eq!(
        (case.fate, way(&case)),
        (Fate::Dropped, ["entry/0", "a/0", "later/0"].map(String::from).into())
    );
}

#[test]
fn sixteen_jumps_are_followed_and_a_seventeenth_drops() {
    for (jumps, expected) in [(16, UNTOUCHED), (17, Fate::Dropped)] {
        let deep = (1..=jumps).map(|i| {
            let rules = if i == jumps { vec![] } else { vec![jump(&format!("c{}", i + 1))] };
            Chain::regular(format!("c{i}"), rules)
        });
        let ruleset = table([entry(vec![jump("c1")])].into_iter().chain(deep), []);
        assert_eq!(fate(&ruleset, &arriving()), expected);
    }
}

#[test]
fn a_loop_ends() {
    let gotos = [entry(vec![goto("a")]), Chain::regular("a", vec![goto("a")])];
    let case = only(&table(gotos, []), &arriving());
    assert_eq!(case.fate, Fate::Unknown(UnknownReason::TooManyRules));
    assert!(!case.is_certain());
    let jumps = [entry(vec![jump("a")]), Chain::regular("a", vec![jump("a")])];
    assert_eq!(fate(&table(jumps, []), &arriving()), Fate::Dropped);
}

#[test]
fn base_chains_come_by_priority_and_the_newest_of_equals_first() {
    let chain = |name, priority| base(name, ChainType::Filter, Hook::Prerouting, priority, vec![mark(1)]);
    let ruleset = table([chain("c", 7), chain("b", 7), chain("a", -7), chain("d", 8)], []);
    assert_eq!(way(&only(&ruleset, &arriving())), ["a/0", "b/0", "c/0", "d/0"]);
}

#[test]
fn hooks_depend_on_where_the_packet_comes_from_and_goes_to() {
    let chains = Hook::ALL.map(|hook| base(hook.name(), ChainType::Filter, hook, 0, vec![mark(1)]));
    let ruleset = table(chains, []);
    let hooks = |packet: &Packet| -> Vec<_> {
        only(&ruleset, packet).steps.into_iter().map(|step| step.hook).collect()
    };
    assert_eq!(hooks(&arriving()), [Hook::Prerouting, Hook::Input]);
    assert_eq!(hooks(&passing()), [Hook::Prerouting, Hook::Forward, Hook::Postrouting]);
    assert_eq!(hooks(&leaving()), [Hook::Output, Hook::Postrouting]);
    let to_itself = Packet { input: Input::Local, ..arriving() };
    let looped = [Hook::Output, Hook::Postrouting, Hook::Prerouting, Hook::Input];
    assert_eq!(hooks(&to_itself), looped);
}

/// A map that sends 198.51.100.1:80 to `to`, and the statement that reads it.
fn dnat_to(to: [u8; 4], port: u16) -> (Set, Statement) {
    let types = [DataType::Ipv4Addr, DataType::InetService];
    let mut map = Set::map("m", &types, &types);
    let at = |ip: [u8; 4], port| concat([Value::Ipv4(ip.into()), Value::Port(port)]);
    map.elements.insert(at([198, 51, 100, 1], 80), Element::value(at(to, port)));
    let key = Expression::fields(&[Field::DestinationAddress, Field::DestinationPort]);
    (map, Statement::Dnat { key, map: "m".into() })
}

fn nat(name: &str, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    base(name, ChainType::Nat, hook, priority, rules)
}

#[test]
fn a_translation_decides_where_the_packet_goes_and_ends_the_nat_chains() {
    let (map, dnat) = dnat_to([10, 0, 0, 1], 8080);
    let chains = [
        nat("second", Hook::Prerouting, -90, vec![verdict(Verdict::Drop)]),
        nat("first", Hook::Prerouting, -150, vec![rule([dnat]), verdict(Verdict::Drop)]),
        base("input", ChainType::Filter, Hook::Input, 0, vec![mark(1)]),
    ];
    let case = only(&table(chains, [map]), &passing());
    let to = ([10, 0, 0, 1], 8080).into();
    assert_eq!(case.fate, Fate::Sent { to, masqueraded: false });
    assert_eq!(way(&case), ["first/0", "input/0"]);
    assert_eq!(case.steps[0].decision, Decision::Translate(to));
}

#[test]
fn nat_chains_are_called_at_the_priority_of_nat_whatever_theirs() {
    let (map, dnat) = dnat_to([198, 51, 100, 2], 8080);
    let chains = [
        nat("nat", Hook::Prerouting, -250, vec![rule([dnat])]),
        base("early", ChainType::Filter, Hook::Prerouting, -101, vec![mark(1)]),
        base("late", ChainType::Filter, Hook::Prerouting, -99, vec![mark(1)]),
    ];
    assert_eq!(way(&only(&table(chains, [map]), &passing())), ["early/0", "nat/0", "late/0"]);
}

#[test]
fn conntrack_calls_it_dnat_only_if_it_changes_something() {
    for (to, expected) in [([198, 51, 100, 2], true), ([198, 51, 100, 1], false)] {
        let (map, dnat) = dnat_to(to, 80);
        let translated = Statement::equal(Field::ConntrackStatus, MatchValue::Dnat);
        let chains = [
            nat("nat", Hook::Prerouting, -100, vec![rule([dnat])]),
            nat("out", Hook::Postrouting, 100, vec![rule([translated, Statement::Masquerade])]),
        ];
        let sent = Fate::Sent { to: (to, 80).into(), masqueraded: expected };
        assert_eq!(fate(&table(chains, [map]), &passing()), sent);
    }
}

#[test]
fn a_missed_translation_goes_on_with_the_next_rule() {
    let (map, dnat) = dnat_to([10, 0, 0, 1], 8080);
    let chains = [nat("nat", Hook::Prerouting, -100, vec![rule([dnat]), verdict(Verdict::Drop)])];
    let other_port = Packet { destination_port: 81, ..passing() };
    assert_eq!(fate(&table(chains, [map]), &other_port), Fate::Dropped);
}

#[test]
fn a_packet_to_this_node_from_itself_is_not_translated_again() {
    let (map, dnat) = dnat_to([10, 0, 0, 1], 8080);
    let chains = [
        nat("output", Hook::Output, -100, vec![rule([dnat])]),
        nat("prerouting", Hook::Prerouting, -100, vec![verdict(Verdict::Drop)]),
        nat("input", Hook::Input, 100, vec![verdict(Verdict::Drop)]),
    ];
    let sent = Fate::Sent { to: ([10, 0, 0, 1], 8080).into(), masqueraded: false };
    assert_eq!(fate(&table(chains, [map]), &leaving()), sent);
}

#[test]
fn a_masquerade_ends_the_nat_chains_of_postrouting() {
    let chains = [
        nat("a", Hook::Postrouting, 100, vec![rule([Statement::Masquerade])]),
        nat("b", Hook::Postrouting, 110, vec![verdict(Verdict::Drop)]),
    ];
    assert_eq!(fate(&table(chains, []), &passing()), Fate::Untouched { masqueraded: true });
}

#[test]
fn a_reset_answers_tcp_only() {
    let ruleset = table([entry(vec![rule([Statement::Reject(RejectWith::TcpReset)])])], []);
    assert_eq!(fate(&ruleset, &arriving()), Fate::Rejected(RejectWith::TcpReset));
    assert_eq!(fate(&ruleset, &Packet { protocol: 17, ..arriving() }), Fate::Dropped);
}

#[test]
fn the_mark_travels_and_ipv4_forwarding_resets_the_priority() {
    let chains = [
        entry(vec![rule([set_priority(Expression::Constant(5))]), mark(5)]),
        base(
            "out",
            ChainType::Filter,
            Hook::Postrouting,
            0,
            vec![
                rule([
                    Statement::equal(Field::Priority, MatchValue::Number(5)),
                    Statement::Verdict(Verdict::Accept),
                ]),
                drop_marked(5),
            ],
        ),
    ];
    let mut ruleset = table(chains, []);
    assert_eq!(fate(&ruleset, &passing()), Fate::Dropped);
    let same = ruleset.tables[&Family::Ip].clone();
    ruleset.tables.insert(Family::Ip6, same);
    let ip6 = packet("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap(), 80);
    assert_eq!(fate(&ruleset, &ip6), UNTOUCHED);
}

/// Asserts that the ruleset's only case is not certain and has this fate.
fn uncertain(ruleset: &Ruleset, expected: Fate) {
    let outcome = simulate(ruleset, &host(), &arriving(), &Memory::new());
    assert_eq!(outcome.only_fate(), Some(expected));
    assert!(!outcome.cases[0].is_certain());
}

#[test]
fn what_is_unknown_is_said_and_passed_over() {
    let foreign = rule([Statement::Foreign("log".into()), Statement::Verdict(Verdict::Drop)]);
    uncertain(&table([entry(vec![foreign])], []), Fate::Dropped);
    for nonsense in [
        Statement::jump("nowhere"),
        Statement::in_set(Field::Mark, "nothing"),
        Statement::Masquerade,
        Statement::Dnat { key: Field::Mark.into(), map: "nothing".into() },
        Statement::equal(Field::Mark, MatchValue::Prefix("2001:db8::/32".parse().unwrap())),
    ] {
        uncertain(&table([entry(vec![rule([nonsense]), verdict(Verdict::Drop)])], []), Fate::Dropped);
    }
}
