//! What the cluster says now, and which Services are affected by what changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::model::{EndpointSlice, Node, ObjectName, Service};

/// A Service with the slices that carry its endpoints; either may be missing.
#[derive(Clone, Debug, Default)]
pub struct ServiceState {
    /// The Service, if it exists and is one that the proxy handles.
    pub service: Option<Arc<Service>>,
    /// Its slices, by name.
    pub slices: BTreeMap<Arc<str>, Arc<EndpointSlice>>,
}

/// All Services, slices and the node, with the names of the Services that must be compiled again.
#[derive(Clone, Debug, Default)]
pub struct State {
    services: HashMap<ObjectName, ServiceState>,
    /// Slice name → the Service it belonged to last, to notice when the label moves.
    slice_owner: HashMap<ObjectName, Arc<str>>,
    node: Node,
    dirty: BTreeSet<ObjectName>,
}

impl State {
    /// An empty state of this node.
    pub fn new(node: Node) -> Self {
        Self { node, ..Self::default() }
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// One Service with its slices.
    pub fn get(&self, name: &ObjectName) -> Option<&ServiceState> {
        self.services.get(name)
    }

    /// The Services that the proxy handles, in no particular order.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values().filter_map(|entry| entry.service.as_deref())
    }

    /// Number of Services that the proxy handles.
    pub fn service_count(&self) -> usize {
        self.services().count()
    }

    /// Sets or, with `None`, removes a Service.
    pub fn set_service(&mut self, name: &ObjectName, service: Option<Arc<Service>>) {
        if service.is_none() && !self.services.contains_key(name) {
            return;
        }
        let entry = self.services.entry(name.clone()).or_default();
        if entry.service == service {
            return;
        }
        entry.service = service;
        self.touched(name);
    }

    /// Sets or, with `None`, removes an `EndpointSlice`.
    pub fn set_slice(&mut self, name: &ObjectName, slice: Option<Arc<EndpointSlice>>) {
        let new_owner = slice.as_ref().map(|s| s.service.clone());
        let old_owner = match &new_owner {
            Some(owner) => self.slice_owner.insert(name.clone(), owner.clone()),
            None => self.slice_owner.remove(name),
        };
        if let Some(old) = old_owner.filter(|old| Some(old) != new_owner.as_ref()) {
            let service = ObjectName { namespace: name.namespace.clone(), name: old };
            if let Some(entry) = self.services.get_mut(&service) {
                entry.slices.remove(&name.name);
                self.touched(&service);
            }
        }
        let (Some(slice), Some(owner)) = (slice, new_owner) else { return };
        let service = ObjectName { namespace: name.namespace.clone(), name: owner };
        let entry = self.services.entry(service.clone()).or_default();
        if entry.slices.get(&name.name) != Some(&slice) {
            entry.slices.insert(name.name.clone(), slice);
            self.touched(&service);
        }
    }

    /// Replaces what is known of the node. What its name or zone decides (which endpoints are local,
    /// which hints apply) is compiled again for every Service.
    pub fn set_node(&mut self, node: Node) {
        if node.name != self.node.name || node.zone != self.node.zone {
            self.dirty.extend(self.services.keys().cloned());
        }
        self.node = node;
    }

    /// Has the Services that something outside of the state affects compiled again.
    pub fn touch(&mut self, affected: impl Fn(&Service) -> bool) {
        let affected = self.services.iter().filter(|(_, s)| s.service.as_deref().is_some_and(&affected));
        self.dirty.extend(affected.map(|(name, _)| name.clone()));
    }

    /// The Services to compile again since the last call, in order of their names.
    pub fn take_dirty(&mut self) -> BTreeSet<ObjectName> {
        let dirty = std::mem::take(&mut self.dirty);
        for name in &dirty {
            if self.services.get(name).is_some_and(|s| s.service.is_none() && s.slices.is_empty()) {
                self.services.remove(name);
            }
        }
        dirty
    }

    fn touched(&mut self, name: &ObjectName) {
        if !self.dirty.contains(name) {
            self.dirty.insert(name.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(name: &ObjectName, service: &str) -> Arc<EndpointSlice> {
        Arc::new(EndpointSlice {
            name: name.clone(),
            service: service.into(),
            ports: Vec::new(),
            endpoints: Vec::new(),
        })
    }

    #[test]
    fn a_slice_that_moves_to_another_service_affects_both() {
        let mut state = State::default();
        let name = ObjectName::new("default", "web-1");
        state.set_slice(&name, Some(slice(&name, "web")));
        assert_eq!(state.take_dirty(), BTreeSet::from([ObjectName::new("default", "web")]));
        state.set_slice(&name, Some(slice(&name, "api")));
        assert_eq!(
            state.take_dirty(),
            BTreeSet::from([ObjectName::new("default", "api"), ObjectName::new("default", "web")])
        );
        assert!(state.get(&ObjectName::new("default", "web")).is_none(), "nothing is kept of what is gone");
    }

    #[test]
    fn an_equal_object_affects_nothing() {
        let mut state = State::default();
        let name = ObjectName::new("default", "web-1");
        state.set_slice(&name, Some(slice(&name, "web")));
        state.take_dirty();
        state.set_slice(&name, Some(slice(&name, "web")));
        assert_eq!(state.take_dirty(), BTreeSet::new());
    }

    #[test]
    fn a_new_zone_affects_every_service_and_a_new_address_none() {
        let mut state = State::default();
        let name = ObjectName::new("default", "web-1");
        state.set_slice(&name, Some(slice(&name, "web")));
        state.take_dirty();
        state.set_node(Node { addresses: vec![[192, 0, 2, 1].into()], ..Node::default() });
        assert_eq!(state.take_dirty().len(), 0);
        state.set_node(Node { zone: Some("b".into()), ..Node::default() });
        assert_eq!(state.take_dirty().len(), 1);
    }
}
