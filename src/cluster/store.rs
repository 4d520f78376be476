//! What is known of the objects of one kind: the last usable state of each, reduced to the model.
//!
//! The agent's state holds the same `Arc`s, so knowing an object costs a name and a version here. It takes
//! that to tell events that are late or doubled from those that are new, to keep what an object said before it
//! became unusable, and to pass nothing on that changes nothing.
//!
//! **Late events.** Resource versions are whole numbers that grow with every write of a resource (documented since
//! Kubernetes 1.35, KEP-5504, and so since there is etcd). An event that is older than what is known of the *same*
//! object is dropped. A mark for the whole kind would cost less, but events of different objects that change places
//! would lose one. Objects that were deleted lately are remembered, so that a late event does not bring one
//! back. A version that is no number is never older. Lists are not compared: after the cluster was restored from a
//! backup, all versions are lower, and the list is right.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use portolan_rules::model::ObjectName;
use tracing::debug;

use super::{kind::Watched, notices::Notices};
use crate::{
    api::{Context, Field, Metadata, ObjectId},
    source::Change,
};

/// How many deleted objects are remembered.
const GRAVES: usize = 1024;

/// What is known of one object.
struct Entry<M> {
    /// `resourceVersion`; 0 if it is no number.
    version: u64,
    /// Nothing if the object is not ours, or was never usable.
    model: Option<Arc<M>>,
}

/// The objects that matter.
pub(super) struct Models<W: Watched>(HashMap<ObjectName, Entry<W::Model>>);

impl<W: Watched> Models<W> {
    /// Those that are ours.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectName, &Arc<W::Model>)> {
        self.0.iter().filter_map(|(name, entry)| Some((name, entry.model.as_ref()?)))
    }

    /// How many there are, ours or not.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<W: Watched> Default for Models<W> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

/// The objects of one kind.
pub(super) struct Store<W: Watched> {
    models: Models<W>,
    /// Lately deleted, the oldest first, with the version of the deletion.
    graves: VecDeque<(ObjectName, u64)>,
    notices: Notices,
    context: Context,
}

fn version(metadata: &Metadata) -> u64 {
    metadata.resource_version.get().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Whether an event of this version says nothing new about an object known in that one.
const fn is_late(version: u64, known: u64, is_deletion: bool) -> bool {
    // Servers exist that give a deletion the version of what is deleted.
    version != 0 && (version < known || version == known && !is_deletion)
}

impl<W: Watched> Store<W> {
    /// An empty store; of Services only those of the proxy of this name will count.
    pub fn new(proxy_name: Option<&str>) -> Self {
        let mut context = Context::default();
        context.own_proxy_name = proxy_name.map(Into::into);
        Self { models: Models::default(), graves: VecDeque::new(), notices: Notices::default(), context }
    }

    /// All that is known.
    pub fn models(&self) -> &Models<W> {
        &self.models
    }

    /// An object is new or different, or with `deleted` gone. What that changes.
    pub fn apply(&mut self, object: &W, deleted: bool) -> Option<Change> {
        let (mut id, version) = self.identify(object)?;
        if let Some((name, entry)) = self.models.0.get_key_value(&id.name) {
            if is_late(version, entry.version, deleted) {
                debug!(object = %id, version, known = entry.version, "Late event ignored");
                return None;
            }
            id.name = name.clone();
        } else if let Some((_, grave)) = self.graves.iter().rev().find(|(name, _)| *name == id.name)
            && is_late(version, *grave, false)
        {
            debug!(object = %id, version, known = grave, "Late event of a deleted object ignored");
            return None;
        }
        if deleted {
            return self.delete(id.name, version);
        }
        let entry = reduce(&self.models, object, &id, version, &mut self.notices, &mut self.context);
        let model = entry.model.clone();
        let before = self.models.0.insert(id.name.clone(), entry).and_then(|entry| entry.model);
        let is_same = match (&before, &model) {
            (None, None) => true,
            (Some(before), Some(model)) => Arc::ptr_eq(before, model),
            _ => false,
        };
        (!is_same).then(|| W::one(id.name, model, &self.models))
    }

    fn delete(&mut self, name: ObjectName, version: u64) -> Option<Change> {
        let known = self.models.0.remove(&name);
        self.notices.forget(&name);
        if self.graves.len() >= GRAVES {
            self.graves.pop_front();
        }
        self.graves.push_back((name.clone(), version));
        known?.model?;
        Some(W::one(name, None, &self.models))
    }

    fn identify(&mut self, object: &W) -> Option<(ObjectId, u64)> {
        let none = Metadata::default();
        let metadata = object.metadata();
        let id = metadata.get().unwrap_or(&none).identify(W::KIND, &mut self.context);
        match id {
            Ok(id) => Some((id, metadata.get().map_or(0, version))),
            Err(fault) => {
                let place = metadata.get().and_then(|metadata| metadata.name.get());
                self.notices.nameless(W::KIND, place.map_or("", |name| name), &fault);
                None
            }
        }
    }

    /// Takes up an object of a list that is being received. Nothing that is known changes.
    pub fn add(&mut self, list: &mut Listing<W>, object: &W) {
        let Some((mut id, version)) = self.identify(object) else { return };
        if list.0.0.get(&id.name).is_some_and(|entry| is_late(version, entry.version, false)) {
            return;
        }
        if let Some((name, _)) = self.models.0.get_key_value(&id.name) {
            id.name = name.clone();
        }
        let entry = reduce(&self.models, object, &id, version, &mut self.notices, &mut self.context);
        list.0.0.insert(id.name, entry);
    }

    /// Says that something in a list or a watch is no object.
    pub fn unreadable(&mut self, error: &serde_json::Error) {
        self.notices.unreadable(W::KIND, error);
    }

    /// Takes these for all objects there are.
    pub fn replace(&mut self, list: Listing<W>) -> Change {
        self.models = list.0;
        self.models.0.shrink_to_fit();
        self.graves = VecDeque::new();
        self.notices.retain(|name| self.models.0.contains_key(name));
        W::all(&self.models)
    }
}

/// The objects of a list that is being received.
pub(super) struct Listing<W: Watched>(Models<W>);

impl<W: Watched> Default for Listing<W> {
    fn default() -> Self {
        Self(Models::default())
    }
}

impl<W: Watched> Listing<W> {
    /// The object was deleted before the list was complete.
    pub fn remove(&mut self, object: &W) {
        let name = |field: &Field<Box<str>>| field.get().cloned().unwrap_or_default();
        if let Some(metadata) = object.metadata().get() {
            self.0.0.remove(&ObjectName::new(name(&metadata.namespace), name(&metadata.name)));
        }
    }
}

/// What becomes of an object. An equal model is the one that is known already, and not a copy; an unusable object
/// stays what it was.
fn reduce<W: Watched>(
    known: &Models<W>,
    object: &W,
    id: &ObjectId,
    version: u64,
    notices: &mut Notices,
    context: &mut Context,
) -> Entry<W::Model> {
    let known = known.0.get(&id.name).and_then(|entry| entry.model.as_ref());
    let reduced = object.reduce(id, context);
    notices.note(id, known.is_some(), reduced.as_ref().err(), &mut context.warnings);
    let model = match reduced {
        Ok(Some(model)) => match known {
            Some(known) if **known == model => Some(Arc::clone(known)),
            _ => Some(Arc::new(model)),
        },
        Ok(None) => None,
        Err(_) => known.cloned(),
    };
    Entry { version, model }
}
