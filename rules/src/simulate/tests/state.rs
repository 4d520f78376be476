//! Dynamic sets: what one packet leaves for the next.

use super::{arriving, base, drop_marked, entry, host, passing, rule, set_mark, set_priority, table};
use crate::{
    ruleset::{
        Chain, ChainType, ClassId, Concat, DataType, Element, Expression, Family, Field, Hook, Ruleset, Set,
        SetFlags, Statement, Value, Verdict,
    },
    simulate::{Fate, Memory, Packet, Probability, simulate},
    tests::fixture::concat,
};

const HOUR: u64 = 3_600_000;

const DYNAMIC: SetFlags = SetFlags { interval: false, dynamic: true, timeout: true };

fn update(data: Option<Expression>) -> Statement {
    let key = Field::SourceAddress.into();
    Statement::Update { set: "sticky".into(), key, timeout_ms: HOUR, data }
}

/// Three endpoints, picked at random and kept for an hour per client.
fn sticky() -> Ruleset {
    let types = [DataType::Ipv4Addr, DataType::InetService];
    let mut endpoints = Set::map("endpoints", &[DataType::ClassId], &types);
    for slot in 0..3_u8 {
        let to = concat([Value::Ipv4([10, 1, 0, slot].into()), Value::Port(8080)]);
        endpoints.elements.insert(concat([Value::Class(ClassId(slot.into()))]), Element::value(to));
    }
    let known = set_priority(Expression::from(Field::SourceAddress).lookup("sticky"));
    let chain = base(
        "nat",
        ChainType::Nat,
        Hook::Prerouting,
        -100,
        vec![
            rule([known, Statement::goto("send")]),
            rule([set_priority(Expression::Random { modulus: 3, offset: 0 }), Statement::goto("send")]),
        ],
    );
    let send = Chain::regular(
        "send",
        vec![
            rule([update(Some(Field::Priority.into()))]),
            rule([Statement::Dnat { key: Field::Priority.into(), map: "endpoints".into() }]),
        ],
    );
    let memory = Set::map("sticky", &[DataType::Ipv4Addr], &[DataType::ClassId]).with_flags(DYNAMIC);
    table([chain, send], [endpoints, memory])
}

#[test]
fn a_client_stays_until_its_time_has_passed() {
    let (ruleset, mut memory) = (sticky(), Memory::new());
    let first = simulate(&ruleset, &host(), &passing(), &memory);
    assert_eq!(first.cases.len(), 3);
    assert!(first.cases.iter().all(|case| case.probability == Probability::new(1, 3)));
    let chosen = &first.cases[1];
    memory.remember(chosen);
    for _ in 0..3 {
        memory.advance(HOUR - 1);
        let again = simulate(&ruleset, &host(), &passing(), &memory);
        assert_eq!(again.only_fate(), Some(chosen.fate), "each packet restarts the timer");
        memory.remember(&again.cases[0]);
    }
    let other = Packet { source: [192, 0, 2, 99].into(), ..passing() };
    assert_eq!(simulate(&ruleset, &host(), &other, &memory).cases.len(), 3, "another client");
    memory.advance(HOUR);
    assert_eq!(simulate(&ruleset, &host(), &passing(), &memory).cases.len(), 3, "expired");
}

fn key() -> Concat {
    concat([Value::Ipv4([192, 0, 2, 1].into())])
}

/// A chain that updates the map with one value, then with another, then drops if it reads the first back.
#[test]
fn an_update_of_an_element_keeps_its_data() {
    let again = |value| rule([update(Some(Expression::Constant(value)))]);
    let read = rule([set_mark(Expression::from(Field::SourceAddress).lookup("sticky"))]);
    let set = Set::map("sticky", &[DataType::Ipv4Addr], &[DataType::ClassId]).with_flags(DYNAMIC);
    let ruleset = table([entry(vec![again(5), again(6), read, drop_marked(5)])], [set]);
    let mut memory = Memory::new();
    let outcome = simulate(&ruleset, &host(), &arriving(), &memory);
    assert_eq!(outcome.only_fate(), Some(Fate::Dropped));
    memory.remember(&outcome.cases[0]);
    let data = concat([Value::Class(ClassId(5))]);
    assert_eq!(memory.get(Family::Ip, &"sticky".into(), &key()), Some(Some(&data)));
}

#[test]
fn a_full_set_ends_the_rule() {
    let keep = rule([update(None), Statement::Verdict(Verdict::Drop)]);
    let set = Set::new("sticky", &[DataType::Ipv4Addr]).with_flags(DYNAMIC).with_size(1);
    let ruleset = table([entry(vec![keep])], [set]);
    let mut memory = Memory::new();
    let first = simulate(&ruleset, &host(), &arriving(), &memory);
    assert_eq!(first.only_fate(), Some(Fate::Dropped));
    memory.remember(&first.cases[0]);
    assert_eq!(memory.count(Family::Ip, &"sticky".into()), 1);
    let same = simulate(&ruleset, &host(), &arriving(), &memory);
    assert_eq!(same.only_fate(), Some(Fate::Dropped), "an element that exists needs no room");
    let other = Packet { source: [192, 0, 2, 2].into(), ..arriving() };
    let outcome = simulate(&ruleset, &host(), &other, &memory);
    assert_eq!(outcome.only_fate(), Some(Fate::Untouched { masqueraded: false }));
    memory.advance(HOUR);
    let outcome = simulate(&ruleset, &host(), &other, &memory);
    assert_eq!(outcome.only_fate(), Some(Fate::Dropped), "room again");
}

#[test]
fn equal_fates_with_different_memories_stay_apart() {
    let random = rule([update(Some(Expression::Random { modulus: 2, offset: 0 }))]);
    let set = Set::map("sticky", &[DataType::Ipv4Addr], &[DataType::ClassId]).with_flags(DYNAMIC);
    let outcome = simulate(&table([entry(vec![random])], [set]), &host(), &arriving(), &Memory::new());
    assert_eq!(outcome.cases.len(), 2);
    assert_eq!(outcome.fates().len(), 1);
}
