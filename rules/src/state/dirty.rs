//! Which Services must be compiled again, and what of them changed.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use foldhash::HashMap;

use super::ServiceState;
use crate::model::{EndpointSlice, ObjectName};

/// The slices of a Service that changed, by name, each as it was when the Service was last compiled: `None` if it did
/// not exist.
pub type FormerSlices = BTreeMap<Arc<str>, Option<Arc<EndpointSlice>>>;

/// The Services to compile again.
#[derive(Clone, Debug, Default)]
pub struct Dirty {
    /// The names of those whose entries say so, each once.
    names: Vec<ObjectName>,
    /// Of those of which nothing but slices changed, these slices.
    former: HashMap<ObjectName, FormerSlices>,
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
        } else if !self.former.is_empty() {
            self.former.remove(name);
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
        if !entry.dirty && entry.service.is_some() {
            self.former.insert(name.clone(), BTreeMap::from([(slice.clone(), before)]));
        } else if let Some(former) = self.former.get_mut(name)
            && let btree_map::Entry::Vacant(vacant) = former.entry(slice.clone())
        {
            vacant.insert(before);
        }
        if !entry.dirty {
            entry.dirty = true;
            self.names.push(name.clone());
        }
    }

    /// Forgets them, but for the marks in their entries.
    pub fn take(&mut self) -> BTreeMap<ObjectName, Option<FormerSlices>> {
        let former = &mut self.former;
        let taken = self.names.drain(..).map(|name| {
            let slices = former.remove(&name);
            (name, slices)
        });
        taken.collect()
    }
}
