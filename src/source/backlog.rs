//! Pending changes: one entry per object, however often the object changed.

use std::{collections::BTreeMap, sync::Arc};

use foldhash::HashMap;
use ipnetwork::IpNetwork;
use jiff::Timestamp;
use portolan_rules::model::{EndpointSlice, Node, ObjectName, Service};

use super::event::{Change, Completeness, Update};

/// How many change times are kept for a metric. The oldest ones are kept.
pub const MOST_TRIGGERS: usize = 4096;

/// Pending changes. If an object changed twice, only its later state is kept, and a list supersedes everything before
/// it. So a backlog is bounded by the objects of the last list and the names of objects deleted since. Applying a
/// backlog leads to the same state as applying all changes one by one.
#[derive(Clone, Debug, Default)]
pub struct Backlog {
    services: Objects<Service>,
    slices: Objects<EndpointSlice>,
    /// The last [`Change::Node`].
    node: Option<Change>,
    service_cidrs: Option<Vec<IpNetwork>>,
    triggers: Vec<Timestamp>,
    /// How complete the manifests are, if that changed.
    completeness: Option<Completeness>,
}

/// The objects of one kind.
#[derive(Clone, Debug)]
enum Objects<T> {
    /// Objects that are new or different, or gone (`None`); sorted by name, for the log.
    Changed(BTreeMap<ObjectName, Option<Arc<T>>>),
    /// All objects.
    All(HashMap<ObjectName, Arc<T>>),
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self::Changed(BTreeMap::new())
    }
}

impl<T> Objects<T> {
    fn set(&mut self, name: ObjectName, object: Option<Arc<T>>) {
        match (self, object) {
            (Self::Changed(changed), object) => _ = changed.insert(name, object),
            (Self::All(all), Some(object)) => _ = all.insert(name, object),
            (Self::All(all), None) => _ = all.remove(&name),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Changed(changed) => changed.len(),
            Self::All(all) => all.len(),
        }
    }

    const fn is_list(&self) -> bool {
        matches!(self, Self::All(_))
    }

    /// Adds the objects to `changes`: `list` makes a change of all objects, `one` a change of a single object.
    fn into_changes(
        self,
        list: fn(Vec<(ObjectName, Arc<T>)>) -> Change,
        one: fn(ObjectName, Option<Arc<T>>) -> Change,
        changes: &mut Vec<Change>,
    ) {
        match self {
            Self::Changed(objects) => {
                changes.extend(objects.into_iter().map(|(name, object)| one(name, object)));
            }
            Self::All(objects) => changes.push(list(objects.into_iter().collect())),
        }
    }
}

impl Backlog {
    /// Adds a later change.
    pub fn push(&mut self, change: Change) {
        match change {
            Change::Service(name, service) => self.services.set(name, service),
            Change::Slice(name, slice) => self.slices.set(name, slice),
            Change::Services(all) => self.services = Objects::All(all.into_iter().collect()),
            Change::Slices(all) => self.slices = Objects::All(all.into_iter().collect()),
            node @ Change::Node(_) => self.node = Some(node),
            Change::ServiceCidrs(networks) => self.service_cidrs = Some(networks),
        }
    }

    /// Adds the time when a change began.
    pub fn push_trigger(&mut self, trigger: Timestamp) {
        if self.triggers.len() < MOST_TRIGGERS {
            self.triggers.push(trigger);
        }
    }

    /// Adds a later update.
    pub fn append(&mut self, update: Update) {
        for change in update.changes {
            self.push(change);
        }
        for trigger in update.triggers {
            self.push_trigger(trigger);
        }
        self.completeness = update.completeness.or(self.completeness);
    }

    /// Number of entries: objects, names of deleted objects, the Node, the ServiceCIDR ranges.
    pub fn len(&self) -> usize {
        self.services.len()
            + self.slices.len()
            + usize::from(self.node.is_some())
            + usize::from(self.service_cidrs.is_some())
    }

    /// Whether there are no changes; a list without objects is a change.
    pub fn is_empty(&self) -> bool {
        let has_list = self.services.is_list() || self.slices.is_list();
        self.len() == 0 && !has_list && self.completeness.is_none()
    }

    /// The pending state of this node's object.
    pub fn node(&self) -> Option<&Node> {
        match &self.node {
            Some(Change::Node(node)) => node.as_deref(),
            _ => None,
        }
    }

    /// Removes and returns all changes.
    pub fn take(&mut self) -> Update {
        let Self { services, slices, node, service_cidrs, triggers, completeness } = std::mem::take(self);
        let mut changes = Vec::new();
        services.into_changes(Change::Services, Change::Service, &mut changes);
        slices.into_changes(Change::Slices, Change::Slice, &mut changes);
        changes.extend(node);
        changes.extend(service_cidrs.map(Change::ServiceCidrs));
        Update { changes, triggers, completeness }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*, sample::select};

    use super::*;

    fn name(number: u8) -> ObjectName {
        ObjectName::new("default", format!("o{number}"))
    }

    fn service(number: u8, version: i64) -> Arc<Service> {
        let service = Service::cluster_ip(name(number), Vec::new(), Vec::new());
        Arc::new(Service { created: Some(version), ..service })
    }

    fn slice(number: u8, service: &str) -> Arc<EndpointSlice> {
        let (ports, endpoints) = (Vec::new(), Vec::new());
        Arc::new(EndpointSlice { name: name(number), service: service.into(), ports, endpoints })
    }

    /// The state that a sequence of changes leads to, applied one by one.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct State {
        services: BTreeMap<ObjectName, Arc<Service>>,
        slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
        node: Option<Arc<Node>>,
        service_cidrs: Vec<IpNetwork>,
        are_listed: (bool, bool),
    }

    impl State {
        fn apply(mut self, changes: impl IntoIterator<Item = Change>) -> Self {
            for change in changes {
                match change {
                    Change::Service(name, Some(service)) => _ = self.services.insert(name, service),
                    Change::Service(name, None) => _ = self.services.remove(&name),
                    Change::Slice(name, Some(slice)) => _ = self.slices.insert(name, slice),
                    Change::Slice(name, None) => _ = self.slices.remove(&name),
                    Change::Services(all) => {
                        self.services = all.into_iter().collect();
                        self.are_listed.0 = true;
                    }
                    Change::Slices(all) => {
                        self.slices = all.into_iter().collect();
                        self.are_listed.1 = true;
                    }
                    Change::Node(node) => self.node = node,
                    Change::ServiceCidrs(networks) => self.service_cidrs = networks,
                }
            }
            self
        }
    }

    fn a_change() -> impl Strategy<Value = Change> {
        let number = 0..6_u8;
        let list = proptest::collection::btree_map(number.clone(), 0..3_i64, 0..6);
        let cidrs = select(vec![Vec::new(), vec!["10.96.0.0/16".parse().unwrap()]]);
        prop_oneof![
            8 => (number.clone(), option::of(0..3_i64)).prop_map(|(number, version)| {
                Change::Service(name(number), version.map(|version| service(number, version)))
            }),
            8 => (number, option::of(select(vec!["a", "b"]))).prop_map(|(number, owner)| {
                Change::Slice(name(number), owner.map(|owner| slice(number, owner)))
            }),
            1 => list.clone().prop_map(|list| {
                let objects = list.into_iter().map(|(number, version)| (name(number), service(number, version)));
                Change::Services(objects.collect())
            }),
            1 => list.prop_map(|list| {
                Change::Slices(list.into_keys().map(|number| (name(number), slice(number, "c"))).collect())
            }),
            1 => option::of(select(vec!["a", "b"])).prop_map(|zone| {
                Change::Node(zone.map(|zone| Arc::new(Node { name: zone.into(), ..Node::default() })))
            }),
            1 => cidrs.prop_map(Change::ServiceCidrs),
        ]
    }

    proptest! {
        #[test]
        fn a_backlog_leads_where_all_changes_do(
            before in vec(a_change(), 0..20),
            changes in vec(a_change(), 0..60),
            takes in vec(0..60_usize, 0..4),
        ) {
            let start = State::default().apply(before);
            let (mut backlog, mut state) = (Backlog::default(), start.clone());
            for (at, change) in changes.iter().enumerate() {
                backlog.push(change.clone());
                prop_assert!(!backlog.is_empty());
                // Six Services, six slices, the Node, the ranges.
                prop_assert!(backlog.len() <= 14);
                if takes.contains(&at) {
                    state = state.apply(backlog.take().changes);
                    prop_assert!(backlog.is_empty());
                }
            }
            prop_assert_eq!(state.apply(backlog.take().changes), start.apply(changes));
        }
    }

    #[test]
    fn an_empty_list_is_a_change() {
        let mut backlog = Backlog::default();
        assert!(backlog.is_empty());
        backlog.push(Change::Service(name(1), None));
        backlog.push(Change::Services(Vec::new()));
        assert!(!backlog.is_empty());
        assert_eq!(backlog.take().changes, [Change::Services(Vec::new())]);
        assert!(backlog.is_empty());
    }

    #[test]
    fn times_of_changes_are_bounded_and_the_oldest_stay() {
        let mut backlog = Backlog::default();
        for second in 0..10_000 {
            let triggers = vec![Timestamp::from_second(second).unwrap()];
            backlog.append(Update {
                changes: vec![Change::Slice(name(1), Some(slice(1, "a")))],
                triggers,
                ..Update::default()
            });
        }
        let update = backlog.take();
        assert_eq!(update.changes.len(), 1);
        assert_eq!(update.triggers.len(), MOST_TRIGGERS);
        assert_eq!(update.triggers[0], Timestamp::from_second(0).unwrap());
    }
}
