//! Changes compile to the same ruleset as the state that they lead to, and touch nothing that is equal.
#![allow(missing_docs, reason = "a test has no readers of its interface")]

#[path = "../model/apply.rs"]
mod apply;
mod cluster;
mod cost;
mod keys;
mod many_slices;
mod one_family;
mod owners;
mod parts;
mod plan;

use std::{collections::BTreeMap, sync::Arc};

use portolan_rules::{
    compile::Compiler,
    model::{Endpoint, ObjectName},
    plane::Config,
    ruleset::{ClassId, Concat, ElementData, Family, Operation, Ruleset, Table, Verdict, diff::diff},
};
use proptest::{collection::vec, prelude::*};

use apply::Apply as _;
use cluster::{Change, apply, change, plain_shape, service, slice, state};
use plan::WholePlan;

/// Moves all source ranges to the first list: the list that they are in depends on earlier rulesets.
fn one_list_of_ranges(table: &mut Table) {
    for (key, element) in std::mem::take(&mut table.sets["other-allowed-sources"].elements) {
        table.sets["allowed-sources"].elements.insert(key, element);
    }
    for element in std::mem::take(&mut table.sets["frontends"].elements) {
        let (key, mut element) = element;
        if let ElementData::Value(class) = &element.data {
            let class = u32::from_ne_bytes(class.as_bytes().try_into().expect("a class"));
            let first = match (class, class >> 16 & 0xf) {
                (4, 0) => 3,
                (class, 12 | 13) => class - (4 << 16),
                (class, _) => class,
            };
            element.data = ElementData::Value(Concat::new(&[ClassId(first).into()]));
        }
        table.sets["frontends"].elements.insert(key, element);
    }
    let is_restricted = |element: &ElementData| matches!(element, ElementData::Verdict(Verdict::Goto(chain)) if chain.starts_with("restricted"));
    table.sets["classes"].elements.retain(|_, element| !is_restricted(&element.data));
    table.chains.retain(|name, _| !name.starts_with("restricted"));
}

/// The ruleset with each frontend's endpoints as a sorted list instead of at their slots, which depend on earlier
/// rulesets.
fn without_slots(ruleset: &Ruleset) -> (Ruleset, BTreeMap<Vec<u8>, Vec<Vec<u8>>>) {
    let mut rest = ruleset.clone();
    let mut endpoints: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for table in rest.tables.values_mut() {
        for name in ["endpoints", "node-endpoints"] {
            for (key, element) in std::mem::take(&mut table.sets[name].elements) {
                let ElementData::Value(value) = element.data else { panic!("an endpoint is a value") };
                let frontend = key.as_bytes()[..key.as_bytes().len() - 4].to_vec();
                endpoints.entry(frontend).or_default().push(value.as_bytes().to_vec());
            }
        }
        one_list_of_ranges(table);
        for set in table.sets.values_mut() {
            // A set that had to grow keeps its size.
            set.size = None;
        }
        // With session affinity, the numbers of a ServicePort and of its endpoints depend on history too.
        for name in ["attributes", "node-port-attributes"] {
            let elements = std::mem::take(&mut table.sets[name].elements);
            let lasts = |key: &[u8]| {
                let number = key.last_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
                number.is_some_and(|number| number < 1 << 16 && number != 2)
            };
            table.sets[name].elements =
                elements.into_iter().filter(|(key, _)| lasts(key.as_bytes())).collect();
        }
    }
    for list in endpoints.values_mut() {
        list.sort();
    }
    (rest, endpoints)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changes_lead_to_the_ruleset_of_their_state(steps in vec(vec(change(), 1..4), 1..12)) {
        let config = Config::default();
        let mut state = state();
        let mut compiler = Compiler::new(config.clone());
        compiler.load(&mut state, &Ruleset::default());
        let mut kernel = compiler.ruleset();
        let mut history = Vec::new();
        for step in steps {
            for change in &step {
                apply(&mut state, change);
                history.push(change.clone());
            }
            let update = compiler.update(&mut state);
            let plan = WholePlan::of(&mut compiler, &update);
            let after = plan.apply(&kernel).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(&after, &compiler.ruleset(), "the plan leads to the compiled ruleset");

            // The plan is minimal: as short as the difference between the two rulesets.
            let shortest = diff(&config.table, &kernel, &after);
            prop_assert!(compiler.is_held_by(&after));
            prop_assert_eq!(compiler.is_held_by(&kernel), shortest.is_empty());
            if !plan.is_rebuild() {
                prop_assert_eq!(plan.len(), shortest.len());
            }
            let elsewhere = shortest.apply(&kernel).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(&elsewhere, &after);

            // Compiling from nothing in one go gives the same ruleset, except for the slots.
            let mut fresh_state = cluster::state();
            for change in &history {
                apply(&mut fresh_state, change);
            }
            let mut fresh = Compiler::new(config.clone());
            fresh.load(&mut fresh_state, &Ruleset::default());
            prop_assert_eq!(without_slots(&fresh.ruleset()), without_slots(&after));

            // Whatever the kernel holds, it is made equal.
            for present in [Ruleset::default(), after.clone(), fresh.ruleset()] {
                let desired = compiler.ruleset();
                let plan = WholePlan::equal(&mut compiler, &present, desired.clone());
                let made = plan.apply(&present).map_err(|e| TestCaseError::fail(e.to_string()))?;
                prop_assert_eq!(made, desired);
            }

            // A restart over the kernel's ruleset has nothing to write.
            let mut restarted = Compiler::new(config.clone());
            restarted.load(&mut fresh_state, &after);
            let diff = diff(&config.table, &after, &restarted.ruleset());
            prop_assert_eq!(diff.operations, vec![]);
            kernel = after;
        }
    }

    #[test]
    fn the_diff_of_any_two_rulesets_leads_from_one_to_the_other(
        one in vec(change(), 0..12),
        other in vec(change(), 0..12),
    ) {
        let compiled = |changes: &[Change], masquerade_all| {
            let mut state = state();
            for change in changes {
                apply(&mut state, change);
            }
            let mut compiler = Compiler::new(Config { masquerade_all, ..Config::default() });
            compiler.load(&mut state, &Ruleset::default());
            compiler.ruleset()
        };
        let (one, other) = (compiled(&one, false), compiled(&other, true));
        let table = Config::default().table;
        for (from, to) in [(&one, &other), (&Ruleset::default(), &one), (&one, &Ruleset::default())] {
            let diff = diff(&table, from, to);
            let reached = diff.apply(from).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(&reached, to);
        }
    }
}

#[test]
fn a_set_that_is_outgrown_is_made_anew_beside_what_is_in_force() {
    let mut state = state();
    let mut compiler = Compiler::new(Config::default());
    let name = ObjectName::new("default", "web");
    let shape = plain_shape(Some(1));
    state.set_service(&name, Some(Arc::new(service(&name, &shape))));
    compiler.load(&mut state, &Ruleset::default());
    let before = compiler.ruleset();

    let mut many = slice(&name, "web", &[(1, true)]);
    let one = many.endpoints.remove(0);
    many.endpoints = (0..2000u16)
        .map(|n| Endpoint { address: [10, 1, (n >> 8) as u8, n as u8].into(), ..one.clone() })
        .collect();
    state.set_slice(&name, Some(Arc::new(many)));
    let update = compiler.update(&mut state);
    let plan = WholePlan::of(&mut compiler, &update);
    assert!(plan.is_rebuild());
    let after = plan.apply(&before).expect("the kernel takes it");
    assert_eq!(after, compiler.ruleset());
    let size = |ruleset: &Ruleset| ruleset.tables[&Family::Ip].sets["endpoints"].size;
    assert!(size(&before) < Some(2_000) && size(&after) >= Some(2_000));
    // Nothing of the other family is touched.
    assert!(plan.transactions().flat_map(|part| &part.operations).all(|(family, _)| *family == Family::Ip));
}

#[test]
fn switching_counters_replaces_four_maps_and_keeps_every_slot() {
    let name = ObjectName::new("default", "web");
    let mut state = state();
    state.set_service(&name, Some(Arc::new(service(&name, &plain_shape(Some(1))))));
    state.set_slice(&name, Some(Arc::new(slice(&name, "web", &[(1, true), (2, true), (3, true)]))));
    let mut compiled = |endpoint_counters, kernel: &Ruleset| {
        let mut compiler = Compiler::new(Config { endpoint_counters, ..Config::default() });
        compiler.load(&mut state, kernel);
        compiler.ruleset()
    };
    let without = compiled(false, &Ruleset::default());
    let with = compiled(true, &without);
    let counted = ["frontends", "node-ports", "endpoints", "node-endpoints"];
    for (from, to, counter) in [(&without, &with, true), (&with, &compiled(false, &with), false)] {
        let diff = diff(&Config::default().table, from, to);
        assert_eq!(&diff.apply(from).expect("the kernel takes it"), to);
        for table in to.tables.values() {
            for set in table.sets.values() {
                let before =
                    from.tables.values().find_map(|t| t.sets.get(&set.name).filter(|s| s.key == set.key));
                assert_eq!(set.counter, counter && counted.contains(&&*set.name));
                assert_eq!(before.map(|before| before.size), Some(set.size));
            }
        }
        let replaced = diff.operations.iter().filter(|(_, op)| matches!(op, Operation::DeleteSet(_)));
        assert_eq!(replaced.count(), 2 * counted.len(), "in each family");
    }
    let elements = |ruleset: &Ruleset| -> Vec<_> {
        let sets = ruleset.tables.values().flat_map(|table| table.sets.values());
        sets.map(|set| set.elements.clone()).collect()
    };
    assert_eq!(elements(&without), elements(&with));
}

proptest! {
    /// The kernel is compared with the compiler, without a second ruleset.
    #[test]
    fn an_element_too_many_too_few_or_different_is_noticed(
        steps in vec(change(), 1..12),
        set in any::<proptest::sample::Index>(),
        element in any::<proptest::sample::Index>(),
        how in 0..3_u8,
    ) {
        let mut state = state();
        for change in &steps {
            apply(&mut state, change);
        }
        let mut compiler = Compiler::new(Config::default());
        compiler.load(&mut state, &Ruleset::default());
        let mut kernel = compiler.ruleset();
        prop_assert!(compiler.is_held_by(&kernel));
        let tables = kernel.tables.values_mut();
        let mut sets: Vec<_> = tables.flat_map(|table| table.sets.values_mut()).collect();
        sets.retain(|set| !set.elements.is_empty());
        let set = set.index(sets.len());
        let elements = &mut sets[set].elements;
        let at = element.index(elements.len());
        let (key, mut element) = elements.at(at).map(|(key, element)| (key.clone(), element.clone())).unwrap();
        match how {
            0 => _ = elements.remove(&key),
            1 => _ = elements.insert(Concat::from_bytes(&[key.as_bytes(), &[1]].concat()), element),
            _ => {
                element.comment = Some("other".into());
                elements.insert(key, element);
            }
        }
        prop_assert!(!compiler.is_held_by(&kernel));
        let desired = compiler.ruleset();
        prop_assert!(!diff(&Config::default().table, &kernel, &desired).is_empty());
    }
}
