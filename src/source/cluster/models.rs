//! The objects of one kind, reduced to the model.

use std::{collections::HashMap, sync::Arc};

use portolan_rules::model::ObjectName;

/// Objects by name, with their models; an object without one belongs to another proxy, or was never valid.
pub(super) struct Models<M>(pub HashMap<ObjectName, Option<Arc<M>>>);

impl<M> Models<M> {
    /// The objects that have a model.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectName, &Arc<M>)> {
        self.0.iter().filter_map(|(name, model)| Some((name, model.as_ref()?)))
    }

    /// The model of an object.
    pub fn get(&self, name: &ObjectName) -> Option<&Arc<M>> {
        self.0.get(name)?.as_ref()
    }
}

impl<M> Default for Models<M> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}
