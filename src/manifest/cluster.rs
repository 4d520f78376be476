//! The objects of all files together, and what changes when files do.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use ipnetwork::IpNetwork;
use portolan_rules::model::{EndpointSlice, Node, ObjectName, Service};

use super::{
    contents::{Object, ServiceEntry},
    derive::{self, PodIndex},
    named::{Named, first},
};
use crate::{
    api::{Kind, ObjectId, PodFacts},
    source::Change,
};

/// The objects in force.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    node_name: Arc<str>,
    services: Named<ServiceEntry>,
    slices: Named<EndpointSlice>,
    pods: BTreeMap<ObjectName, Arc<PodFacts>>,
    node: Option<Arc<Node>>,
    service_cidrs: BTreeMap<ObjectName, Arc<Vec<IpNetwork>>>,
    /// How many slices of the input belong to a Service.
    slice_counts: HashMap<ObjectName, usize>,
    /// Slices derived from Pods, by Service.
    derived: BTreeMap<ObjectName, BTreeMap<ObjectName, Arc<EndpointSlice>>>,
}

/// What has to be derived anew.
#[derive(Debug, Default)]
struct Stale {
    services: BTreeSet<ObjectName>,
    /// Namespaces in which Pods changed.
    namespaces: BTreeSet<Arc<str>>,
}

/// Puts a value into a map, or takes it out; says whether that changed anything.
fn put<T: PartialEq>(map: &mut BTreeMap<ObjectName, T>, name: &ObjectName, value: Option<T>) -> bool {
    if map.get(name) == value.as_ref() {
        return false;
    }
    match value {
        Some(value) => _ = map.insert(name.clone(), value),
        None => _ = map.remove(name),
    }
    true
}

impl Cluster {
    /// Nothing yet; of Node objects only the one of this name will count.
    pub fn new(node_name: &str) -> Self {
        Self { node_name: node_name.into(), ..Self::default() }
    }

    /// Takes the objects that are now in force under these names, and gives the differences.
    pub fn apply(&mut self, objects: impl Iterator<Item = (ObjectId, Option<Object>)>) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut stale = Stale::default();
        let ranges_before = self.service_cidrs();
        for (id, object) in objects {
            match id.kind {
                Kind::Service => self.put_service(id.name, object, &mut stale, &mut changes),
                Kind::EndpointSlice => self.put_slice(id.name, object, &mut stale, &mut changes),
                Kind::Pod => {
                    let pod = if let Some(Object::Pod(pod)) = object { Some(pod) } else { None };
                    if put(&mut self.pods, &id.name, pod) {
                        stale.namespaces.insert(id.name.namespace);
                    }
                }
                Kind::Node if id.name.name == self.node_name => {
                    let node = if let Some(Object::Node(node)) = object { Some(node) } else { None };
                    if self.node != node {
                        self.node.clone_from(&node);
                        changes.push(Change::Node(node));
                    }
                }
                Kind::Node => {}
                Kind::ServiceCidr => {
                    let ranges =
                        if let Some(Object::ServiceCidr(ranges)) = object { Some(ranges) } else { None };
                    put(&mut self.service_cidrs, &id.name, ranges);
                }
            }
        }
        self.derive(stale, &mut changes);
        let ranges = self.service_cidrs();
        if ranges != ranges_before {
            changes.push(Change::ServiceCidrs(ranges));
        }
        changes
    }

    fn put_service(
        &mut self,
        name: ObjectName,
        object: Option<Object>,
        stale: &mut Stale,
        changes: &mut Vec<Change>,
    ) {
        let entry = if let Some(Object::Service(entry)) = object { entry } else { None };
        let before = self.services.get(&name).map(|entry| Arc::clone(&entry.service));
        let service = entry.as_ref().map(|entry| Arc::clone(&entry.service));
        if !self.services.put(&name, entry) {
            return;
        }
        stale.services.insert(name.clone());
        // A change of the selector alone changes endpoints only.
        if before != service {
            changes.push(Change::Service(name, service));
        }
    }

    fn put_slice(
        &mut self,
        name: ObjectName,
        object: Option<Object>,
        stale: &mut Stale,
        changes: &mut Vec<Change>,
    ) {
        let slice = if let Some(Object::Slice(slice)) = object { slice } else { None };
        let before = self.slices.get(&name).cloned();
        if !self.slices.put(&name, slice.clone()) {
            return;
        }
        let owner = |slice: &EndpointSlice| ObjectName {
            namespace: Arc::clone(&slice.name.namespace),
            name: Arc::clone(&slice.service),
        };
        if let Some(slice) = &slice {
            let count = self.slice_counts.entry(owner(slice)).or_default();
            *count += 1;
            if *count == 1 {
                stale.services.insert(owner(slice));
            }
        }
        if let Some(before) = &before
            && let Some(count) = self.slice_counts.get_mut(&owner(before))
        {
            *count -= 1;
            if *count == 0 {
                self.slice_counts.remove(&owner(before));
                stale.services.insert(owner(before));
            }
        }
        changes.push(Change::Slice(name, slice));
    }

    /// Derives the endpoints of Services without slices from Pods, where something changed.
    fn derive(&mut self, mut stale: Stale, changes: &mut Vec<Change>) {
        for namespace in &stale.namespaces {
            let services = self.services.of_namespace(namespace);
            let selecting = services.filter(|entry| entry.selection.is_some());
            stale.services.extend(selecting.map(|entry| entry.service.name.clone()));
        }
        // Names sort by namespace first: one index serves all Services of a namespace.
        let mut indexed: Option<(Arc<str>, PodIndex<'_>)> = None;
        for name in &stale.services {
            let mut slices = BTreeMap::new();
            if let Some(entry) = self.services.get(name)
                && let Some(selection) = &entry.selection
                && !self.slice_counts.contains_key(name)
            {
                let index = match indexed.take() {
                    Some((namespace, index)) if namespace == name.namespace => index,
                    _ => PodIndex::new(pods_of(&self.pods, &name.namespace)),
                };
                slices = derive::slices(entry, selection, &index);
                indexed = Some((Arc::clone(&name.namespace), index));
            }
            let before = self.derived.remove(name).unwrap_or_default();
            let gone = before.keys().filter(|name| !slices.contains_key(*name));
            changes.extend(gone.map(|name| Change::Slice(name.clone(), None)));
            let new = slices.iter().filter(|(name, slice)| before.get(*name) != Some(*slice));
            changes.extend(new.map(|(name, slice)| Change::Slice(name.clone(), Some(Arc::clone(slice)))));
            if !slices.is_empty() {
                self.derived.insert(name.clone(), slices);
            }
        }
    }

    /// The Services, by name.
    pub fn services(&self) -> BTreeMap<ObjectName, Arc<Service>> {
        let all = self.services.iter().map(|entry| &entry.service);
        all.map(|service| (service.name.clone(), Arc::clone(service))).collect()
    }

    /// The slices, given and derived, by name.
    pub fn slices(&self) -> BTreeMap<ObjectName, Arc<EndpointSlice>> {
        let given = self.slices.iter();
        let all = given.chain(self.derived.values().flat_map(BTreeMap::values));
        all.map(|slice| (slice.name.clone(), Arc::clone(slice))).collect()
    }

    /// The Node object of this node.
    pub fn node(&self) -> Option<Arc<Node>> {
        self.node.clone()
    }

    /// The ranges of all `ServiceCIDR` objects, each once, in order.
    pub fn service_cidrs(&self) -> Vec<IpNetwork> {
        let ranges: BTreeSet<IpNetwork> =
            self.service_cidrs.values().flat_map(|r| r.iter().copied()).collect();
        ranges.into_iter().collect()
    }
}

/// The Pods of one namespace.
fn pods_of<'a>(
    pods: &'a BTreeMap<ObjectName, Arc<PodFacts>>,
    namespace: &Arc<str>,
) -> impl Iterator<Item = &'a PodFacts> + use<'a> {
    let namespace = Arc::clone(namespace);
    let of_namespace = pods.range(first(&namespace)..);
    of_namespace.take_while(move |(name, _)| name.namespace == namespace).map(|(_, pod)| &**pod)
}
