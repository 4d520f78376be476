//! Whole tables: made where the kernel has none, or beside the table that is in force.

use std::sync::Arc;

use super::parts::{Parts, made};
use crate::{
    plane::planes::is_shared,
    ruleset::{Concat, Element, Family, Operation, Set, Table},
};

/// Takes the elements of a table.
pub type Emit<'a> = &'a mut dyn FnMut(&Arc<Set>, Concat, Element);

/// A table that is to be put in force, and the source of its elements.
pub struct Whole<'a> {
    /// Its family.
    pub family: Family,
    /// Everything but the elements.
    pub table: Table,
    /// Emits the elements, those that lead to chains included.
    pub elements: &'a dyn Fn(Emit<'_>),
}

impl Whole<'_> {
    /// Makes the table where the kernel has none.
    pub fn create(&self, parts: &mut Parts<'_>) {
        self.declare(parts);
        self.fill(parts);
        parts.operations(self.hooks().collect());
        parts.end();
    }

    /// Makes the table beside the table that is in force; `has` returns whether the latter has a shared object already.
    /// Last of all, the base chains are made to lead to the new table.
    ///
    /// All names are those that the objects will have once the planes are exchanged ([`crate::plane::planes`]).
    pub fn create_beside(&self, parts: &mut Parts<'_>, has: impl Fn(&str) -> bool) {
        self.objects(parts, |name| !is_shared(name) || !has(name));
        self.fill(parts);
        let changed = self.hooks().map(|(family, operation)| match operation {
            Operation::AddChain(chain) => (family, Operation::FlushChain(chain.name)),
            rule => (family, rule),
        });
        parts.operations(changed.collect());
        parts.end();
    }

    /// Makes the table with everything constant except the hooks.
    pub fn declare(&self, parts: &mut Parts<'_>) {
        parts.operations(vec![(self.family, Operation::AddTable)]);
        self.objects(parts, |_| true);
    }

    /// Makes sets, and chains with their rules, before the elements: a rule that binds an empty map costs little, while
    /// a rule that binds a full map makes the kernel walk the map.
    fn objects(&self, parts: &mut Parts<'_>, is_new: impl Fn(&str) -> bool) {
        let table = &self.table;
        parts.sets(self.family, table.sets.values().filter(|set| is_new(&set.name)));
        let chains = table.chains.values().filter(|chain| chain.base.is_none() && is_new(&chain.name));
        parts.chains(self.family, chains);
    }

    fn fill(&self, parts: &mut Parts<'_>) {
        parts.end();
        (self.elements)(&mut |set, key, element| parts.add_late_ranges(self.family, set, key, element));
        parts.ranges();
        parts.end();
    }

    /// The operations that make the base chains. They come last and at once, so that no packet sees half of the table.
    pub fn hooks(&self) -> impl Iterator<Item = (Family, Operation)> {
        made(self.family, self.table.chains.values().filter(|chain| chain.base.is_some()))
    }
}
