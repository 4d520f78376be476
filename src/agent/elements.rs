//! Elements at single keys: what should stand there, and what the kernel has.

use portolan_rules::{
    compile::Compiler,
    incremental::plan::ElementChange,
    model::ObjectName,
    plane::{PerSet, SetName},
    ruleset::{Concat, Element, Elements, Family, Ruleset, Set, Table},
};

use crate::kernel::nftables::{Error, Tables};

/// What should stand at some keys of each set; `None` where there should be no element.
#[derive(Default)]
pub(super) struct Expected(PerSet<Vec<(Concat, Option<Element>)>>);

/// What the kernel has at these keys.
pub(super) type Found = PerSet<Elements>;

impl Expected {
    /// Adds a key.
    pub(super) fn push(&mut self, (family, set): (Family, SetName), key: Concat, element: Option<Element>) {
        self.0[(family, set)].push((key, element));
    }

    /// Adds the elements of a Service at the wanted keys. Returns how many were added.
    pub(super) fn add(
        &mut self,
        compiler: &Compiler,
        service: &ObjectName,
        mut is_wanted: impl FnMut(Family, SetName, &Concat) -> bool,
    ) -> usize {
        let mut count = 0;
        compiler.service_elements(service, &mut |family, set, key, element| {
            if is_wanted(family, set, &key) {
                self.push((family, set), key, Some(element));
                count += 1;
            }
        });
        count
    }

    /// Reads what the kernel has at these keys.
    pub(super) fn read(&self, kernel: &mut impl Tables, compiler: &Compiler) -> Result<Found, Error> {
        let mut found = Found::default();
        for (family, set, expected) in self.0.iter().filter(|(_, _, expected)| !expected.is_empty()) {
            let keys: Vec<Concat> = expected.iter().map(|(key, _)| key.clone()).collect();
            let (table, declared) = (&compiler.config().table, compiler.declaration(family, set));
            found[(family, set)] = kernel.elements(table, family, declared, &keys)?;
        }
        Ok(found)
    }

    /// Whether these elements are among those that were read.
    pub(super) fn are_among(&self, found: &Found) -> bool {
        self.0.iter().all(|(family, set, expected)| {
            expected.iter().all(|(key, element)| found[(family, set)].get(key) == element.as_ref())
        })
    }

    /// Adds other keys.
    pub(super) fn append(&mut self, other: Self) {
        for (family, set, mut expected) in other.0.into_all() {
            self.0[(family, set)].append(&mut expected);
        }
    }

    /// What was found at these keys.
    pub(super) fn found<'a>(
        &'a self,
        found: &'a Found,
    ) -> impl Iterator<Item = ((Family, SetName), &'a Concat, &'a Element)> {
        self.0.iter().flat_map(move |(family, set, expected)| {
            let found = &found[(family, set)];
            expected.iter().filter_map(move |(key, _)| {
                let (key, element) = found.get_key_value(key)?;
                Some(((family, set), key, element))
            })
        })
    }

    /// What has to change in the kernel.
    pub(super) fn changes(self, found: &Found, compiler: &Compiler) -> Vec<ElementChange> {
        let mut changes = Vec::new();
        for (family, name, expected) in self.0.into_all() {
            for (key, after) in expected {
                let before = found[(family, name)].get(&key).cloned();
                if before != after {
                    let set = compiler.declaration(family, name).clone();
                    changes.push(ElementChange { family, set, key, before, after });
                }
            }
        }
        changes
    }
}

/// Returns tables with these elements only.
pub(super) fn tables(elements: Found, compiler: &Compiler) -> Ruleset {
    let mut ruleset = Ruleset::default();
    for (family, set, elements) in elements.into_all() {
        let name = || Table::new(compiler.config().table.clone());
        let table = ruleset.tables.entry(family).or_insert_with(name);
        table.add_set(Set { elements, ..Set::clone(compiler.declaration(family, set)) });
    }
    ruleset
}
