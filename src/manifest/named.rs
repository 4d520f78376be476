//! Objects in order of their names, which they know themselves: a pointer each.

use std::{borrow::Borrow, cmp::Ordering, collections::BTreeSet, sync::Arc};

use portolan_rules::model::{EndpointSlice, ObjectName};

use super::contents::ServiceEntry;

/// What knows its own name.
pub(super) trait HasName {
    /// The name.
    fn name(&self) -> &ObjectName;
}

impl HasName for ServiceEntry {
    fn name(&self) -> &ObjectName {
        &self.service.name
    }
}

impl HasName for EndpointSlice {
    fn name(&self) -> &ObjectName {
        &self.name
    }
}

/// Objects by their names.
#[derive(Debug)]
pub(super) struct Named<T: HasName>(BTreeSet<ByName<T>>);

/// An object as its own key.
#[derive(Debug)]
struct ByName<T>(Arc<T>);

impl<T: HasName> Borrow<ObjectName> for ByName<T> {
    fn borrow(&self) -> &ObjectName {
        self.0.name()
    }
}

impl<T: HasName> PartialEq for ByName<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl<T: HasName> Eq for ByName<T> {}

impl<T: HasName> PartialOrd for ByName<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: HasName> Ord for ByName<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name().cmp(other.0.name())
    }
}

impl<T: HasName> Default for Named<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

/// Where the names of a namespace begin.
pub(super) fn first(namespace: &Arc<str>) -> ObjectName {
    ObjectName { namespace: Arc::clone(namespace), name: "".into() }
}

impl<T: HasName + PartialEq> Named<T> {
    /// The object of this name.
    pub fn get(&self, name: &ObjectName) -> Option<&Arc<T>> {
        self.0.get(name).map(|entry| &entry.0)
    }

    /// Puts in an object of this name, or takes it out; says whether that changed anything.
    pub fn put(&mut self, name: &ObjectName, object: Option<Arc<T>>) -> bool {
        if self.get(name) == object.as_ref() {
            return false;
        }
        match object {
            Some(object) => _ = self.0.replace(ByName(object)),
            None => _ = self.0.remove(name),
        }
        true
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.iter().map(|entry| &entry.0)
    }

    /// Those of one namespace.
    pub fn of_namespace(&self, namespace: &Arc<str>) -> impl Iterator<Item = &Arc<T>> {
        let namespace = Arc::clone(namespace);
        let all = self.0.range(first(&namespace)..).map(|entry| &entry.0);
        all.take_while(move |object| object.name().namespace == namespace)
    }
}
