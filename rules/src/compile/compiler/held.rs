//! Whether the kernel holds what was compiled, without making a second ruleset beside the kernel's, which would take
//! the most memory of all.

use super::Compiler;
use crate::{
    plane::{PerSet, SetName},
    ruleset::{Concat, Elements, Family, Ruleset, Set, Table, diff::diff_into},
};

/// Which elements of a set were found.
#[derive(Default)]
struct Found<'a> {
    elements: Option<&'a Elements>,
    /// By place.
    seen: Vec<bool>,
    /// Where the next element most likely is.
    next: usize,
}

impl Compiler {
    /// Whether a ruleset is [`Compiler::ruleset`], except for what [`crate::ruleset::diff::diff`] ignores.
    pub fn is_held_by(&self, kernel: &Ruleset) -> bool {
        let bare = self.tables(&self.config.families);
        if !diff_into(&self.config.table, &without_elements(kernel), bare).is_empty() {
            return false;
        }
        let mut found = PerSet::from_fn(|family, set| {
            let elements = kernel.tables.get(&family).and_then(|table| table.sets.get(set.name()));
            let elements = elements.map(|set| &set.elements);
            Found { elements, seen: vec![false; elements.map_or(0, Elements::len)], next: 0 }
        });
        let mut is_held = true;
        self.each_element(&mut |family, set, key, element| {
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
            is_held &= is_equal;
        });
        is_held && found.into_all().all(|(_, _, found)| found.seen.iter().all(|seen| *seen))
    }

    /// The keys of all elements that the kernel holds if it holds what was compiled, by set, in order.
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
                // They are nearly sorted.
                keys.sort();
                keys.dedup();
            }
        }
        keys
    }
}

fn without_elements(ruleset: &Ruleset) -> Ruleset {
    let mut bare = Ruleset::default();
    for (family, table) in &ruleset.tables {
        let mut copy = Table::new(table.name.clone());
        copy.chains.clone_from(&table.chains);
        for set in table.sets.values() {
            let (name, key, data) = (set.name.clone(), set.key.clone(), set.data.clone());
            copy.add_set(Set { elements: Elements::new(), name, key, data, ..*set });
        }
        bare.tables.insert(*family, copy);
    }
    bare
}
