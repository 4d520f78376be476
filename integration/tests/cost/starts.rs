//! Commits at a start, and when there is nothing to do.

use std::sync::Arc;

use portolan::{
    agent::{cold_start, compare_at_start},
    kernel::nftables::{Kernel, Tables},
};
use portolan_integration::{
    Around, Counting, Namespace, plan,
    synthetic::{Kinds, Synthetic, service_name, spare},
};
use portolan_rules::{
    compile::{Compiler, Loaded},
    model::EndpointSlice,
    plane::Config,
    ruleset::{
        ClassId, Concat, Element, Elements, Family, Operation, Ruleset, Set, Transaction, diff::diff_into,
    },
    state::State,
};

const SERVICES: u32 = 1_000;

fn pristine() -> Compiler {
    Compiler::new(Config::default())
}

/// Runs a test in its own namespace, after a cold start with these Services.
fn with_rules(kinds: Kinds, test: impl FnOnce(Kernel, Compiler, State) + Send + 'static) {
    Namespace::new("cost").unwrap().enter(move || {
        let (mut kernel, mut compiler) = (Kernel::open().unwrap(), pristine());
        let mut state = Synthetic::new(SERVICES, kinds).state();
        let (done, result) = cold_start(&mut kernel, &mut compiler, &mut state);
        result.unwrap();
        assert!(matches!(done.loaded, Loaded::Complete(_)));
        test(kernel, compiler, state);
    });
}

#[test]
fn a_cold_start_leaves_in_the_kernel_what_the_compiler_says() {
    for kinds in [Kinds::Plain, Kinds::Mixed, Kinds::DualStack, Kinds::NodePorts(500), Kinds::Large(3_000)] {
        with_rules(kinds, |mut kernel, compiler, _| {
            let present = kernel.read(&compiler.config().table, &mut &compiler).unwrap();
            assert_eq!(diff_into(&compiler.config().table, &present, compiler.ruleset()).operations, []);
        });
    }
}

#[test]
fn nothing_is_sent_when_nothing_is_to_be_done() {
    with_rules(Kinds::Mixed, |mut kernel, mut compiler, mut state| {
        let before = kernel.generation().unwrap();
        state.touch(|_| true);
        let update = compiler.update(&mut state);
        assert_eq!(update.steps, [], "all of it is compiled again, and is equal");
        let start = compare_at_start(&mut kernel, &pristine(), &mut state).unwrap().unwrap();
        assert!(start.desired.is_none(), "a new process finds everything as it must be");
        assert_eq!(start.problems, []);
        assert_eq!(kernel.generation().unwrap().id, before.id, "nothing was committed");
    });
}

#[test]
fn a_start_finds_the_slots_that_history_has_left() {
    with_rules(Kinds::Mixed, |mut kernel, mut compiler, mut state| {
        let synthetic = Synthetic::new(SERVICES, Kinds::Mixed);
        // An endpoint goes and comes back, so its slot changes, in Services of every kind.
        for n in [0, 1, 10, 20] {
            let slice = synthetic.slices(n).remove(0);
            let mut without = slice.clone();
            without.endpoints.remove(0);
            for slice in [without, slice] {
                state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
                let update = compiler.update(&mut state);
                plan::commit(&mut kernel, &mut compiler, &update).unwrap();
                plan::retire(&mut kernel, &mut compiler).unwrap();
            }
        }
        let start = compare_at_start(&mut kernel, &pristine(), &mut state).unwrap().unwrap();
        let table = compiler.config().table.clone();
        let desired = start.desired.unwrap_or_else(|| start.present.clone());
        assert_eq!(diff_into(&table, &start.present, desired).operations, []);
        let present = kernel.read(&table, &mut &start.compiler).unwrap();
        assert!(start.compiler.ruleset() == present, "the slots are adopted");

        // From now on, updates are the same as without a restart.
        let mut restarted = start.compiler;
        let mut slice = synthetic.slices(1).remove(0);
        slice.endpoints[2] = spare(&slice, 0);
        state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
        let mut state_before = state.clone();
        let expected = compiler.update(&mut state_before).steps;
        assert_eq!(restarted.update(&mut state).steps, expected);
    });
}

#[test]
fn a_start_that_has_nothing_to_do_never_has_all_elements_in_memory() {
    with_rules(Kinds::Plain, |mut kernel, mut compiler, mut state| {
        let synthetic = Synthetic::new(SERVICES, Kinds::Plain);
        // The slots of the endpoints depend on earlier changes.
        for n in (0..SERVICES).step_by(3) {
            let mut slice = synthetic.slices(n).remove(0);
            slice.endpoints[2] = spare(&slice, 0);
            slice.endpoints.swap(0, 4);
            state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
        }
        let update = compiler.update(&mut state);
        plan::commit(&mut kernel, &mut compiler, &update).unwrap();
        plan::retire(&mut kernel, &mut compiler).unwrap();
        let start = compare_at_start(&mut kernel, &pristine(), &mut state).unwrap().unwrap();
        assert!(start.desired.is_none(), "everything is as it must be");
        let read = &start.present.tables[&Family::Ip].sets["endpoints"].elements;
        assert_eq!(read.len(), 0, "the endpoints were compared as they were read");
        let present = kernel.read(&compiler.config().table, &mut &compiler).unwrap();
        assert_eq!(start.compiler.ruleset(), present, "the slots are adopted");
    });
}

/// Changes Services of each kind: removes some, adds, removes or replaces endpoints of others, and adds new Services.
fn change_all_kinds(state: &mut State, kinds: Kinds, services: u32) {
    for n in 0..60 {
        let change: fn(&mut EndpointSlice) = match n % 6 {
            0 => |slice| slice.endpoints.truncate(2),
            1 => |slice| slice.endpoints.push(spare(slice, 0)),
            2 => |slice| slice.endpoints[1] = spare(slice, 1),
            3 => |slice| slice.endpoints.clear(),
            4 => |slice| slice.endpoints.swap(0, 3),
            _ => {
                state.set_service(&service_name(n), None);
                continue;
            }
        };
        for mut slice in Synthetic::new(SERVICES, kinds).slices(n) {
            change(&mut slice);
            state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
        }
    }
    let more = Synthetic::new(services, kinds);
    for n in SERVICES..services {
        state.set_service(&service_name(n), Some(Arc::new(more.service(n))));
        for slice in more.slices(n) {
            state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
        }
    }
}

#[test]
fn a_start_that_needs_larger_sets_reads_everything() {
    for (kinds, counts) in [(Kinds::Plain, true), (Kinds::Mixed, true), (Kinds::Mixed, false)] {
        with_rules(kinds, move |kernel, compiler, mut state| {
            let table = compiler.config().table.clone();
            change_all_kinds(&mut state, kinds, 2 * SERVICES);
            let mut kernel = Around::new(kernel, Counting(counts));
            let start = compare_at_start(&mut kernel, &pristine(), &mut state).unwrap().unwrap();
            let present = kernel.read(&table, &mut &compiler).unwrap();
            assert!(start.present == present, "{kinds:?}, counts: {counts}: something was not read");
            assert!(start.desired == Some(start.compiler.ruleset()));
        });
    }
}

#[test]
fn a_start_over_a_changed_state_has_only_what_differs_in_memory() {
    for (kinds, counts) in [Kinds::Plain, Kinds::Mixed, Kinds::DualStack, Kinds::NodePorts(500)]
        .into_iter()
        .flat_map(|kinds| [(kinds, true), (kinds, false)])
    {
        with_rules(kinds, move |kernel, compiler, mut state| {
            let table = compiler.config().table.clone();
            change_all_kinds(&mut state, kinds, SERVICES + 20);
            let mut kernel = Around::new(kernel, Counting(counts));
            let start = compare_at_start(&mut kernel, &pristine(), &mut state).unwrap().unwrap();
            let desired = start.desired.expect("there is something to do");
            let in_memory = |ruleset: &Ruleset| {
                let tables = ruleset.tables.values();
                tables.map(|table| table.sets["endpoints"].elements.len()).max().unwrap_or_default()
            };
            for ruleset in [&start.present, &desired] {
                assert!(in_memory(ruleset) < 400, "{} endpoints in memory", in_memory(ruleset));
            }
            kernel.commit(&diff_into(&table, &start.present, desired)).unwrap();
            let present = kernel.read(&table, &mut &start.compiler).unwrap();
            let left = diff_into(&table, &present, start.compiler.ruleset()).operations;
            assert_eq!(left, [], "{kinds:?}, counts: {counts}");
        });
    }
}

#[test]
fn what_is_missing_or_strange_is_found_at_the_start() {
    with_rules(Kinds::Plain, |mut kernel, compiler, mut state| {
        let table = compiler.config().table.clone();
        let mut change = Transaction::new(table.clone());
        let ruleset = compiler.ruleset();
        let ip = &ruleset.tables[&Family::Ip];
        let set = Arc::new(Set { elements: Elements::new(), ..ip.sets["endpoints"].clone() });
        for (key, element) in ip.sets["endpoints"].elements.iter().take(3) {
            change.push(
                Family::Ip,
                Operation::DeleteElement { set: set.clone(), key: key.clone(), end: element.end.clone() },
            );
        }
        kernel.commit(&change).unwrap();
        let start = compare_at_start(&mut kernel, &pristine(), &mut state).unwrap().unwrap();
        let repair = diff_into(&table, &start.present, start.desired.expect("something is missing"));
        assert_eq!(repair.len(), 3, "what was deleted comes back, and nothing else");
    });
}

#[test]
fn frontends_that_claim_many_endpoints_do_not_make_a_start_ask_without_bound() {
    with_rules(Kinds::Plain, |mut kernel, compiler, mut state| {
        let table = compiler.config().table.clone();
        let ruleset = compiler.ruleset();
        let frontends = &ruleset.tables[&Family::Ip].sets["frontends"];
        let set = Arc::new(Set { elements: Elements::new(), ..frontends.clone() });
        let many = Element::value(Concat::default().with(ClassId(0x0005_ffff).into()));
        let mut change = Transaction::new(table.clone());
        for (key, element) in frontends.elements.iter() {
            let (set, key, end) = (set.clone(), key.clone(), element.end.clone());
            let (again, element) = ((set.clone(), key.clone()), many.clone());
            change.push(Family::Ip, Operation::DeleteElement { set, key, end });
            change.push(Family::Ip, Operation::AddElement { set: again.0, key: again.1, element });
        }
        kernel.commit(&change).unwrap();
        let start = compare_at_start(&mut kernel, &pristine(), &mut state).unwrap().unwrap();
        kernel.commit(&diff_into(&table, &start.present, start.desired.unwrap())).unwrap();
        let present = kernel.read(&table, &mut &start.compiler).unwrap();
        assert_eq!(diff_into(&table, &present, start.compiler.ruleset()).operations, []);
    });
}

#[test]
fn a_kernel_without_our_tables_is_nothing_to_compare_with() {
    Namespace::new("cost").unwrap().enter(|| {
        let mut kernel = Kernel::open().unwrap();
        let mut state = Synthetic::new(3, Kinds::Plain).state();
        assert!(compare_at_start(&mut kernel, &pristine(), &mut state).unwrap().is_none());
        assert_eq!(state.dirty().len(), 3, "nothing is compiled yet");
    });
}
