//! A cold start in bounded parts, each a transaction: what is compiled first is in the kernel while the rest is
//! compiled, and nobody else waits long for the kernel.
//!
//! First the tables with all that is constant but the hooks; then the elements, as many at a time as the caller
//! wants; then the chains of the classes and, last of all, the hooks. Until these are there no packet comes by, so
//! that nothing is ever half visible.

use std::collections::VecDeque;

use super::{Compiler, class_verdict, range_element};
use crate::{
    compile::{
        claims::sort_by_rank,
        maglev,
        per_set::PerSet,
        service::{CompiledService, Problem},
        sets::{SetName, size_for},
    },
    diff::diff_into,
    model::{LoadBalancing, Node, Service, TrafficPolicy},
    ruleset::{Concat, Element, Family, Ruleset},
    state::{ServiceState, State},
    transaction::{Operation, Transaction},
};

/// What [`Compiler::load_in_parts`] came to.
#[derive(Debug)]
pub enum Loaded {
    /// All parts were taken; together they make [`Compiler::ruleset`].
    Complete(Vec<Problem>),
    /// Some part was not taken, or the sets were declared too small: the state is compiled, but the kernel holds
    /// only some of it, not hooked in.
    Incomplete(Vec<Problem>),
}

/// Elements of the first part: few, so that the kernel is soon at work too. Each is twice as large as the one before,
/// up to the limit.
const FIRST: usize = 512;

/// Declared size from which on a set is made in a transaction of its own. Its table of buckets has half a megabyte.
const LARGE: u32 = 1 << 16;

/// Collects elements by set, and hands them out as transactions.
struct Parts<'a> {
    /// Elements of the next part.
    limit: usize,
    most: usize,
    count: usize,
    elements: PerSet<Vec<(Concat, Element)>>,
    /// Takes a transaction; false if no more are wanted.
    take: &'a mut dyn FnMut(Transaction) -> bool,
    wanted: bool,
}

impl Parts<'_> {
    fn push(&mut self, family: Family, set: SetName, key: Concat, element: Element) {
        self.elements[(family, set)].push((key, element));
        self.count += 1;
    }

    /// Whether there are enough for a part.
    fn is_full(&self) -> bool {
        self.count >= self.limit
    }

    /// Hands out a transaction in several: the kernel takes time to make a large set.
    fn give_apart(&mut self, transaction: Transaction) {
        let mut part = Transaction::new(transaction.table.clone());
        for (family, operation) in transaction.operations {
            // A dynamic set grows with what is in it.
            let is_large = matches!(&operation, Operation::AddSet(set)
                if !set.flags.dynamic && set.size.is_some_and(|size| size >= LARGE));
            part.push(family, operation);
            if is_large {
                let next = Transaction::new(part.table.clone());
                self.give(std::mem::replace(&mut part, next));
            }
        }
        self.give(part);
    }

    fn give(&mut self, transaction: Transaction) {
        self.wanted = self.wanted && (transaction.is_empty() || (self.take)(transaction));
    }
}

impl Compiler {
    /// Compiles the whole state for a kernel that holds no tables of ours, and has `take` commit it in
    /// parts of about `limit` elements, in order. `take` says whether it wants more.
    pub fn load_in_parts(
        &mut self,
        state: &mut State,
        limit: usize,
        take: &mut dyn FnMut(Transaction) -> bool,
    ) -> Loaded {
        state.clear_dirty();
        self.declare_expected_sizes(state);
        let elements = PerSet::from_fn(|_, _| Vec::new());
        let mut parts =
            Parts { limit: limit.min(FIRST), most: limit, count: 0, elements, take, wanted: true };
        let mut unhooked = self.tables();
        for table in unhooked.tables.values_mut() {
            table.chains.retain(|_, chain| chain.base.is_none());
        }
        parts.give_apart(diff_into(&self.config.table, &Ruleset::default(), unhooked.clone()));

        let mut problems = Vec::new();
        // In the order of rank: who is granted a frontend keeps it.
        let ranked = sort_by_rank(state.services());
        self.services.reserve(ranked.len());
        self.claim_ahead(&ranked);
        for (service, entry) in ranked {
            let named = (&service.name, Some(entry));
            self.compile_one(state.node(), named, None, &mut VecDeque::new(), &mut problems);
            if !parts.wanted {
                continue;
            }
            let owned = self.services.get(&service.name);
            for (port, frontend) in owned.into_iter().flat_map(CompiledService::owned) {
                port.elements(frontend, &mut |set, key, element| {
                    parts.push(port.family, set, key, element);
                });
            }
            if parts.is_full() {
                self.flush(&mut parts);
            }
        }
        for (family, set, key) in self.ledger.shared_elements() {
            parts.push(family, set, key, Element::member());
            if parts.is_full() {
                self.flush(&mut parts);
            }
        }
        for range in &self.service_cidrs {
            let (key, element) = range_element(range);
            parts.push(Family::of(range.0), SetName::ServiceCidrs, key, element);
        }
        // Ranges wait for the end: the kernel copies a whole set of ranges for every transaction that adds some.
        parts.limit = 0;
        self.flush(&mut parts);
        let fits = self.outgrown().is_empty();
        let mut last = diff_into(&self.config.table, &unhooked, self.tables());
        for family in Family::ALL {
            for class in self.classes(family) {
                let set = self.declaration(family, class.verdict_map()).clone();
                let (key, element) = class_verdict(class);
                last.push(family, Operation::AddElement { set, key, element });
            }
        }
        parts.wanted = parts.wanted && fits;
        parts.give(last);
        self.ledger.track();
        self.ledger.take_changes();
        self.flows.clear();
        if parts.wanted { Loaded::Complete(problems) } else { Loaded::Incomplete(problems) }
    }

    /// Hands out what has been collected; with a limit, all but ranges.
    fn flush(&self, parts: &mut Parts<'_>) {
        let mut transaction = Transaction::new(self.config.table.clone());
        transaction.operations.reserve(parts.count);
        for family in Family::ALL {
            for name in SetName::ALL {
                let set = self.declaration(family, name);
                if parts.limit > 0 && set.flags.interval {
                    continue;
                }
                for (key, element) in parts.elements[(family, name)].drain(..) {
                    let set = set.clone();
                    transaction.push(family, Operation::AddElement { set, key, element });
                }
            }
        }
        parts.count = 0;
        parts.limit = (parts.limit * 2).min(parts.most);
        parts.give(transaction);
    }

    /// Declares sizes before anything is compiled: for as many elements as there can be at most.
    fn declare_expected_sizes(&mut self, state: &State) {
        let mut expected = PerSet::<u32>::default();
        for (service, entry) in state.services() {
            expect(service, entry, state.node(), &mut expected);
        }
        for family in Family::ALL {
            for set in SetName::ALL {
                let count = expected[(family, set)].max(self.ledger.count(family, set));
                let declared = set.declaration(&self.config, family, size_for(count));
                self.declarations[(family, set)] = declared.into();
            }
        }
    }
}

/// Adds what a Service can have at most: every endpoint of every slice behind every port.
fn expect(service: &Service, entry: &ServiceState, node: &Node, expected: &mut PerSet<u32>) {
    for family in Family::ALL {
        let of_family = |address: &&std::net::IpAddr| Family::of(**address) == family;
        if !service.cluster_ips.iter().any(|address| of_family(&address)) {
            continue;
        }
        let addresses =
            service.load_balancer_ips.iter().chain(&service.external_ips).filter(of_family).count() + 1;
        let (mut slots, mut local_endpoints) = (0, 0);
        for endpoint in entry.slices.iter().flat_map(|slice| &slice.endpoints) {
            if Family::of(endpoint.address) == family {
                slots += usize::from(endpoint.weight);
                local_endpoints += u32::from(endpoint.node.as_ref().is_none_or(|name| *name == node.name));
            }
        }
        let local = [service.internal_policy, service.external_policy].contains(&TrafficPolicy::Local);
        let slots = match service.load_balancing {
            LoadBalancing::Random => slots,
            LoadBalancing::SourceHash => usize::from(maglev::table_size(slots)),
        } * if local { 2 } else { 1 };
        for port in &service.ports {
            let mut add = |set, count: usize| expected[(family, set)] += count as u32;
            let node_ports = usize::from(port.node_port.is_some());
            add(SetName::Frontends, addresses);
            add(SetName::NodePorts, node_ports);
            add(SetName::Endpoints, addresses * slots);
            add(SetName::NodeEndpoints, node_ports * slots);
            if service.affinity_timeout.is_some() || local {
                let sticky = if service.affinity_timeout.is_some() { slots } else { 0 };
                add(SetName::Attributes, addresses * (4 + sticky));
                add(SetName::NodePortAttributes, node_ports * (4 + sticky));
            }
        }
        expected[(family, SetName::ClusterIps)] += 1;
        expected[(family, SetName::Hairpin)] += local_endpoints;
    }
}
