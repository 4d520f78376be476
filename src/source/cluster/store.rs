//! What is known of the objects of one kind: the last usable state of each, reduced to the model.
//!
//! The agent's state holds the same `Arc`s, so knowing an object costs a name here. It takes that to keep what an object
//! said before it became unusable, and to pass nothing on that changes nothing. Versions are not compared: events of
//! a watch come in their order, and what comes out of it is not taken up (`machine.rs`).

use std::{collections::HashMap, sync::Arc};

use portolan_rules::model::ObjectName;

use super::{kind::Watched, notices::Notices};
use crate::{
    api::{Context, Field, Metadata, ObjectId},
    source::Change,
};

/// The objects that matter: nothing if one is not ours, or was never usable.
pub(super) struct Models<W: Watched>(HashMap<ObjectName, Option<Arc<W::Model>>>);

impl<W: Watched> Models<W> {
    /// Those that are ours.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectName, &Arc<W::Model>)> {
        self.0.iter().filter_map(|(name, model)| Some((name, model.as_ref()?)))
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
    notices: Notices,
    context: Context,
}

impl<W: Watched> Store<W> {
    /// An empty store; of Services only those of the proxy of this name will count.
    pub fn new(proxy_name: Option<&str>) -> Self {
        let mut context = Context::default();
        context.own_proxy_name = proxy_name.map(Into::into);
        Self { models: Models::default(), notices: Notices::default(), context }
    }

    /// All that is known.
    pub fn models(&self) -> &Models<W> {
        &self.models
    }

    /// An object is new or different, or with `is_deletion` gone. What that changes.
    pub fn apply(&mut self, object: &W, is_deletion: bool) -> Option<Change> {
        let id = self.identify(object)?;
        if is_deletion {
            self.notices.forget(&id.name);
            self.models.0.remove(&id.name)??;
            return Some(W::one(id.name, None, &self.models));
        }
        let model = reduce(&self.models, object, &id, &mut self.notices, &mut self.context);
        let before = self.models.0.insert(id.name.clone(), model.clone()).flatten();
        let is_same = match (&before, &model) {
            (None, None) => true,
            (Some(before), Some(model)) => Arc::ptr_eq(before, model),
            _ => false,
        };
        (!is_same).then(|| W::one(id.name, model, &self.models))
    }

    /// The object's identity, its name as it is known already.
    fn identify(&mut self, object: &W) -> Option<ObjectId> {
        let none = Metadata::default();
        let metadata = object.metadata().get().unwrap_or(&none);
        match metadata.identify(W::KIND, &mut self.context) {
            Ok(mut id) => {
                if let Some((name, _)) = self.models.0.get_key_value(&id.name) {
                    id.name = name.clone();
                }
                Some(id)
            }
            Err(fault) => {
                self.notices.nameless(W::KIND, metadata.name.get().map_or("", |name| name), &fault);
                None
            }
        }
    }

    /// Takes up an object of a list that is being received. Nothing that is known changes.
    pub fn add(&mut self, list: &mut Listing<W>, object: &W) {
        let Some(id) = self.identify(object) else { return };
        let model = reduce(&self.models, object, &id, &mut self.notices, &mut self.context);
        list.0.0.insert(id.name, model);
    }

    /// Reports something in a watch that is not an object.
    pub fn unreadable(&mut self, error: &serde_json::Error) {
        self.notices.unreadable(W::KIND, error);
    }

    /// Takes these for all objects there are. What that changes, and how many objects are gone.
    pub fn replace(&mut self, list: Listing<W>) -> (Change, usize) {
        let before = std::mem::replace(&mut self.models, list.0);
        let removed = before.0.keys().filter(|name| !self.models.0.contains_key(name)).count();
        self.models.0.shrink_to_fit();
        self.notices.retain(|name| self.models.0.contains_key(name));
        (W::all(&self.models), removed)
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
    /// Whether there is no object in it.
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

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
    notices: &mut Notices,
    context: &mut Context,
) -> Option<Arc<W::Model>> {
    let known = known.0.get(&id.name).and_then(Option::as_ref);
    let reduced = object.reduce(id, context);
    notices.note(id, known.is_some(), reduced.as_ref().err(), &mut context.warnings);
    match reduced {
        Ok(Some(model)) => match known {
            Some(known) if **known == model => Some(Arc::clone(known)),
            _ => Some(Arc::new(model)),
        },
        Ok(None) => None,
        Err(_) => known.cloned(),
    }
}
