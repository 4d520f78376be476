//! A node whose kernel has one family only.

use portolan_rules::{
    compile::{Compiler, Loaded},
    plane::Config,
    ruleset::{Family, Ruleset, Transaction},
};
use proptest::{collection::vec, prelude::*};

use crate::{
    apply::Apply as _,
    cluster::{self, apply, change},
    plan::WholePlan,
    without_slots,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A whole table is left out; the other table is what it would be beside that table.
    #[test]
    fn the_other_family_is_served_as_ever(steps in vec(vec(change(), 1..4), 1..8), is_ipv6 in any::<bool>()) {
        let family = if is_ipv6 { Family::Ip6 } else { Family::Ip };
        let of_family = |ruleset: &Ruleset| Ruleset {
            tables: ruleset.tables.iter().filter(|(f, _)| **f == family).map(|(f, t)| (*f, t.clone())).collect(),
        };
        let is_of_family =
            |transaction: &Transaction| transaction.operations.iter().all(|(f, _)| *f == family);
        let one = Config { families: vec![family], ..Config::default() };
        let (mut state, mut full_state) = (cluster::state(), cluster::state());
        let (mut compiler, mut full) = (Compiler::new(one.clone()), Compiler::new(Config::default()));
        compiler.load(&mut state, &Ruleset::default());
        full.load(&mut full_state, &Ruleset::default());
        let mut kernel = compiler.ruleset();
        prop_assert_eq!(&kernel, &of_family(&full.ruleset()));
        for step in steps {
            for change in &step {
                apply(&mut state, change);
                apply(&mut full_state, change);
            }
            let update = compiler.update(&mut state);
            prop_assert!(update.steps.iter().all(is_of_family), "{:?}", update.steps);
            let plan = WholePlan::of(&mut compiler, &update);
            kernel = plan.apply(&kernel).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(&kernel, &compiler.ruleset());
            let update = full.update(&mut full_state);
            WholePlan::of(&mut full, &update);
            prop_assert_eq!(without_slots(&kernel), without_slots(&of_family(&full.ruleset())));
        }
        prop_assert!(compiler.is_held_by(&kernel));
        // A cold start in parts writes the same table.
        let mut cold = Compiler::new(one);
        let mut written = Ruleset::default();
        let loaded = cold.load_in_parts(&mut state, &mut |part| {
            assert!(is_of_family(&part));
            written = part.apply(&written).expect("the kernel takes it");
            true
        });
        prop_assert!(matches!(loaded, Loaded::Complete(_)));
        prop_assert_eq!(without_slots(&written), without_slots(&kernel));
    }
}
