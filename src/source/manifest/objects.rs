//! The objects of a file, in order.
//!
//! There may be hundreds of thousands. The objects are the very ones that the agent's state holds, and most of
//! them know their own names: they are kept in order rather than in a map, which costs a pointer an object.

use std::{collections::HashMap, sync::Arc};

use portolan_rules::model::{EndpointSlice, ObjectName};

use super::contents::{Object, ServiceEntry};
use crate::api::{Kind, ObjectId};

/// The objects of a file, in order of their kinds and names.
#[derive(Debug, Default)]
pub(super) struct FileObjects(Box<[Entry]>);

/// An object and its name.
#[derive(Debug)]
pub(super) enum Entry {
    /// A Service that a proxy serves.
    Service(Arc<ServiceEntry>),
    /// A slice that a proxy uses.
    Slice(Arc<EndpointSlice>),
    /// What does not know its name.
    Other(Box<(ObjectId, Object)>),
}

impl Entry {
    fn new(id: ObjectId, object: Object) -> Self {
        match object {
            Object::Service(Some(entry)) if entry.service.name == id.name => Self::Service(entry),
            Object::Slice(Some(slice)) if slice.name == id.name => Self::Slice(slice),
            object => Self::Other(Box::new((id, object))),
        }
    }

    /// Kind and name, which no two objects share.
    pub fn key(&self) -> (Kind, &ObjectName) {
        match self {
            Self::Service(entry) => (Kind::Service, &entry.service.name),
            Self::Slice(slice) => (Kind::EndpointSlice, &slice.name),
            Self::Other(other) => (other.0.kind, &other.0.name),
        }
    }

    /// Kind and name.
    pub fn id(&self) -> ObjectId {
        let (kind, name) = self.key();
        ObjectId { kind, name: name.clone() }
    }
}

impl FileObjects {
    /// Holds these objects.
    pub fn new(objects: HashMap<ObjectId, Object>) -> Self {
        let mut entries: Box<[Entry]> =
            objects.into_iter().map(|(id, object)| Entry::new(id, object)).collect();
        entries.sort_unstable_by(|a, b| a.key().cmp(&b.key()));
        Self(entries)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }
}
