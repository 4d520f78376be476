//! The operations that lead from one ruleset to another, in the order that the kernel requires.

use std::sync::Arc;

use super::{
    chain::{Chain, Rule},
    element::{Concat, Element},
    name::{Family, Name},
    set::Set,
};

/// One operation on one object. Each becomes a netlink message or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Create a table (`NFT_MSG_NEWTABLE`); no error if it exists.
    AddTable,
    /// Delete a table and all it holds (`NFT_MSG_DELTABLE`).
    DeleteTable,
    /// Create a set or map without elements (`NFT_MSG_NEWSET`). The declaration's elements are empty.
    AddSet(Box<Set>),
    /// Delete a set or map and its elements (`NFT_MSG_DELSET`).
    DeleteSet(Name),
    /// Create a chain without rules (`NFT_MSG_NEWCHAIN`). The declaration's rules are empty.
    AddChain(Box<Chain>),
    /// Delete a chain, which must have no rules (`NFT_MSG_DELCHAIN`).
    DeleteChain(Name),
    /// Append a rule to a chain (`NFT_MSG_NEWRULE` with `NLM_F_APPEND`).
    AddRule {
        /// The chain.
        chain: Name,
        /// The rule.
        rule: Rule,
    },
    /// Delete all rules of a chain (`NFT_MSG_DELRULE` without a handle).
    FlushChain(Name),
    /// Add an element (`NFT_MSG_NEWSETELEM`); it must not exist with other data.
    AddElement {
        /// The declaration of the set or map, for types and flags; its elements are empty.
        set: Arc<Set>,
        /// Key.
        key: Concat,
        /// The rest of the element.
        element: Element,
    },
    /// Delete an element (`NFT_MSG_DELSETELEM`); it must exist.
    DeleteElement {
        /// The set or map, as above.
        set: Arc<Set>,
        /// Key.
        key: Concat,
        /// End of its range, in a set with the interval flag.
        end: Option<Box<Concat>>,
    },
}

/// Operations that the kernel commits together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Name of the table, in every family.
    pub table: Name,
    /// The operations, in order, each with its table's family.
    pub operations: Vec<(Family, Operation)>,
}

impl Transaction {
    /// A transaction without operations.
    pub fn new(table: impl Into<Name>) -> Self {
        Self { table: table.into(), operations: Vec::new() }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Appends an operation.
    pub fn push(&mut self, family: Family, operation: Operation) {
        self.operations.push((family, operation));
    }
}
