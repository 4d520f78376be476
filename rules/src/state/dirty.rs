//! Which Services must be compiled again, and what changed in each.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use foldhash::HashMap;

use super::entry::ServiceState;
use crate::model::{EndpointSlice, ObjectName};

/// The slices of a Service that changed, by name, each as it was when the Service was last compiled: `None` if the
/// slice did not exist.
pub type FormerSlices = BTreeMap<Arc<str>, Option<Arc<EndpointSlice>>>;

/// What changed in a Service since it was last compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The slices that changed, if the Service existed before.
    pub former: FormerSlices,
    /// Whether only these slices changed.
    pub only_slices: bool,
}

/// The Services to compile again.
#[derive(Clone, Debug, Default)]
pub struct Dirty {
    /// The names of the Services whose entries are marked dirty, without duplicates.
    names: Vec<ObjectName>,
    /// What changed in each Service that existed before and whose slices changed.
    changed: HashMap<ObjectName, Changed>,
}

impl Dirty {
    /// The names of the Services, in no particular order.
    pub fn names(&self) -> &[ObjectName] {
        &self.names
    }

    /// Notes that a Service changed in something other than its slices.
    pub fn touch(&mut self, name: &ObjectName, entry: &mut ServiceState) {
        if !entry.dirty {
            entry.dirty = true;
            self.names.push(name.clone());
        } else if let Some(changed) = self.changed.get_mut(name) {
            changed.only_slices = false;
        }
    }

    /// Notes that a slice of a Service changed, and what it was before.
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

    /// Takes all changes. The caller clears the marks in the entries.
    pub fn take(&mut self) -> BTreeMap<ObjectName, Changed> {
        let changed = &mut self.changed;
        let taken = self.names.drain(..).map(|name| {
            let changed = changed.remove(&name).unwrap_or_default();
            (name, changed)
        });
        taken.collect()
    }
}
