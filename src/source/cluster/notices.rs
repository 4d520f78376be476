//! What is wrong with objects, said once.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
};

use portolan_rules::model::ObjectName;
use tracing::{error, warn};

use crate::api::{Fault, Issue, Kind, ObjectId};

/// How many things without a usable name are told apart. No API server stores one; one that sends more of them is
/// something else.
const NAMELESS: usize = 64;

/// Of each object with something wrong, what was said last, as a hash.
#[derive(Debug, Default)]
pub(super) struct Notices {
    said: HashMap<ObjectName, u64>,
    nameless: HashSet<u64>,
    hasher: RandomState,
}

impl Notices {
    /// Reports what makes an object unusable, and what of it is ignored, unless it was said of this object before.
    pub fn note(
        &mut self,
        id: &ObjectId,
        was_usable: bool,
        fault: Option<&Fault>,
        warnings: &mut Vec<Issue>,
    ) {
        if fault.is_none() && warnings.is_empty() {
            self.said.remove(&id.name);
            return;
        }
        let hash = self.hasher.hash_one((fault, &*warnings));
        let is_new = self.said.insert(id.name.clone(), hash) != Some(hash);
        if let Some(fault) = fault.filter(|_| is_new) {
            let then = if was_usable { "what it said before stays in force" } else { "ignored" };
            error!("{id}: {fault}; {then}");
        }
        for warning in warnings.drain(..).filter(|_| is_new) {
            warn!("{warning}");
        }
    }

    /// Reports an object whose name no API server would have accepted.
    pub fn nameless(&mut self, kind: Kind, name: &str, fault: &Fault) {
        if self.is_new((kind, name, fault)) {
            error!("{kind} {name:?}: {fault}; ignored");
        }
    }

    /// Reports something that is no object.
    pub fn unreadable(&mut self, kind: Kind, error: &serde_json::Error) {
        if self.is_new((kind, error.to_string())) {
            error!("{kind}: what the API server sent is no object ({error}); ignored");
        }
    }

    fn is_new(&mut self, what: impl std::hash::Hash) -> bool {
        self.nameless.len() < NAMELESS && self.nameless.insert(self.hasher.hash_one(what))
    }

    /// The object is gone.
    pub fn forget(&mut self, name: &ObjectName) {
        self.said.remove(name);
    }

    /// All objects but these are gone.
    pub fn retain(&mut self, is_there: impl Fn(&ObjectName) -> bool) {
        self.said.retain(|name, _| is_there(name));
        self.nameless.clear();
    }
}
