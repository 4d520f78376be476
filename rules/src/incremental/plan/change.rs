//! The acts and changes that a plan consists of.

use std::sync::Arc;

use crate::ruleset::{Concat, Element, Family, Set, Transaction};

/// Maximum number of operations in one transaction: few enough that the kernel's mutex, which all users of `nf_tables`
/// wait for, is held for only some milliseconds; many enough that the cost of a transaction itself does not matter.
pub const PART: usize = 4096;

/// One act of a plan.
#[derive(Clone, Debug)]
pub enum Act {
    /// Commit a transaction.
    Commit(Transaction),
    /// Exchange the names of the planes: from now on the other plane of this family is in force
    /// ([`crate::plane::planes`]).
    Exchange(Family),
}

/// An element before and after a change; one of the two may be missing.
#[derive(Clone, Debug)]
pub struct ElementChange {
    /// Family of the table.
    pub family: Family,
    /// The declaration of the set.
    pub set: Arc<Set>,
    /// The key.
    pub key: Concat,
    /// The element before the change.
    pub before: Option<Element>,
    /// The element after it.
    pub after: Option<Element>,
}
