//! Logs each problem with an object once.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
};

use portolan_rules::model::ObjectName;
use tracing::{error, warn};

use crate::api::{FieldError, Kind, ObjectId, Problem};

/// How many problems with objects without a valid name are remembered; further ones are not logged. No API server stores
/// such objects.
const MAX_NAMELESS: usize = 64;

/// The problems last logged, as a hash for each object.
#[derive(Debug, Default)]
pub(super) struct WarnOnce {
    logged: HashMap<ObjectName, u64>,
    nameless: HashSet<u64>,
    hasher: RandomState,
}

impl WarnOnce {
    /// Logs why an object is unusable, and which parts of it are ignored, unless these problems were the last logged
    /// for the object. An unusable object keeps its previous state, if it has one.
    pub fn object(
        &mut self,
        id: &ObjectId,
        has_previous: bool,
        error: Option<&FieldError>,
        warnings: &mut Vec<Problem>,
    ) {
        if error.is_none() && warnings.is_empty() {
            self.logged.remove(&id.name);
            return;
        }
        let hash = self.hasher.hash_one((error, &*warnings));
        let is_new = self.logged.insert(id.name.clone(), hash) != Some(hash);
        if let Some(error) = error.filter(|_| is_new) {
            if has_previous {
                error!(object = %id, %error, "Invalid object; its previous state stays in force");
            } else {
                error!(object = %id, %error, "Invalid object ignored");
            }
        }
        for warning in warnings.drain(..).filter(|_| is_new) {
            warn!(object = %warning.object, error = %warning.error, "Part of an object ignored");
        }
    }

    /// Logs an object without a valid name.
    pub fn nameless(&mut self, kind: Kind, name: &str, error: &FieldError) {
        if self.is_new((kind, name, error)) {
            error!(%kind, name, %error, "Object without a valid name ignored");
        }
    }

    /// Logs something that cannot be decoded as an object.
    pub fn undecodable(&mut self, kind: Kind, error: &str) {
        if self.is_new((kind, error)) {
            error!(%kind, %error, "Event of a watch ignored: it has no object");
        }
    }

    fn is_new(&mut self, problem: impl std::hash::Hash) -> bool {
        self.nameless.len() < MAX_NAMELESS && self.nameless.insert(self.hasher.hash_one(problem))
    }

    /// Forgets a deleted object.
    pub fn forget(&mut self, name: &ObjectName) {
        self.logged.remove(name);
    }

    /// Forgets all objects but these.
    pub fn retain(&mut self, exists: impl Fn(&ObjectName) -> bool) {
        self.logged.retain(|name, _| exists(name));
        self.nameless.clear();
    }
}
