//! The objects of a file, in order.
//!
//! There may be hundreds of thousands of objects. They are shared with the agent's state, and most of them include
//! their names: a sorted list costs one pointer per object, less than a map.

use std::sync::Arc;

use foldhash::HashMap;
use portolan_rules::model::{EndpointSlice, ObjectName};

use super::contents::{Object, ServiceEntry};
use crate::api::{Kind, ObjectId};

/// An object and its name.
#[derive(Debug)]
pub(super) enum Entry {
    /// A Service that this proxy serves.
    Service(Arc<ServiceEntry>),
    /// A slice that this proxy uses.
    Slice(Arc<EndpointSlice>),
    /// An object that does not include its name.
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

/// The objects of a file, in order of their kinds and names.
pub(super) fn sorted(objects: HashMap<ObjectId, Object>) -> Box<[Entry]> {
    let mut entries: Box<[Entry]> = objects.into_iter().map(|(id, object)| Entry::new(id, object)).collect();
    entries.sort_unstable_by(|a, b| a.key().cmp(&b.key()));
    entries
}
