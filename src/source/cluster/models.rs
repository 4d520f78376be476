//! The objects of one kind, reduced to the model.

use std::sync::Arc;

use foldhash::HashMap;
use portolan_rules::model::ObjectName;

/// Objects by name, with their models. An object without a model belongs to another proxy, or was never valid.
pub(super) struct Models<M> {
    /// The objects.
    pub objects: HashMap<ObjectName, Option<Arc<M>>>,
    /// The last change; `None` if it is not known.
    pub latest: Option<Latest>,
}

/// The last change among the objects of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Latest {
    /// The object.
    pub name: ObjectName,
    /// Its `resourceVersion`.
    pub version: u64,
    /// Whether the object was deleted.
    pub is_deletion: bool,
}

impl<M> Models<M> {
    /// The objects that have a model.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectName, &Arc<M>)> {
        self.objects.iter().filter_map(|(name, model)| Some((name, model.as_ref()?)))
    }

    /// The model of an object.
    pub fn get(&self, name: &ObjectName) -> Option<&Arc<M>> {
        self.objects.get(name)?.as_ref()
    }

    /// Notes a change, unless a later one is known.
    pub fn note(&mut self, name: &ObjectName, version: Option<u64>, is_deletion: bool) {
        let Some(version) = version else { return };
        if self.latest.as_ref().is_none_or(|latest| latest.version <= version) {
            self.latest = Some(Latest { name: name.clone(), version, is_deletion });
        }
    }
}

impl<M> Default for Models<M> {
    fn default() -> Self {
        Self { objects: HashMap::default(), latest: None }
    }
}
