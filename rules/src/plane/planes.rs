//! Two planes in one table: if the plane in force cannot be changed in place, a new plane is made beside it and
//! replaces it at once.
//!
//! A set that is outgrown, or must be declared differently, cannot be changed while rules read it, and a rule that is
//! bound to a full map makes the kernel walk that map. So all sets and chains are made again under other names, bound
//! while the sets are empty, and filled in parts; then the few rules of the base chains are made to lead there. Objects
//! that both planes share keep their names: the base chains, and the map and the chains that remember clients.
//!
//! Outside the kernel, the plane in force always has the plain names, and the other plane the names with [`SUFFIX`]. If
//! it is the other way round in the kernel, names are exchanged whenever objects are read from the kernel or written to
//! it.

use std::sync::Arc;

use super::{chains, session_affinity::is_of_clients, sets::SetName};
use crate::ruleset::{
    Chain, Element, ElementData, Elements, Expression, Family, Name, Operation, Set, SetData, Statement,
    Table, Transaction, Verdict,
};

/// Suffix of the names of the other plane.
pub const SUFFIX: &str = "-b";

/// Whether both planes share the set or chain of this name.
pub fn is_shared(name: &str) -> bool {
    name == SetName::Affinity.name()
        || [chains::PREROUTING, chains::OUTPUT, chains::POSTROUTING].contains(&name)
        || is_of_clients(name)
}

/// The name that an object has in the other plane.
pub fn counterpart(name: &str) -> Name {
    match name.strip_suffix(SUFFIX) {
        _ if is_shared(name) => name.into(),
        Some(plain) => plain.into(),
        None => [name, SUFFIX].concat().into(),
    }
}

/// Whether a name belongs to the other plane.
pub fn is_beside(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

/// Whether the base chains of a table, as the kernel has it, lead to the plane whose names have the suffix.
pub fn is_swapped(table: &Table) -> bool {
    let rules = table.chains.values().filter(|chain| chain.base.is_some()).flat_map(|chain| &chain.rules);
    let mut targets = rules.flat_map(|rule| &rule.statements).filter_map(Statement::target);
    targets.any(|chain| is_beside(chain))
}

/// Something that contains names of sets and chains.
trait Named {
    /// Exchanges the names of the two planes.
    fn swap(&mut self);
}

impl Named for Name {
    fn swap(&mut self) {
        *self = counterpart(self);
    }
}

impl Named for Verdict {
    fn swap(&mut self) {
        if let Self::Jump(chain) | Self::Goto(chain) = self {
            chain.swap();
        }
    }
}

impl Named for Expression {
    fn swap(&mut self) {
        match self {
            Self::Lookup { key, map } => {
                key.swap();
                map.swap();
            }
            Self::Concat(parts) => parts.iter_mut().for_each(Self::swap),
            Self::Hash { key, .. } | Self::Bitwise { left: key, .. } => key.swap(),
            Self::Field(_) | Self::Constant(_) | Self::Random { .. } => {}
        }
    }
}

impl Named for Statement {
    fn swap(&mut self) {
        match self {
            Self::Match { left: value, .. } | Self::Set { value, .. } => value.swap(),
            Self::InSet { key, set, .. }
            | Self::VerdictMap { key, map: set }
            | Self::Dnat { key, map: set } => {
                key.swap();
                set.swap();
            }
            Self::Update { set, key, data, .. } | Self::Delete { set, key, data } => {
                set.swap();
                key.swap();
                data.iter_mut().for_each(Named::swap);
            }
            Self::Verdict(verdict) => verdict.swap(),
            Self::Masquerade | Self::Reject(_) | Self::Foreign(_) => {}
        }
    }
}

impl Named for Chain {
    fn swap(&mut self) {
        self.name.swap();
        self.rules.iter_mut().flat_map(|rule| &mut rule.statements).for_each(Named::swap);
    }
}

impl Named for Element {
    fn swap(&mut self) {
        if let ElementData::Verdict(verdict) = &mut self.data {
            verdict.swap();
        }
    }
}

impl Named for Set {
    fn swap(&mut self) {
        self.name.swap();
        if self.data == SetData::Verdict {
            let elements = std::mem::take(&mut self.elements).into_iter();
            let swapped = elements.map(|(key, mut element)| {
                element.swap();
                (key, element)
            });
            self.elements = swapped.collect::<Elements>();
        }
    }
}

impl Named for Operation {
    fn swap(&mut self) {
        match self {
            // The declaration of an element's set is shared with other operations, and is changed separately.
            Self::AddTable | Self::DeleteTable | Self::DeleteElement { .. } => {}
            Self::AddSet(set) => set.swap(),
            Self::AddChain(chain) => chain.swap(),
            Self::DeleteSet(name) | Self::DeleteChain(name) | Self::FlushChain(name) => name.swap(),
            Self::AddRule { chain, rule } => {
                chain.swap();
                rule.statements.iter_mut().for_each(Named::swap);
            }
            Self::AddElement { element, .. } => element.swap(),
        }
    }
}

/// The same set with the names of the two planes exchanged.
#[must_use]
pub fn swapped(mut set: Set) -> Set {
    set.swap();
    set
}

impl Table {
    /// The same table with the names of the two planes exchanged.
    #[must_use]
    pub fn swapped(self) -> Self {
        let mut swapped = Self::new(self.name);
        for mut set in self.sets.into_values() {
            set.swap();
            swapped.add_set(set);
        }
        for mut chain in self.chains.into_values() {
            chain.swap();
            swapped.add_chain(chain);
        }
        swapped
    }
}

impl Transaction {
    /// Exchanges the names of the two planes in these families.
    pub fn swap(&mut self, is_swapped: impl Fn(Family) -> bool) {
        // Adjacent elements are of one set, and share its declaration.
        let mut last: Option<(Arc<Set>, Arc<Set>)> = None;
        for (_, operation) in self.operations.iter_mut().filter(|(family, _)| is_swapped(*family)) {
            if let Operation::AddElement { set, .. } | Operation::DeleteElement { set, .. } = operation {
                match &last {
                    Some((from, to)) if Arc::ptr_eq(from, set) => *set = to.clone(),
                    _ => {
                        let from = set.clone();
                        Arc::make_mut(set).swap();
                        last = Some((from, set.clone()));
                    }
                }
            }
            operation.swap();
        }
    }
}
