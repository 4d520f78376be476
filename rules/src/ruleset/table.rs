//! Tables.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::{
    chain::Chain,
    element::Element,
    name::{Family, Name},
    set::{Set, SetData},
    statement::Statement,
};

/// The tables of one node: none, one, or one per family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The tables, by family.
    pub tables: BTreeMap<Family, Table>,
}

/// One nftables table. Equality ignores the order of its sets and chains, which has no meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Name; the same in both families.
    pub name: Name,
    /// Sets and maps, in order of creation.
    pub sets: IndexMap<Name, Set>,
    /// Chains, in order of creation.
    pub chains: IndexMap<Name, Chain>,
}

impl Table {
    /// A table without contents.
    pub fn new(name: impl Into<Name>) -> Self {
        Self { name: name.into(), sets: IndexMap::new(), chains: IndexMap::new() }
    }

    /// Adds a set or map, or replaces the one with the same name.
    pub fn add_set(&mut self, set: Set) {
        self.sets.insert(set.name.clone(), set);
    }

    /// Adds a chain, or replaces the one with the same name.
    pub fn add_chain(&mut self, chain: Chain) {
        self.chains.insert(chain.name.clone(), chain);
    }

    /// Whether a chain of the same name has another hook, type or priority in `new`. The kernel cannot change these
    /// in place.
    pub fn hooks_differ(&self, new: &Self) -> bool {
        let differs = |chain: &Chain| new.chains.get(&chain.name).is_some_and(|new| new.base != chain.base);
        self.chains.values().any(differs)
    }

    /// The statements of all rules.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.chains.values().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements)
    }

    /// The chains that rules and elements lead to, once for each reference.
    pub fn targets(&self) -> impl Iterator<Item = &Name> {
        let verdict_maps = self.sets.values().filter(|set| set.data == SetData::Verdict);
        let by_element = verdict_maps.flat_map(|set| set.elements.values()).filter_map(Element::target);
        self.statements().filter_map(Statement::target).chain(by_element)
    }
}
