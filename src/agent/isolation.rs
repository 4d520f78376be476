//! Which Services the kernel refuses, as far as is known.

use std::collections::{BTreeMap, BTreeSet};

use portolan_rules::{model::ObjectName, state::State};

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

    /// Notes which Services are about to be compiled.
    pub(super) fn note_touched(&mut self, state: &State) {
        self.touched.extend(state.dirty().iter().cloned());
    }

    /// Notes that the kernel has all of them.
    pub(super) fn clear_touched(&mut self) {
        self.touched.clear();
    }
}
