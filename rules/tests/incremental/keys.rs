//! A start knows the keys by which to query what an earlier run left, whatever has changed meanwhile.

use std::collections::BTreeSet;

use portolan_rules::{
    compile::Compiler,
    plane::{Config, PerSet, SetName},
    restart::led_to,
    ruleset::{Concat, Ruleset},
};
use proptest::{collection::vec, prelude::*};

use crate::cluster::{apply, change, state};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_differs_leads_to_all_endpoints_of_an_earlier_run(
        before in vec(change(), 1..12),
        meanwhile in vec(change(), 0..12),
    ) {
        let mut state = state();
        for change in &before {
            apply(&mut state, change);
        }
        let mut compiler = Compiler::new(Config::default());
        compiler.load(&mut state, &Ruleset::default());
        let kernel = compiler.ruleset();
        for change in &meanwhile {
            apply(&mut state, change);
        }
        let mut compiler = Compiler::new(Config::default());
        compiler.load(&mut state, &Ruleset::default());
        let mut known = compiler.held_keys();
        for (family, leader, different) in compiler.differences(&kernel, &PerSet::default()).into_all() {
            let elements = kernel.tables.get(&family).map(|table| &table.sets[leader.name()].elements);
            for key in different {
                let Some(element) = elements.and_then(|elements| elements.get(&key)) else { continue };
                for set in [SetName::Endpoints, SetName::NodeEndpoints] {
                    known[(family, set)].extend(led_to(set, leader, &key, element));
                }
            }
        }
        for (family, table) in &kernel.tables {
            for set in [SetName::Endpoints, SetName::NodeEndpoints] {
                let known: BTreeSet<&Concat> = known[(*family, set)].iter().collect();
                let elements = &table.sets[set.name()].elements;
                let missed: Vec<_> = elements.keys().filter(|key| !known.contains(key)).collect();
                prop_assert!(missed.is_empty(), "{}: {missed:?}", set.name());
            }
        }
    }
}
