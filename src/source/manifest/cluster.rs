//! The objects of all files together, and how two states of them differ.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use ipnetwork::IpNetwork;
use portolan_rules::model::{EndpointSlice, Node, ObjectName, Service};

use super::{
    contents::{Object, ServiceEntry},
    derive::{self, PodIndex},
    objects::{Entry, FileObjects},
};
use crate::{
    api::{ObjectId, PodFacts},
    source::{eligibility::Eligibility, event::Change},
};

/// The objects in force, by kind, in order of their names.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    services: Vec<Arc<ServiceEntry>>,
    /// Slices of manifests, and those derived from Pods.
    slices: Vec<Arc<EndpointSlice>>,
    node: Option<Arc<Node>>,
    /// Whether load balancers may use this node; they may if there is no Node object.
    pub eligibility: Eligibility,
    service_cidrs: Vec<IpNetwork>,
}

/// An object that is in several files: the last two of them, as numbers in order of precedence.
#[derive(Debug)]
pub(super) struct Duplicate {
    pub id: ObjectId,
    pub unused: usize,
    pub used: usize,
}

impl Cluster {
    /// Merges the objects of files, in order of precedence, for the node of this name. Of an object in several files the
    /// last is used; also returns such objects, in order of their names. If asked to, derives endpoints from Pods.
    pub fn new<'a>(
        files: impl Iterator<Item = &'a FileObjects>,
        node_name: &str,
        derives: bool,
    ) -> (Self, Vec<Duplicate>) {
        let mut all: Vec<(usize, &Entry)> = Vec::new();
        for (file, objects) in files.enumerate() {
            all.extend(objects.iter().map(|entry| (file, entry)));
        }
        // Stable: of the same object, the files stay in order.
        all.sort_by(|(_, a), (_, b)| a.key().cmp(&b.key()));
        let mut duplicates = Vec::new();
        let mut cluster = Self::default();
        let mut pods: BTreeMap<&ObjectName, &PodFacts> = BTreeMap::new();
        let mut ranges: BTreeSet<IpNetwork> = BTreeSet::new();
        for same in all.chunk_by(|(_, a), (_, b)| a.key() == b.key()) {
            let Some(((used, entry), others)) = same.split_last() else { continue };
            if let Some((unused, _)) = others.last() {
                duplicates.push(Duplicate { id: entry.id(), unused: *unused, used: *used });
            }
            match entry {
                Entry::Service(service) => cluster.services.push(Arc::clone(service)),
                Entry::Slice(slice) => cluster.slices.push(Arc::clone(slice)),
                Entry::Other(other) => match &**other {
                    (id, Object::Pod(pod)) => _ = pods.insert(&id.name, pod),
                    (id, Object::Node(node, eligibility)) if *id.name.name == *node_name => {
                        cluster.node = Some(Arc::clone(node));
                        cluster.eligibility = *eligibility;
                    }
                    (_, Object::ServiceCidr(networks)) => ranges.extend(networks.iter()),
                    (_, Object::Service(_) | Object::Slice(_) | Object::Node(..)) => {}
                },
            }
        }
        cluster.service_cidrs = ranges.into_iter().collect();
        if derives {
            cluster.derive(&pods);
        }
        (cluster, duplicates)
    }

    /// Derives the endpoints of Services without slices from Pods.
    fn derive(&mut self, pods: &BTreeMap<&ObjectName, &PodFacts>) {
        if pods.is_empty() {
            return;
        }
        let given: HashSet<(&Arc<str>, &Arc<str>)> =
            self.slices.iter().map(|slice| (&slice.name.namespace, &slice.service)).collect();
        let mut derived = Vec::new();
        // Names sort by namespace first: one index serves all Services of a namespace.
        for services in self.services.chunk_by(|a, b| a.service.name.namespace == b.service.name.namespace) {
            let Some(first) = services.first() else { continue };
            let namespace = &first.service.name.namespace;
            let start = ObjectName { namespace: Arc::clone(namespace), name: "".into() };
            let of_namespace =
                pods.range::<ObjectName, _>(&start..).take_while(|(name, _)| name.namespace == *namespace);
            let index = PodIndex::new(of_namespace.map(|(_, pod)| *pod));
            for entry in services {
                let name = &entry.service.name;
                let Some(selection) = &entry.selection else { continue };
                if !given.contains(&(&name.namespace, &name.name)) {
                    derived.extend(derive::slices(entry, selection, &index).into_values());
                }
            }
        }
        self.slices.extend(derived);
        self.slices.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// The changes from this state to another.
    pub fn changes(&self, next: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        // A change of the selector alone changes endpoints only.
        let is_same = |a: &ServiceEntry, b: &ServiceEntry| a.service == b.service;
        differences(
            &self.services,
            &next.services,
            |entry| &entry.service.name,
            is_same,
            |name, entry| {
                changes.push(Change::Service(name.clone(), entry.map(|entry| Arc::clone(&entry.service))));
            },
        );
        differences(
            &self.slices,
            &next.slices,
            |slice| &slice.name,
            PartialEq::eq,
            |name, slice| {
                changes.push(Change::Slice(name.clone(), slice.cloned()));
            },
        );
        if self.node != next.node {
            changes.push(Change::Node(next.node.clone()));
        }
        if self.service_cidrs != next.service_cidrs {
            changes.push(Change::ServiceCidrs(next.service_cidrs.clone()));
        }
        changes
    }

    /// The Services, by name.
    pub fn services(&self) -> BTreeMap<ObjectName, Arc<Service>> {
        let all = self.services.iter().map(|entry| &entry.service);
        all.map(|service| (service.name.clone(), Arc::clone(service))).collect()
    }

    /// The slices, given and derived, by name.
    pub fn slices(&self) -> BTreeMap<ObjectName, Arc<EndpointSlice>> {
        self.slices.iter().map(|slice| (slice.name.clone(), Arc::clone(slice))).collect()
    }

    /// The Node object of this node.
    pub fn node(&self) -> Option<Arc<Node>> {
        self.node.clone()
    }

    /// The ranges of all `ServiceCIDR` objects, each once, in order.
    pub fn service_cidrs(&self) -> Vec<IpNetwork> {
        self.service_cidrs.clone()
    }
}

/// Finds the objects of two lists, each in order of its names, that are new, different or gone.
fn differences<T>(
    before: &[Arc<T>],
    after: &[Arc<T>],
    name: fn(&T) -> &ObjectName,
    is_same: fn(&T, &T) -> bool,
    mut differ: impl FnMut(&ObjectName, Option<&Arc<T>>),
) {
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(after)) => name(before).cmp(name(after)),
        };
        let old = before.next_if(|_| order.is_le());
        let new = after.next_if(|_| order.is_ge());
        match (old, new) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) || is_same(old, new) => {}
            (old, new) => new.or(old).into_iter().for_each(|object| differ(name(object), new)),
        }
    }
}
