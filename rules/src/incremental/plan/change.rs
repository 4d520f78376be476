//! What a plan consists of.

use std::sync::Arc;

use crate::ruleset::{Concat, Element, Family, Set, Transaction};

/// Operations in one transaction at most: few enough that the kernel's mutex, which all users of `nf_tables` wait for,
/// is held for some milliseconds only; many enough that a transaction's own cost does not show.
pub const PART: usize = 4096;

/// One act of a plan.
#[derive(Clone, Debug)]
pub enum Act {
    /// Commit a transaction.
    Commit(Transaction),
    /// From now on the other plane of this family is in force ([`crate::plane::planes`]): exchange the names.
    Exchange(Family),
}

/// An element before and after a change; one of them may not be there.
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
