//! A start knows by which keys to ask for what an earlier run left, whatever has changed meanwhile.

use std::collections::BTreeSet;

use portolan_rules::{
    compile::Compiler,
    plane::Config,
    restart::ExpectedKeys,
    ruleset::{ClassId, Concat, ElementData, Ruleset},
};
use proptest::{collection::vec, prelude::*};

use crate::cluster::{apply, change, state};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn all_endpoints_of_an_earlier_run_are_asked_for(
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
        let mut expected = ExpectedKeys::new(&compiler);
        for (family, table) in &kernel.tables {
            for set in ["endpoints", "node-endpoints"] {
                let asked: BTreeSet<Concat> = expected.take(&kernel, *family, set).into_iter().collect();
                let missed: Vec<_> = table.sets[set].elements.keys().filter(|key| !asked.contains(key)).collect();
                prop_assert!(missed.is_empty(), "{set}: {missed:?}");
            }
        }
    }

    #[test]
    fn frontends_that_claim_many_endpoints_do_not_make_a_start_ask_without_bound(
        before in vec(change(), 1..12),
        class in any::<u32>(),
    ) {
        let mut state = state();
        for change in &before {
            apply(&mut state, change);
        }
        let mut compiler = Compiler::new(Config::default());
        compiler.load(&mut state, &Ruleset::default());
        let mut expected = ExpectedKeys::new(&compiler);
        let mut kernel = compiler.ruleset();
        for table in kernel.tables.values_mut() {
            let frontends = table.sets.get_mut("frontends").unwrap();
            let keys: Vec<Concat> = frontends.elements.keys().cloned().collect();
            for key in keys {
                let mut element = frontends.elements.remove(&key).unwrap();
                element.data = ElementData::Value(Concat::default().with(ClassId(class | 0xffff).into()));
                frontends.elements.insert(key, element);
            }
        }
        for family in kernel.tables.keys() {
            prop_assert!(expected.take(&kernel, *family, "endpoints").len() < 70_000);
        }
    }
}
