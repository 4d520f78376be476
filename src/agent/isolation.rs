//! The state of the search for Services that the kernel refuses.

use std::collections::{BTreeMap, BTreeSet};

use portolan_rules::model::ObjectName;

/// The faulty Services, and the candidates.
#[derive(Debug, Default)]
pub(super) struct Isolation {
    /// The kernel's reason for each Service that it refuses.
    pub reasons: BTreeMap<ObjectName, String>,
    /// Groups that are held back and yet to be tried.
    pub candidates: Vec<Vec<ObjectName>>,
    /// Services that changed since the last reconcile that succeeded.
    pub touched: BTreeSet<ObjectName>,
}

impl Isolation {
    /// Whether a search is under way.
    pub(super) fn is_searching(&self) -> bool {
        !self.candidates.is_empty()
    }
}
