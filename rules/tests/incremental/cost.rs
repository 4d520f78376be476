//! What a change costs, counted in operations: numbers that are the same on every machine.

mod bounds;

use std::{collections::BTreeSet, sync::Arc};

use portolan_rules::{
    compile::{Compiler, Loaded},
    incremental::plan::PART,
    model::{Endpoint, ObjectName},
    plane::Config,
    ruleset::{Element, Operation, Ruleset, Transaction},
    state::State,
};

use crate::{
    apply::Apply as _,
    cluster::{plain_shape, service, slice, state},
    plan::WholePlan,
};

/// Endpoints of each Service.
const ENDPOINTS: u32 = 5;

/// Many Services that are alike, compiled.
struct Cluster {
    state: State,
    compiler: Compiler,
    kernel: Ruleset,
    parts: Vec<Transaction>,
}

impl Cluster {
    /// Makes this number of Services, and starts cold.
    fn new(services: u32) -> Self {
        let mut state = state();
        (0..services).for_each(|n| set(&mut state, n, 0..ENDPOINTS));
        let mut compiler = Compiler::new(Config::default());
        let (mut kernel, mut parts) = (Ruleset::default(), Vec::new());
        let loaded = compiler.load_in_parts(&mut state, &mut |part| {
            kernel = part.apply(&kernel).expect("the kernel takes it");
            parts.push(part);
            true
        });
        assert!(matches!(loaded, Loaded::Complete(problems) if problems.is_empty()));
        Self { state, compiler, kernel, parts }
    }

    /// Returns what is sent to the kernel for the changes of the state.
    fn update(&mut self) -> WholePlan {
        self.compile().0
    }

    /// The same plan, and how many Services were compiled as a whole.
    fn compile(&mut self) -> (WholePlan, usize) {
        let update = self.compiler.update(&mut self.state);
        let recompiled = update.recompiled;
        let plan = WholePlan::of(&mut self.compiler, &update);
        self.kernel = plan.apply(&self.kernel).expect("the kernel takes it");
        (plan, recompiled)
    }

    /// The plan after Service `n` has other endpoints.
    fn endpoints(&mut self, n: u32, endpoints: impl IntoIterator<Item = u32>) -> WholePlan {
        set_endpoints(&mut self.state, n, endpoints);
        self.update()
    }
}

fn set(state: &mut State, n: u32, endpoints: impl IntoIterator<Item = u32>) {
    let name = name(n);
    let shape = plain_shape(None);
    let mut service = service(&name, &shape);
    service.cluster_ips = vec![[172, 16, (n >> 8) as u8, n as u8].into()];
    state.set_service(&name, Some(Arc::new(service)));
    set_endpoints(state, n, endpoints);
}

/// Endpoint `i` of Service `n`, on another node.
fn set_endpoints(state: &mut State, n: u32, endpoints: impl IntoIterator<Item = u32>) {
    let name = name(n);
    let mut slice = slice(&name, &name.name, &[(1, true)]);
    let one = slice.endpoints.remove(0);
    let address = |i: u32| [10, (n >> 8) as u8, n as u8, i as u8].into();
    slice.endpoints =
        endpoints.into_iter().map(|i| Endpoint { address: address(i), ..one.clone() }).collect();
    state.set_slice(&name, Some(Arc::new(slice)));
}

fn name(n: u32) -> ObjectName {
    ObjectName::new("default", format!("service-{n}"))
}

/// The operations of each transaction that is committed at once, and of those that follow later, in a few words each:
/// what the operation does, and to which set.
fn phases(plan: &WholePlan) -> [Vec<Vec<String>>; 2] {
    assert!(!plan.is_rebuild());
    [&plan.steps, &plan.retired].map(|transactions| transactions.iter().map(words).collect())
}

fn words(transaction: &Transaction) -> Vec<String> {
    let word = |operation: &Operation| match operation {
        Operation::AddElement { set, .. } => format!("add {}", set.name),
        Operation::DeleteElement { set, .. } => format!("delete {}", set.name),
        Operation::AddChain(_) => "add chain".into(),
        Operation::DeleteChain(_) => "delete chain".into(),
        Operation::AddRule { .. } => "add rule".into(),
        Operation::FlushChain(_) => "flush chain".into(),
        other => panic!("a change does not {other:?}"),
    };
    transaction.operations.iter().map(|(_, operation)| word(operation)).collect()
}

#[test]
fn a_swap_is_one_delete_and_one_add_however_many_services_there_are() {
    for services in [1, 10, 1_000] {
        let mut cluster = Cluster::new(services);
        let [now, later] = phases(&cluster.endpoints(services / 2, [0, 1, 9, 3, 4]));
        assert_eq!(now, [["delete endpoints", "add endpoints"]]);
        assert!(later.is_empty(), "{later:?}");
    }
}

#[test]
fn an_added_endpoint_touches_two_maps() {
    let mut cluster = Cluster::new(100);
    // Another Service has as many endpoints already.
    cluster.endpoints(1, 0..=ENDPOINTS);
    let [now, later] = phases(&cluster.endpoints(50, 0..=ENDPOINTS));
    assert_eq!(now, [["delete frontends", "add endpoints", "add frontends"]]);
    assert!(later.is_empty(), "{later:?}");
}

#[test]
fn a_removed_endpoint_touches_two_maps() {
    let mut cluster = Cluster::new(100);
    cluster.endpoints(1, 1..ENDPOINTS);
    let [now, later] = phases(&cluster.endpoints(50, 0..ENDPOINTS - 1));
    assert_eq!(now, [["delete frontends", "add frontends"]]);
    assert_eq!(later, [["delete endpoints"]]);
    // The last endpoint moves into the gap.
    let [now, later] = phases(&cluster.endpoints(51, 1..ENDPOINTS));
    assert_eq!(now, [["delete endpoints", "delete frontends", "add endpoints", "add frontends"]]);
    assert_eq!(later, [["delete endpoints"]]);
}

#[test]
fn only_a_new_number_of_endpoints_makes_a_chain() {
    let mut cluster = Cluster::new(100);
    let [added, later] = phases(&cluster.endpoints(50, 0..=ENDPOINTS));
    let [prepare, switch] = added.as_slice() else { panic!("{added:?}") };
    assert_eq!(prepare.iter().filter(|word| word.contains("endpoints")).count(), 1);
    assert!(prepare.iter().any(|word| word == "add chain"), "{prepare:?}");
    assert!(prepare.iter().any(|word| word == "add classes"), "{prepare:?}");
    assert!(prepare.len() <= 10, "{prepare:?}");
    assert_eq!(switch, &["delete frontends", "add frontends"]);
    assert!(later.is_empty(), "{later:?}");
    let [back, later] = phases(&cluster.endpoints(50, 0..ENDPOINTS));
    assert_eq!(back, [["delete frontends", "add frontends"]]);
    let [retired] = later.as_slice() else { panic!("{later:?}") };
    assert!(retired.iter().any(|word| word == "delete chain"), "{retired:?}");
    assert!(retired.len() <= 10, "{retired:?}");

    // An element that is wanted again before it is removed is neither removed nor added.
    set_endpoints(&mut cluster.state, 50, 0..=ENDPOINTS);
    cluster.compiler.update(&mut cluster.state);
    set_endpoints(&mut cluster.state, 50, 0..ENDPOINTS);
    cluster.compiler.update(&mut cluster.state);
    set_endpoints(&mut cluster.state, 50, 0..=ENDPOINTS);
    let again = cluster.compiler.update(&mut cluster.state);
    assert_eq!(again.steps.iter().map(words).collect::<Vec<_>>(), [["delete frontends", "add frontends"]]);
    assert_eq!(cluster.compiler.retiring(), None);
}

#[test]
fn a_service_comes_and_goes_with_its_own_elements_only() {
    let mut cluster = Cluster::new(100);
    let before = cluster.kernel.clone();
    set(&mut cluster.state, 100, 0..ENDPOINTS);
    let created = cluster.update();
    let [created] = created.steps.as_slice() else { panic!("{:?}", created.steps) };
    let elements: BTreeSet<String> = words(created).into_iter().collect();
    assert_eq!(
        elements,
        ["add cluster-ips", "add endpoints", "add frontends"].map(String::from).into(),
        "{created:?}"
    );
    assert_eq!(created.len(), 1 + 1 + ENDPOINTS as usize);
    for (_, operation) in &created.operations {
        let Operation::AddElement { key, .. } = operation else { panic!("{operation:?} adds no element") };
        assert!(key.as_bytes().starts_with(&[172, 16, 0, 100]), "{operation:?} is another Service's");
    }

    cluster.state.set_service(&name(100), None);
    cluster.state.set_slice(&name(100), None);
    let deleted = cluster.update();
    assert_eq!(deleted.len(), created.len());
    let [now, later] = phases(&deleted);
    assert_eq!(now, [["delete frontends", "delete cluster-ips"]]);
    assert_eq!(later, [vec!["delete endpoints"; ENDPOINTS as usize]]);
    assert_eq!(cluster.kernel, before);
}

#[test]
fn what_is_equal_already_is_not_sent() {
    let mut cluster = Cluster::new(100);
    assert_eq!(cluster.update().len(), 0, "the cold start left nothing to do");
    (0..100).for_each(|n| set(&mut cluster.state, n, 0..ENDPOINTS));
    assert_eq!(cluster.update().len(), 0, "equal objects are no change");
    cluster.state.touch(|_| true);
    assert_eq!(cluster.update().len(), 0, "compiling again gives the same result");
    // A change that is undone before the next update.
    set_endpoints(&mut cluster.state, 7, [9]);
    set_endpoints(&mut cluster.state, 7, 0..ENDPOINTS);
    assert_eq!(cluster.update().len(), 0);
}

#[test]
fn a_cold_start_adds_each_element_once() {
    let cluster = Cluster::new(1_000);
    let operations =
        || cluster.parts.iter().flat_map(|part| &part.operations).map(|(_, operation)| operation);
    let added = operations().filter(|operation| matches!(operation, Operation::AddElement { .. })).count();
    let deletes = |operation: &Operation| {
        matches!(
            operation,
            Operation::DeleteElement { .. }
                | Operation::DeleteChain(_)
                | Operation::DeleteSet(_)
                | Operation::FlushChain(_)
        )
    };
    assert!(!operations().any(deletes), "the cold start deletes nothing");
    let sets = cluster.kernel.tables.values().flat_map(|table| table.sets.values());
    assert_eq!(added, sets.map(|set| set.elements.len()).sum::<usize>());
    assert_eq!(cluster.kernel, cluster.compiler.ruleset());
    // A frontend, its endpoints and its ClusterIP for each; the rest is constant for any number of Services.
    let of_services = 1_000 * (2 + ENDPOINTS as usize);
    assert!((of_services..of_services + 32).contains(&added), "{added} elements");
    // The kernel's elements have comments where people look, and nowhere else: comments take memory.
    let commented = |(_, element): &(_, &Element)| element.comment.is_some();
    for set in cluster.kernel.tables.values().flat_map(|table| table.sets.values()) {
        let comments = set.elements.iter().filter(|pair| commented(pair)).count();
        assert_eq!(comments, if &*set.name == "frontends" { set.elements.len() } else { 0 }, "{}", set.name);
    }
}

#[test]
fn no_part_is_large_and_few_are_small() {
    let cluster = Cluster::new(1_000);
    for part in &cluster.parts {
        assert!(part.len() <= PART, "{} operations in one transaction", part.len());
    }
    // The parts begin small, and double in size each time.
    assert!(cluster.parts.len() <= 3 + 7 * 1_000 / PART + 4, "{} transactions", cluster.parts.len());
}

/// Sets slice `i` of a Service with many slices: a hundred endpoints, with a change.
fn set_slice(state: &mut State, i: u32, change: impl FnOnce(&mut Vec<Endpoint>)) {
    let owner = name(0);
    let slice_name = ObjectName::new("default", format!("service-0-{i}"));
    let mut slice = slice(&slice_name, &owner.name, &[(1, true)]);
    let one = slice.endpoints.remove(0);
    let address = |n: u32| [10, 1 + (i >> 8) as u8, i as u8, n as u8].into();
    slice.endpoints = (0..100).map(|n| Endpoint { address: address(n), ..one.clone() }).collect();
    change(&mut slice.endpoints);
    state.set_slice(&slice_name, Some(Arc::new(slice)));
}

#[test]
fn an_endpoint_of_a_large_service_is_all_that_is_looked_at() {
    for slices in [2, 100] {
        let mut cluster = Cluster::new(1);
        (0..slices).for_each(|i| set_slice(&mut cluster.state, i, |_| {}));
        assert_eq!(cluster.compile().1, 1);
        let (first, middle, last) = (0, slices / 2, slices - 1);
        let mut changed = |i, change: &dyn Fn(&mut Vec<Endpoint>)| {
            set_slice(&mut cluster.state, i, change);
            let (plan, recompiled) = cluster.compile();
            assert_eq!(recompiled, 0, "all {slices} slices are compiled again");
            assert_eq!(cluster.kernel, cluster.compiler.ruleset());
            let words: Vec<String> = plan.transactions().flat_map(words).collect();
            let of_slots = words.iter().filter(|word| word.contains("endpoints")).count();
            // Besides slots: the number of endpoints, which decides the class.
            assert!(words.len() - of_slots <= 10, "{words:?}");
            of_slots
        };
        let new = |endpoints: &mut Vec<Endpoint>| endpoints[50].address = [10, 9, 9, 9].into();
        assert_eq!(changed(first, &new), 2, "swapped");
        assert_eq!(changed(first, &|_| {}), 2, "and back");
        let unready = |endpoints: &mut Vec<Endpoint>| endpoints[50].ready = false;
        assert_eq!(changed(middle, &unready), 3, "the last slot moves into its place");
        assert_eq!(changed(middle, &|_| {}), 1, "and it is ready again");
        let one_more = |endpoints: &mut Vec<Endpoint>| {
            let new = Endpoint { address: [10, 9, 9, 9].into(), ..endpoints[0].clone() };
            endpoints.push(new);
        };
        assert_eq!(changed(last, &one_more), 1, "added");
        assert_eq!(changed(last, &|_| {}), 1, "and removed");
        let two_less = |endpoints: &mut Vec<Endpoint>| endpoints.truncate(98);
        assert_eq!(changed(first, &two_less), 6, "two removed");
        assert_eq!(changed(first, &|_| {}), 2, "and added");
        // A slice with the same endpoints in another order changes nothing.
        assert_eq!(changed(first, &|endpoints| endpoints.reverse()), 0, "in another order");
    }
}
