//! The elements that the kernel must hold, and the comparison with its ruleset. The comparison makes no second ruleset
//! beside the kernel's, which would take the most memory of all.

use super::{CompiledService, Compiler};
use crate::{
    frontends::FrontendKey,
    model::{LoadBalancing, ObjectName},
    placement::Placed,
    plane::{PerSet, SetName},
    ruleset::{Concat, Element, Elements, Family, Ruleset, Set, Table, diff::diff_into},
    selection::load_balancer_source_ranges,
};

/// Which elements of a set were found.
#[derive(Default)]
struct Found<'a> {
    elements: Option<&'a Elements>,
    /// Whether the element at each position was found.
    seen: Vec<bool>,
    /// The position at which the next element most likely is.
    next: usize,
}

impl Compiler {
    /// Everything that the kernel must hold.
    pub fn ruleset(&self) -> Ruleset {
        self.ruleset_without(&PerSet::default())
    }

    /// The same without the elements of the `unread` sets.
    pub fn ruleset_without(&self, unread: &PerSet<bool>) -> Ruleset {
        let mut ruleset = self.tables(&self.config.families);
        let mut elements = PerSet::from_fn(|family, set| {
            let count = if unread[(family, set)] { 0 } else { self.tracker.count(family, set) };
            Vec::with_capacity(count as usize)
        });
        self.each_element_but(unread, &mut |family, set, key, element| {
            elements[(family, set)].push((key, element));
        });
        for (family, set, elements) in elements.into_all() {
            let table = ruleset.tables.get_mut(&family);
            if let Some(set) = table.and_then(|t| t.sets.get_mut(set.name())) {
                set.elements = elements.into();
            }
        }
        ruleset
    }

    /// Whether a ruleset is [`Compiler::ruleset`], except for what [`crate::ruleset::diff::diff`] ignores.
    pub fn is_held_by(&self, kernel: &Ruleset) -> bool {
        self.has_tables(kernel)
            && self.differences(kernel, &PerSet::default()).into_all().all(|(_, _, keys)| keys.is_empty())
    }

    /// Whether a ruleset has the tables, chains and declarations that it must have.
    fn has_tables(&self, kernel: &Ruleset) -> bool {
        let bare = self.tables(&self.config.families);
        diff_into(&self.config.table, &without_elements(kernel), bare).is_empty()
    }

    /// The keys at which a ruleset differs from the compiled elements, except in sets that were not read.
    pub fn differences(&self, kernel: &Ruleset, unread: &PerSet<bool>) -> PerSet<Vec<Concat>> {
        let mut found = PerSet::from_fn(|family, set| {
            let elements = kernel.tables.get(&family).and_then(|table| table.sets.get(set.name()));
            let elements = elements.map(|set| &set.elements).filter(|_| !unread[(family, set)]);
            Found { elements, seen: vec![false; elements.map_or(0, Elements::len)], next: 0 }
        });
        let mut different: PerSet<Vec<Concat>> = PerSet::default();
        self.each_element_but(unread, &mut |family, set, key, element| {
            let found = &mut found[(family, set)];
            let at = found.elements.and_then(|elements| elements.position(&key, found.next));
            let is_equal = at.is_some_and(|at| {
                found.next = at + 1;
                found
                    .elements
                    .and_then(|elements| elements.at(at))
                    .is_some_and(|(_, other)| *other == element)
            });
            if let Some(seen) = at.and_then(|at| found.seen.get_mut(at)) {
                *seen = true;
            }
            if !is_equal {
                different[(family, set)].push(key);
            }
        });
        for (family, set, found) in found.into_all() {
            let keys = found.elements.into_iter().flat_map(Elements::keys).zip(found.seen);
            different[(family, set)].extend(keys.filter(|(_, seen)| !seen).map(|(key, _)| key.clone()));
        }
        different
    }

    /// Emits the elements that the kernel must hold for this Service only.
    pub fn service_elements(
        &self,
        service: &ObjectName,
        emit: &mut dyn FnMut(Family, SetName, Concat, Element),
    ) {
        for (port, frontend) in self.services.get(service).into_iter().flat_map(CompiledService::owned) {
            port.elements(frontend, &mut |set, key, element| emit(port.family, set, key, element));
        }
    }

    /// The endpoints at the slots that a frontend of a Service uses for clients outside of the cluster: a new client
    /// gets each slot with the same probability. `None` if the Service does not answer the frontend, or if the client's
    /// address decides.
    pub fn slots(&self, service: &ObjectName, key: &FrontendKey) -> Option<&Placed> {
        let compiled = self.services.get(service)?;
        let (port, frontend) = compiled.owned().find(|(_, frontend)| frontend.key == *key)?;
        let is_open = !load_balancer_source_ranges::guard(frontend.kind) || port.sources.is_empty();
        let is_random = port.load_balancing == LoadBalancing::Random;
        let slots = if frontend.scope.uses_local() { &port.local } else { &port.cluster };
        (is_open && is_random).then_some(slots)
    }

    /// Whether a Service has session affinity.
    pub fn has_affinity(&self, service: &ObjectName) -> bool {
        let compiled = self.services.get(service);
        compiled.is_some_and(|compiled| compiled.ports.iter().any(|port| port.affinity.is_some()))
    }

    /// The Services that are compiled.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &ObjectName> {
        self.services.keys()
    }

    /// The keys of the elements of the sets that Services share.
    pub fn shared_elements(&self) -> impl Iterator<Item = (Family, SetName, Concat)> {
        self.tracker.shared_elements()
    }

    /// Whether a set that Services share must hold an element at this key.
    pub fn is_shared_element(&self, set: SetName, key: &Concat) -> bool {
        self.tracker.has_shared(set, key)
    }

    /// Whether the kernel still holds an element to which nothing leads any more.
    pub fn is_retiring(&self, family: Family, set: &Set, key: &Concat) -> bool {
        self.retiring.holds(family, &set.name, key)
    }

    /// The keys of all elements that the kernel holds if it holds what was compiled, by set, sorted.
    pub fn held_keys(&self) -> PerSet<Vec<Concat>> {
        let mut keys = PerSet::from_fn(|family, set| {
            let mut keys = Vec::with_capacity(self.held(family, set) as usize);
            keys.extend(self.retiring.keys(family, set.name()).cloned());
            keys
        });
        self.each_element(&mut |family, set: SetName, key, _| keys[(family, set)].push(key));
        for family in Family::ALL {
            for set in SetName::ALL {
                let keys = &mut keys[(family, set)];
                // The keys are nearly sorted already.
                keys.sort();
                keys.dedup();
            }
        }
        keys
    }
}

fn without_elements(ruleset: &Ruleset) -> Ruleset {
    let bare = |table: &Table| Table {
        name: table.name.clone(),
        sets: table.sets.iter().map(|(name, set)| (name.clone(), set.without_elements())).collect(),
        chains: table.chains.clone(),
    };
    Ruleset { tables: ruleset.tables.iter().map(|(family, table)| (*family, bare(table))).collect() }
}
