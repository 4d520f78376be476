//! Random choices, enumerated.

use proptest::prelude::*;

use super::{
    arriving, drop_marked, entry, fate, host, only, passing, rule, run, set_mark, set_priority, table,
};
use crate::{
    ruleset::{
        ChainType, ClassId, DataType, Element, Expression, Field, Hook, Set, Statement, Value, Verdict,
    },
    simulate::{
        Fate, Memory, Outcome, Packet, Probability, UnknownReason,
        courses::{LIMITS, Limits, simulate_within},
        explain,
    },
    tests::fixture::{arbitrary, concat},
};

fn random(modulus: u32, offset: u32) -> Expression {
    Expression::Random { modulus, offset }
}

fn sum(outcome: &Outcome) -> Probability {
    let mut sum = Probability::new(0, 1);
    outcome.cases.iter().for_each(|case| sum += &case.probability);
    sum
}

fn one() -> Probability {
    Probability::new(1, 1)
}

#[test]
fn a_choice_is_uniform_and_starts_at_its_offset() {
    let ruleset = table([entry(vec![rule([set_mark(random(4, 7))]), drop_marked(7), drop_marked(10)])], []);
    let fates = run(&ruleset, &arriving()).fates();
    assert_eq!(fates[&Fate::Dropped], Probability::new(1, 2));
    assert_eq!(fates[&Fate::Untouched { masqueraded: false }], Probability::new(1, 2));
}

#[test]
fn choices_multiply() {
    let rules = vec![
        rule([set_mark(random(2, 1))]),
        rule([Statement::equal(Field::Mark, crate::ruleset::MatchValue::Number(1)), set_mark(random(3, 1))]),
        drop_marked(1),
    ];
    let fates = run(&table([entry(rules)], []), &arriving()).fates();
    assert_eq!(fates[&Fate::Dropped], Probability::new(1, 6));
    assert_eq!(fates[&Fate::Untouched { masqueraded: false }], Probability::new(5, 6));
}

#[test]
fn a_choice_of_one_is_none() {
    let ruleset = table([entry(vec![rule([set_mark(random(1, 5))]), drop_marked(5)])], []);
    assert_eq!(fate(&ruleset, &arriving()), Fate::Dropped);
}

#[test]
fn ten_thousand_endpoints_are_each_one_in_ten_thousand() {
    let mut map = Set::map("m", &[DataType::ClassId], &[DataType::Ipv4Addr, DataType::InetService]);
    for slot in 0..10_000_u32 {
        let to = concat([Value::Ipv4((0x0a01_0000 + slot).into()), Value::Port(8080)]);
        map.elements.insert(concat([Value::Class(ClassId(slot))]), Element::value(to));
    }
    let rules = vec![rule([
        set_priority(random(10_000, 0)),
        Statement::Dnat { key: Field::Priority.into(), map: "m".into() },
    ])];
    let chain = super::base("nat", ChainType::Nat, Hook::Prerouting, -100, rules);
    let outcome = run(&table([chain], [map]), &passing());
    assert_eq!(outcome.cases.len(), 10_000);
    assert!(outcome.cases.iter().all(|case| case.probability == Probability::new(1, 10_000)));
    assert_eq!(explain(&outcome).matches("meta priority set numgen").count(), 1, "one ladder for all");
}

#[test]
fn a_hash_is_no_choice_and_spreads() {
    let hash =
        |seed| Expression::Hash { key: Box::new(Field::SourceAddress.into()), modulus: 2, seed, offset: 0 };
    let ruleset = table([entry(vec![rule([set_mark(hash(1))]), drop_marked(1)])], []);
    let dropped = (0..=255_u8)
        .map(|last| Packet { source: [192, 0, 2, last].into(), ..arriving() })
        .filter(|packet| only(&ruleset, packet).fate == Fate::Dropped)
        .count();
    assert!((100..156).contains(&dropped), "{dropped} of 256");
}

#[test]
fn too_many_choices_leave_the_rest_unknown() {
    let rules = vec![rule([set_mark(random(10, 0))]); 4];
    let limits = Limits { rules: 1000, ..LIMITS };
    let outcome = simulate_within(limits, &table([entry(rules)], []), &host(), &arriving(), &Memory::new());
    let fates = outcome.fates();
    let unknown = &fates[&Fate::Unknown(UnknownReason::TooManyChoices)];
    assert!((0.9..1.0).contains(&unknown.to_f64()), "{unknown}");
    assert_eq!(sum(&outcome), one());
    let huge = table([entry(vec![rule([set_mark(random(u32::MAX, 0))])])], []);
    assert_eq!(fate(&huge, &arriving()), Fate::Unknown(UnknownReason::TooManyChoices));
}

#[test]
fn choices_without_end_are_cut_off() {
    let rules = vec![rule([set_mark(random(2, 0)), Statement::Verdict(Verdict::Goto("entry".into()))])];
    let limits = Limits { rules: 1000, ..LIMITS };
    let outcome = simulate_within(limits, &table([entry(rules)], []), &host(), &arriving(), &Memory::new());
    assert_eq!(outcome.only_fate(), Some(Fate::Unknown(UnknownReason::TooManyChoices)));
    assert_eq!(sum(&outcome), one());
}

proptest! {
    #[test]
    fn any_ruleset_gives_a_distribution(ruleset in arbitrary::ruleset(), local: bool, ip6: bool) {
        let limits = Limits { rules: 2000, rules_per_course: 500, ..LIMITS };
        let mut packet = if local { super::leaving() } else { arriving() };
        if ip6 {
            packet.source = "2001:db8::1".parse().unwrap();
            packet.destination = "fd00::1".parse().unwrap();
        }
        let outcome = simulate_within(limits, &ruleset, &host(), &packet, &Memory::new());
        prop_assert_eq!(sum(&outcome), one());
        prop_assert!(outcome.cases.iter().all(|case| case.probability > Probability::new(0, 1)));
        prop_assert_eq!(&outcome, &simulate_within(limits, &ruleset, &host(), &packet, &Memory::new()));
        prop_assert!(!explain(&outcome).is_empty());
        let mut memory = Memory::new();
        outcome.cases.iter().for_each(|case| memory.remember(case));
        let later = simulate_within(limits, &ruleset, &host(), &packet, &memory);
        prop_assert_eq!(sum(&later), one());
    }
}
