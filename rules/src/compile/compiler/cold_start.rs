//! Makes whole tables in bounded parts, each a transaction, so that other users of the kernel's mutex never wait long.
//!
//! First come the tables with everything constant except the hooks, then the elements, then the chains of the classes,
//! and last the hooks. Until the hooks exist, the rules see no packet, so no packet sees half of them. Beside a table
//! that is in force, the same objects are made under other names ([`crate::plane::planes`]), and last the hooks are
//! made to lead to them.
//!
//! At a cold start, the Services that are compiled first are in the kernel while the rest are compiled.

use std::{cell::RefCell, collections::VecDeque};

use super::{Compiler, class_verdict, range_element, rebuild::Rebuild};
use crate::{
    compile::{admission, problem::Problem, service::CompiledService},
    frontends::sort_by_rank,
    incremental::{
        NetChanges,
        plan::{Act, Emit, Parts, Whole},
    },
    model::{LoadBalancing, Node, Service},
    placement::maglev,
    plane::{PerSet, SetName, planes::is_shared, size_for},
    ruleset::{Chain, Concat, Element, Family, Name, Table, Transaction},
    selection::{is_remote, may_use_local},
    state::{ServiceState, State},
};

/// The outcome of [`Compiler::load_in_parts`].
#[derive(Debug)]
pub enum Loaded {
    /// All parts were taken; together they make [`Compiler::ruleset`].
    Complete(Vec<Problem>),
    /// Some part was not taken, or the sets were declared too small: the state is compiled, but the kernel holds only
    /// part of it, without hooks.
    Incomplete(Vec<Problem>),
}

/// Number of elements in the first part at a cold start: few, so that the kernel begins to work soon.
const FIRST: usize = 512;

impl Compiler {
    /// Compiles the whole state for a kernel that holds none of our tables, and commits it in parts, in order, with
    /// `take`, which returns whether it wants more.
    pub fn load_in_parts(&mut self, state: &mut State, take: &mut dyn FnMut(Transaction) -> bool) -> Loaded {
        state.clear_dirty();
        self.declare_expected_sizes(state);
        let table = self.config.table.clone();
        let mut parts = Parts::new(&table, take);
        let families = self.config.families.clone();
        let bare = |family: &Family| Whole { family: *family, table: self.table(*family), elements: &|_| () };
        let bare: Vec<Whole<'_>> = families.iter().map(bare).collect();
        for table in &bare {
            table.declare(&mut parts);
        }
        parts.end();
        parts.start_with(FIRST);

        let mut problems = Vec::new();
        // In the order of rank: a Service that is granted a frontend keeps it.
        let ranked = sort_by_rank(state.services());
        self.services.reserve(ranked.len());
        self.claim_ahead(&ranked);
        for (service, entry) in ranked {
            let named = (&service.name, Some(entry));
            self.compile_one(state.node(), named, [None, None], &mut VecDeque::new(), &mut problems);
            if !parts.is_wanted() {
                continue;
            }
            let owned = self.services.get(&service.name);
            for (port, frontend) in owned.into_iter().flat_map(CompiledService::owned) {
                port.elements(frontend, &mut |set, key, element| {
                    parts.add_late_ranges(port.family, self.declaration(port.family, set), key, element);
                });
            }
        }
        for (family, set, key) in self.tracker.shared_elements() {
            parts.add(family, self.declaration(family, set), key, Element::member());
        }
        for range in &self.service_cidrs {
            let (key, element) = range_element(range);
            let family = Family::of(range.0);
            parts.add_late_ranges(family, self.declaration(family, SetName::ServiceCidrs), key, element);
        }
        parts.ranges();
        parts.end();
        let fits = self.outgrown(&NetChanges::default()).is_empty();
        if fits {
            for Whole { family, table, .. } in &bare {
                let classes = self.table(*family);
                let is_class = |chain: &&Chain| !table.chains.contains_key(&chain.name);
                parts.chains(*family, classes.chains.values().filter(is_class));
                for class in self.classes(*family) {
                    let (key, element) = class_verdict(class);
                    parts.add(*family, self.declaration(*family, class.verdict_map()), key, element);
                }
            }
            parts.operations(bare.iter().flat_map(Whole::hooks).collect());
            parts.end();
        }
        let is_complete = fits && parts.is_wanted();
        self.tracker.track();
        self.tracker.take_changes();
        self.flows.clear();
        if is_complete { Loaded::Complete(problems) } else { Loaded::Incomplete(problems) }
    }

    /// Rebuilds the families that the last update could not change in place, each beside the plane in force. `take`
    /// carries out each act, in order, and returns whether it succeeded. Then the former plane retires.
    pub fn rebuild(&mut self, take: &mut dyn FnMut(Act) -> bool) {
        for rebuild in std::mem::take(&mut self.rebuilds) {
            if !self.rebuild_family(&rebuild, take) {
                return;
            }
        }
    }

    fn rebuild_family(&mut self, rebuild: &Rebuild, take: &mut dyn FnMut(Act) -> bool) -> bool {
        let family = rebuild.family;
        let name = self.config.table.clone();
        let mut beside = |mut transaction: Transaction| {
            transaction.swap(|_| true);
            take(Act::Commit(transaction))
        };
        let mut parts = Parts::new(&name, &mut beside);
        let keys: PerSet<RefCell<Vec<Concat>>> = PerSet::default();
        let lingering = rebuild.lingering();
        let elements = |emit: Emit<'_>| {
            self.elements_of(family, &mut |set, key, element| {
                if let Some(name) = SetName::from_name(&set.name) {
                    keys[(family, name)].borrow_mut().push(key.clone());
                }
                emit(set, key, element);
            });
            for change in &lingering {
                let element = change.before.clone().unwrap_or(Element::member());
                emit(self.declaration(family, SetName::Hairpin), change.key.clone(), element);
            }
        };
        let table = self.table(family);
        let chains: Vec<Name> = table.chains.keys().cloned().collect();
        Whole { family, table, elements: &elements }.create_beside(&mut parts, |name| !rebuild.comes(name));
        if !parts.is_wanted() || !take(Act::Exchange(family)) {
            return false;
        }
        let (mut sets, mut old_sets) = (Vec::new(), Vec::new());
        for name in SetName::ALL.into_iter().filter(|name| !is_shared(name.name())) {
            let set = self.declaration(family, name);
            old_sets.push(set.name.clone());
            if !set.flags.interval {
                let held = rebuild.held(set, keys[(family, name)].take());
                sets.push((set.clone(), held));
            }
        }
        let chains = chains.into_iter().filter(|chain| !is_shared(chain)).collect();
        self.retiring.retire_plane(family, sets, old_sets, rebuild.held_chains(chains));
        for change in lingering {
            self.retiring.retire_element(change);
        }
        true
    }

    fn table(&self, family: Family) -> Table {
        let name = self.config.table.clone();
        self.tables(&[family]).tables.remove(&family).unwrap_or_else(|| Table::new(name))
    }

    fn elements_of(&self, family: Family, emit: Emit<'_>) {
        self.each_element(&mut |f, set, key, element| {
            if f == family {
                emit(self.declaration(family, set), key, element);
            }
        });
    }

    /// Declares sizes before anything is compiled, for the maximum number of elements.
    fn declare_expected_sizes(&mut self, state: &State) {
        let mut expected = PerSet::<u32>::default();
        for (service, entry) in state.services() {
            expect(service, entry, state.node(), &mut expected);
        }
        self.declarations = PerSet::from_fn(|family, set| {
            let count = expected[(family, set)].max(self.tracker.count(family, set));
            set.declaration(&self.config, family, size_for(count)).into()
        });
    }
}

/// Adds the maximum number of elements of a Service: every endpoint of every slice behind every port.
fn expect(service: &Service, entry: &ServiceState, node: &Node, expected: &mut PerSet<u32>) {
    let mut slots_left = PerSet::from_fn(|_, _| admission::MOST_SLOTS);
    let ports = &service.ports[..service.ports.len().min(admission::MOST_PORTS)];
    let most_addresses = admission::most_addresses(ports.len());
    for family in Family::ALL {
        let of_family = |address: &&std::net::IpAddr| Family::of(**address) == family;
        if !service.cluster_ips.iter().any(|address| of_family(&address)) {
            continue;
        }
        let external = service.load_balancer_ips.iter().chain(&service.external_ips);
        let addresses = external.filter(of_family).count().min(most_addresses) + 1;
        let (mut slots, mut local_endpoints) = (0, 0);
        for endpoint in entry.slices.iter().flat_map(|slice| &slice.endpoints) {
            if Family::of(endpoint.address) == family {
                slots += usize::from(endpoint.weight);
                local_endpoints += u32::from(!is_remote(endpoint, node));
            }
        }
        let local = may_use_local(service);
        let slots = match service.load_balancing {
            LoadBalancing::Random => slots,
            LoadBalancing::SourceHash => usize::from(maglev::table_size(slots)),
        } * if local { 2 } else { 1 };
        for port in ports {
            let mut add = |set, count: usize| {
                // Without this bound the kernel would make room for the product of all weights.
                let left = &mut slots_left[(family, set)];
                let count = count.min(*left);
                *left -= count;
                let expected = &mut expected[(family, set)];
                *expected = expected.saturating_add(count as u32);
            };
            let node_ports = usize::from(port.node_port.is_some());
            add(SetName::Frontends, addresses);
            add(SetName::NodePorts, node_ports);
            add(SetName::Endpoints, addresses * slots);
            add(SetName::NodeEndpoints, node_ports * slots);
            if service.affinity_timeout.is_some() || local {
                let ids = if service.affinity_timeout.is_some() { slots } else { 0 };
                add(SetName::Attributes, addresses * (4 + ids));
                add(SetName::NodePortAttributes, node_ports * (4 + ids));
            }
        }
        expected[(family, SetName::ClusterIps)] += 1;
        expected[(family, SetName::Hairpin)] += local_endpoints;
    }
}
