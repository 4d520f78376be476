//! What is remembered of a file: its objects, so that a later look finds what changed and what is gone.
//!
//! There may be hundreds of thousands. The objects are the very ones that the agent's state holds, and most of
//! them know their own names: they are kept in order rather than in a map, which costs a pointer an object.

use std::{cmp::Ordering, collections::HashMap, mem, sync::Arc};

use portolan_rules::model::{EndpointSlice, ObjectName};

use super::contents::{Object, ServiceEntry};
use crate::api::{Kind, ObjectId};

/// The objects of a file, in order of their kinds and names.
#[derive(Default)]
pub(super) struct Held(Box<[Entry]>);

enum Entry {
    Service(Arc<ServiceEntry>),
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

    fn key(&self) -> (Kind, &ObjectName) {
        match self {
            Self::Service(entry) => (Kind::Service, &entry.service.name),
            Self::Slice(slice) => (Kind::EndpointSlice, &slice.name),
            Self::Other(other) => (other.0.kind, &other.0.name),
        }
    }

    fn id(&self) -> ObjectId {
        let (kind, name) = self.key();
        ObjectId { kind, name: name.clone() }
    }

    fn object(&self) -> Object {
        match self {
            Self::Service(entry) => Object::Service(Some(Arc::clone(entry))),
            Self::Slice(slice) => Object::Slice(Some(Arc::clone(slice))),
            Self::Other(other) => other.1.clone(),
        }
    }

    /// Whether it is equal to another of the same name.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Service(a), Self::Service(b)) => a == b,
            (Self::Slice(a), Self::Slice(b)) => a == b,
            (Self::Other(a), Self::Other(b)) => a.1 == b.1,
            _ => false,
        }
    }
}

impl Held {
    /// Holds these objects.
    pub fn new(objects: HashMap<ObjectId, Object>) -> Self {
        let mut entries: Box<[Entry]> =
            objects.into_iter().map(|(id, object)| Entry::new(id, object)).collect();
        entries.sort_unstable_by(|a, b| a.key().cmp(&b.key()));
        Self(entries)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectId, Object)> {
        self.0.iter().map(|entry| (entry.id(), entry.object()))
    }

    /// The object of this name.
    pub fn get(&self, id: &ObjectId) -> Option<Object> {
        let found = self.0.binary_search_by(|entry| entry.key().cmp(&(id.kind, &id.name)));
        found.ok().and_then(|i| self.0.get(i)).map(Entry::object)
    }

    /// Takes these objects instead, and calls `changed` with the names of those that are new, different or gone.
    pub fn replace(&mut self, objects: HashMap<ObjectId, Object>, mut changed: impl FnMut(ObjectId)) {
        let former = mem::replace(self, Self::new(objects));
        let (mut before, mut after) = (former.0.iter().peekable(), self.0.iter().peekable());
        loop {
            let order = match (before.peek(), after.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(before), Some(after)) => before.key().cmp(&after.key()),
            };
            let old = before.next_if(|_| order.is_le());
            let new = after.next_if(|_| order.is_ge());
            match (old, new) {
                (Some(old), Some(new)) if old.is_same(new) => {}
                (old, new) => new.or(old).map(Entry::id).into_iter().for_each(&mut changed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_rules::model::Node;

    use super::*;

    fn id(kind: Kind, name: &str) -> ObjectId {
        ObjectId { kind, name: ObjectName::new("default", name) }
    }

    fn slice(name: &str, service: &str) -> (ObjectId, Object) {
        let id = id(Kind::EndpointSlice, name);
        let slice = EndpointSlice {
            name: id.name.clone(),
            service: service.into(),
            ports: Vec::new(),
            endpoints: Vec::new(),
        };
        (id, Object::Slice(Some(Arc::new(slice))))
    }

    #[test]
    fn what_is_new_different_or_gone_is_told_and_nothing_else() {
        let node = (id(Kind::Node, "n"), Object::Node(Arc::new(Node::default())));
        let foreign = (id(Kind::Service, "foreign"), Object::Service(None));
        let mut held = Held::default();
        let mut told = Vec::new();
        let first = [slice("a", "web"), slice("b", "web"), slice("c", "web"), node.clone(), foreign.clone()];
        held.replace(first.into(), |id| told.push(id.to_string()));
        assert_eq!(told.len(), 5);
        assert_eq!((held.len(), held.iter().count()), (5, 5));

        told.clear();
        let second = [slice("d", "web"), slice("b", "api"), slice("c", "web"), node.clone(), foreign];
        held.replace(second.into(), |id| told.push(id.to_string()));
        assert_eq!(told, ["EndpointSlice default/a", "EndpointSlice default/b", "EndpointSlice default/d"]);
        assert_eq!(held.get(&slice("b", "").0), Some(slice("b", "api").1));
        assert_eq!(held.get(&slice("a", "").0), None);
        assert_eq!(held.get(&node.0), Some(node.1));

        told.clear();
        held.replace(HashMap::new(), |id| told.push(id.to_string()));
        assert_eq!(told.len(), 5);
        assert!(held.is_empty());
    }
}
