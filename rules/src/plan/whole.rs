//! Whole tables: made where there is none, or beside one that is in force.

use std::sync::Arc;

use super::Parts;
use crate::{
    planes::is_shared,
    ruleset::{Chain, Concat, Element, Family, Set, Table},
    transaction::Operation,
};

/// Takes the elements of a table.
pub type Emit<'a> = &'a mut dyn FnMut(&Arc<Set>, Concat, Element);

/// A table that is to be in force, and where its elements come from.
pub struct Whole<'a> {
    /// Its family.
    pub family: Family,
    /// Everything but the elements.
    pub table: Table,
    /// Emits the elements, those that lead to chains included.
    pub elements: &'a dyn Fn(Emit<'_>),
}

impl Whole<'_> {
    /// Makes the table where there is none. The chains that hook it in come last, so that nothing is ever half visible.
    pub fn create(self, parts: &mut Parts<'_>) {
        parts.operations([(self.family, Operation::AddTable)]);
        self.fill(parts, |_| true);
        parts.chains(self.family, self.table.chains.values().filter(|chain| chain.base.is_some()));
        parts.end();
    }

    /// Makes the table beside one that is in force, of which `has` says what it shares with this one already. Last of
    /// all, the chains that hook it in lead to this one.
    ///
    /// All names are those that the objects are to have once the planes are exchanged ([`crate::planes`]).
    pub fn create_beside(self, parts: &mut Parts<'_>, has: impl Fn(&str) -> bool) {
        self.fill(parts, |name| !is_shared(name) || !has(name));
        let family = self.family;
        for Chain { name, rules, .. } in self.table.chains.into_values().filter(|chain| chain.base.is_some())
        {
            parts.operations([(family, Operation::FlushChain(name.clone()))]);
            let rules = rules.into_iter().map(|rule| Operation::AddRule { chain: name.clone(), rule });
            parts.operations(rules.map(|rule| (family, rule)));
        }
        parts.end();
    }

    /// Sets and chains with their rules first: a rule that binds an empty map costs nothing, one that binds a full map
    /// makes the kernel walk it.
    fn fill(&self, parts: &mut Parts<'_>, is_new: impl Fn(&str) -> bool) {
        let (family, table) = (self.family, &self.table);
        let sets = table.sets.values().filter(|set| is_new(&set.name));
        parts.operations(sets.map(|set| (family, Operation::AddSet(Box::new(set.clone())))));
        parts.chains(
            family,
            table.chains.values().filter(|chain| chain.base.is_none() && is_new(&chain.name)),
        );
        parts.end();
        (self.elements)(&mut |set, key, element| parts.add_late_ranges(family, set, key, element));
        parts.ranges();
        parts.end();
    }
}
