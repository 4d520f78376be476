//! Which Services must be compiled again, and what of them changed.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use foldhash::HashMap;

use super::entry::ServiceState;
use crate::model::{EndpointSlice, ObjectName};

/// The slices of a Service that changed, by name, each as it was when the Service was last compiled: `None` if it did
/// not exist.
pub type FormerSlices = BTreeMap<Arc<str>, Option<Arc<EndpointSlice>>>;

/// What changed of a Service since it was last compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The slices that changed, if the Service was there before.
    pub former: FormerSlices,
    /// Whether nothing but these slices changed.
    pub only_slices: bool,
}

/// The Services to compile again.
#[derive(Clone, Debug, Default)]
pub struct Dirty {
    /// The names of the Services whose entries are marked, each once.
    names: Vec<ObjectName>,
    /// What changed of each Service that existed before and whose slices changed.
    changed: HashMap<ObjectName, Changed>,
}

impl Dirty {
    /// Their names, in no particular order.
    pub fn names(&self) -> &[ObjectName] {
        &self.names
    }

    /// Something about a Service changed.
    pub fn touch(&mut self, name: &ObjectName, entry: &mut ServiceState) {
        if !entry.dirty {
            entry.dirty = true;
            self.names.push(name.clone());
        } else if let Some(changed) = self.changed.get_mut(name) {
            changed.only_slices = false;
        }
    }

    /// This slice of a Service changed: what it was before.
    pub fn touch_slice(
        &mut self,
        name: &ObjectName,
        entry: &mut ServiceState,
        slice: &Arc<str>,
        before: Option<Arc<EndpointSlice>>,
    ) {
        if entry.is_known {
            let only_slices = !entry.dirty;
            let changed = self.changed.entry(name.clone());
            let changed = changed.or_insert_with(|| Changed { only_slices, ..Changed::default() });
            if let btree_map::Entry::Vacant(vacant) = changed.former.entry(slice.clone()) {
                vacant.insert(before);
            }
        }
        if !entry.dirty {
            entry.dirty = true;
            self.names.push(name.clone());
        }
    }

    /// Takes them all. The marks in their entries are left to the caller.
    pub fn take(&mut self) -> BTreeMap<ObjectName, Changed> {
        let changed = &mut self.changed;
        let taken = self.names.drain(..).map(|name| {
            let changed = changed.remove(&name).unwrap_or_default();
            (name, changed)
        });
        taken.collect()
    }
}
