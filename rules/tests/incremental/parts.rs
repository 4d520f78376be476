//! A cold start in parts gives the same result as a cold start in one go.

use portolan_rules::{
    compile::{Compiler, Loaded},
    plane::Config,
    ruleset::{Operation, Ruleset},
};
use proptest::{collection::vec, prelude::*};

use crate::{
    apply::Apply as _,
    cluster::{apply, change, state},
    plan::WholePlan,
};

/// The ruleset without the declared sizes of its sets: before a cold start, the sizes are an estimate.
fn without_sizes(ruleset: &Ruleset) -> Ruleset {
    let mut ruleset = ruleset.clone();
    for set in ruleset.tables.values_mut().flat_map(|table| table.sets.values_mut()) {
        set.size = None;
    }
    ruleset
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn all_parts_together_are_the_ruleset(
        changes in vec(change(), 0..24),
        later in vec(vec(change(), 1..4), 0..4),
    ) {
        let (mut state, mut whole_state) = (state(), state());
        for change in &changes {
            apply(&mut state, change);
            apply(&mut whole_state, change);
        }
        let mut compiler = Compiler::new(Config::default());
        let mut kernel = Ruleset::default();
        let mut parts = Vec::new();
        let loaded = compiler.load_in_parts(&mut state, &mut |part| {
            parts.push(part);
            true
        });
        let Loaded::Complete(problems) = loaded else {
            return Err(TestCaseError::fail("sets are declared large enough"));
        };
        let last = parts.len() - 1;
        for (i, part) in parts.iter().enumerate() {
            let hooks = part.operations.iter().filter(|(_, operation)| {
                matches!(operation, Operation::AddChain(chain) if chain.base.is_some())
            });
            prop_assert!(i == last || hooks.count() == 0, "packets reach no chain before the last part");
            kernel = part.apply(&kernel).map_err(|e| TestCaseError::fail(e.to_string()))?;
        }
        prop_assert_eq!(&kernel, &compiler.ruleset());

        let mut whole = Compiler::new(Config::default());
        prop_assert_eq!(problems, whole.load(&mut whole_state, &Ruleset::default()));
        let mut whole_kernel = whole.ruleset();
        prop_assert_eq!(without_sizes(&kernel), without_sizes(&whole_kernel));

        // Later changes give the same result after both.
        for changes in later {
            for change in &changes {
                apply(&mut state, change);
                apply(&mut whole_state, change);
            }
            let (update, of_whole) = (compiler.update(&mut state), whole.update(&mut whole_state));
            prop_assert_eq!(&update.problems, &of_whole.problems);
            prop_assert_eq!(&update.stale, &of_whole.stale);
            let (plan, whole_plan) = (WholePlan::of(&mut compiler, &update), WholePlan::of(&mut whole, &of_whole));
            kernel = plan.apply(&kernel).map_err(|e| TestCaseError::fail(e.to_string()))?;
            whole_kernel = whole_plan.apply(&whole_kernel).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(&kernel, &compiler.ruleset());
            prop_assert_eq!(without_sizes(&kernel), without_sizes(&whole_kernel));
        }
    }

    #[test]
    fn a_part_that_is_not_taken_is_the_last(changes in vec(change(), 4..24), taken in 0usize..6) {
        let mut state = state();
        for change in &changes {
            apply(&mut state, change);
        }
        let mut compiler = Compiler::new(Config::default());
        let mut given = 0;
        let loaded = compiler.load_in_parts(&mut state, &mut |_| {
            given += 1;
            given <= taken
        });
        prop_assert_eq!(matches!(loaded, Loaded::Complete(_)), given <= taken);
        prop_assert!(given <= taken + 1);

        // All of the state is compiled nevertheless: the next comparison with the kernel finds what is missing.
        let mut whole = Compiler::new(Config::default());
        whole.load(&mut state, &Ruleset::default());
        prop_assert_eq!(without_sizes(&compiler.ruleset()), without_sizes(&whole.ruleset()));
    }
}
