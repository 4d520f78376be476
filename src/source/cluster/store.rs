//! The last valid state of the objects of one kind, reduced to the model.
//!
//! The agent's state shares the `Arc`s, so that an object costs only a name here. The store keeps the state of an object
//! that becomes invalid, and suppresses events that change nothing. It does not compare versions: a watch sends events in
//! order, and `machine.rs` leaves a watch that does not.

use std::sync::Arc;

use super::{kind::Watched, models::Models, warn_once::WarnOnce};
use crate::{
    api::{Context, Metadata, ObjectId},
    source::event::Change,
};

/// The objects of a list that is being received.
pub(super) type Listing<W> = Models<<W as Watched>::Model>;

/// The objects of one kind.
pub(super) struct Store<W: Watched> {
    models: Models<W::Model>,
    warn_once: WarnOnce,
    context: Context,
}

impl<W: Watched> Store<W> {
    /// An empty store. It takes only the Services of the proxy with this name.
    pub fn new(proxy_name: Option<&str>) -> Self {
        let mut context = Context::default();
        context.own_proxy_name = proxy_name.map(Into::into);
        Self { models: Models::default(), warn_once: WarnOnce::default(), context }
    }

    /// All objects.
    pub fn models(&self) -> &Models<W::Model> {
        &self.models
    }

    /// Applies an event: the object is new or different or, with `is_deletion`, gone. Returns the change, if any.
    pub fn apply(&mut self, object: &W, is_deletion: bool) -> Option<Change> {
        let id = self.identify(object)?;
        self.models.note(&id.name, version(object), is_deletion);
        if is_deletion {
            self.warn_once.forget(&id.name);
            self.models.objects.remove(&id.name)??;
            return Some(W::one(id.name, None, &self.models));
        }
        let model = self.reduce(object, &id);
        let before = self.models.objects.insert(id.name.clone(), model.clone()).flatten();
        let is_same = match (&before, &model) {
            (None, None) => true,
            (Some(before), Some(model)) => Arc::ptr_eq(before, model),
            _ => false,
        };
        (!is_same).then(|| W::one(id.name, model, &self.models))
    }

    /// The object's identity. A known name is shared.
    fn identify(&mut self, object: &W) -> Option<ObjectId> {
        let none = Metadata::default();
        let metadata = object.metadata().get().unwrap_or(&none);
        match metadata.identify(W::KIND, &mut self.context) {
            Ok(mut id) => {
                if let Some((name, _)) = self.models.objects.get_key_value(&id.name) {
                    id.name = name.clone();
                }
                Some(id)
            }
            Err(error) => {
                self.warn_once.nameless(W::KIND, metadata.name.get().map_or("", |name| name), &error);
                None
            }
        }
    }

    /// Adds an object to a list that is being received. The store does not change.
    pub fn add(&mut self, list: &mut Listing<W>, object: &W) {
        let Some(id) = self.identify(object) else { return };
        let model = self.reduce(object, &id);
        list.note(&id.name, version(object), false);
        list.objects.insert(id.name, model);
    }

    /// Logs an event without an object. The last change is then not known.
    pub fn undecodable(&mut self, error: &str) {
        self.models.latest = None;
        self.warn_once.undecodable(W::KIND, error);
    }

    /// Replaces all objects. Returns the change, and how many objects are gone.
    pub fn replace(&mut self, list: Listing<W>) -> (Change, usize) {
        let before = std::mem::replace(&mut self.models, list);
        let removed = before.objects.keys().filter(|name| !self.models.objects.contains_key(name)).count();
        self.models.objects.shrink_to_fit();
        self.warn_once.retain(|name| self.models.objects.contains_key(name));
        (W::all(&self.models), removed)
    }

    /// The model of an object: the known one if it is equal, or if the object is invalid.
    fn reduce(&mut self, object: &W, id: &ObjectId) -> Option<Arc<W::Model>> {
        let known = self.models.get(&id.name);
        let reduced = object.reduce(id, &mut self.context);
        self.warn_once.object(id, known.is_some(), reduced.as_ref().err(), &mut self.context.warnings);
        match reduced {
            Ok(Some(model)) => match known {
                Some(known) if **known == model => Some(Arc::clone(known)),
                _ => Some(Arc::new(model)),
            },
            Ok(None) => None,
            Err(_) => known.cloned(),
        }
    }
}

/// `resourceVersion` as a number.
pub(super) fn version<W: Watched>(object: &W) -> Option<u64> {
    object.metadata().get()?.resource_version.get()?.parse().ok()
}
