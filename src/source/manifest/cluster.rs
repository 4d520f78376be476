//! The objects of all files together, and how two states of them differ.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use ipnetwork::IpNetwork;
use portolan_rules::{
    explanation::StandIns,
    model::{EndpointSlice, Node, ObjectName},
};

use super::{
    contents::{Object, ServiceEntry},
    derive::{self, PodIndex},
    objects::Entry,
    stand_ins::{Chooser, StandInRanges},
};
use crate::{
    api::{ObjectId, PodFacts, PodSet},
    source::{eligibility::Eligibility, event::Change},
};

/// The objects in force, by kind, in order of their names.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub services: Vec<Arc<ServiceEntry>>,
    /// Slices of manifests, and those derived from Pods.
    pub slices: Vec<Arc<EndpointSlice>>,
    /// The Node object of this node.
    pub node: Option<Arc<Node>>,
    /// Whether load balancers may use this node; they may if there is no Node object.
    pub eligibility: Eligibility,
    /// The ranges of all `ServiceCIDR` objects, each once, in order.
    pub service_cidrs: Vec<IpNetwork>,
    /// The names of all Nodes of the input, in order.
    pub node_names: Vec<Arc<str>>,
    /// The stand-ins for values that a cluster would assign.
    pub stand_ins: StandIns,
    /// Pods with addresses that are stand-ins.
    pub stand_in_pods: Vec<(ObjectName, Arc<PodFacts>)>,
    /// Objects for which no stand-in was left, as text.
    pub without_stand_in: Vec<String>,
}

/// An object that is in several files, with the last two of these files, as numbers in order of precedence.
#[derive(Debug)]
pub(super) struct Duplicate {
    pub id: ObjectId,
    pub unused: usize,
    pub used: usize,
}

impl Cluster {
    /// Merges the objects of files, in order of precedence, for the node with this name. If an object is in several
    /// files, the last one is used; such objects are returned, too, in order of their names. With `derives`, derives
    /// endpoints from Pods and `Endpoints`. With `ranges`, objects get stand-ins.
    pub fn new<'a>(
        files: impl Iterator<Item = &'a [Entry]>,
        node_name: &Arc<str>,
        derives: bool,
        ranges: Option<&StandInRanges>,
    ) -> (Self, Vec<Duplicate>) {
        let mut all: Vec<(usize, &Entry)> = Vec::new();
        for (file, objects) in files.enumerate() {
            all.extend(objects.iter().map(|entry| (file, entry)));
        }
        // A stable sort: the files of the same object stay in order.
        all.sort_by(|(_, a), (_, b)| a.key().cmp(&b.key()));
        let mut duplicates = Vec::new();
        let mut cluster = Self::default();
        let mut pods: BTreeMap<ObjectName, Arc<PodFacts>> = BTreeMap::new();
        let mut service_cidrs: BTreeSet<IpNetwork> = BTreeSet::new();
        let mut mirrored: HashMap<&ObjectName, &[Arc<EndpointSlice>]> = HashMap::new();
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        let mut workloads: Vec<(&ObjectName, &Arc<PodSet>)> = Vec::new();
        for same in all.chunk_by(|(_, a), (_, b)| a.key() == b.key()) {
            let Some(((used, entry), others)) = same.split_last() else { continue };
            if let Some((unused, _)) = others.last() {
                duplicates.push(Duplicate { id: entry.id(), unused: *unused, used: *used });
            }
            match entry {
                Entry::Service(service) => cluster.services.push(Arc::clone(service)),
                Entry::Slice(slice) => cluster.slices.push(Arc::clone(slice)),
                Entry::Other(other) => match &**other {
                    (id, Object::Pod(pod)) => _ = pods.insert(id.name.clone(), Arc::clone(pod)),
                    (id, Object::Node(node, eligibility)) => {
                        if id.name.name == *node_name {
                            cluster.node = Some(Arc::clone(node));
                            cluster.eligibility = *eligibility;
                        }
                        nodes.push(Arc::clone(node));
                    }
                    (_, Object::ServiceCidr(networks)) => service_cidrs.extend(networks.iter()),
                    (id, Object::Endpoints(slices)) => _ = mirrored.insert(&id.name, slices),
                    (id, Object::Workload(Some(set))) => workloads.push((&id.name, set)),
                    (_, Object::Service(_) | Object::Slice(_) | Object::Workload(None)) => {}
                },
            }
        }
        cluster.service_cidrs = service_cidrs.into_iter().collect();
        cluster.node_names = nodes.iter().map(|node| Arc::clone(&node.name)).collect();
        if let Some(ranges) = ranges {
            let mut ranges = ranges.clone();
            ranges.services.extend(&cluster.service_cidrs);
            let (services, slices) = (&cluster.services, &cluster.slices);
            let mut chooser = Chooser::new(&ranges, &nodes, node_name, services, slices, &pods);
            chooser.complete_services(&mut cluster.services);
            cluster.node = cluster.node.or_else(|| chooser.node(&cluster.services));
            cluster.stand_in_pods = chooser.complete_pods(&mut pods, &workloads, &cluster.services);
            (cluster.stand_ins, cluster.without_stand_in) = chooser.finish();
        }
        if derives {
            cluster.derive(&pods, &mirrored);
        }
        (cluster, duplicates)
    }

    /// Derives the endpoints of Services without slices: for a Service with a selector from Pods, as the endpoint
    /// slice controller does, for other Services from `Endpoints`, as the mirroring controller does. If a selector
    /// leads to no endpoints, the `Endpoints` of the Service are used, which another controller has found.
    fn derive(
        &mut self,
        pods: &BTreeMap<ObjectName, Arc<PodFacts>>,
        mirrored: &HashMap<&ObjectName, &[Arc<EndpointSlice>]>,
    ) {
        if pods.is_empty() && mirrored.is_empty() {
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
            let of_namespace = pods.range(start..).take_while(|(name, _)| name.namespace == *namespace);
            let index = PodIndex::new(of_namespace.map(|(_, pod)| &**pod));
            for entry in services {
                let name = &entry.service.name;
                if given.contains(&(&name.namespace, &name.name)) {
                    continue;
                }
                let selected =
                    entry.selection.as_ref().map(|selection| derive::slices(entry, selection, &index));
                match selected.filter(|slices| !slices.is_empty()) {
                    Some(slices) => derived.extend(slices),
                    None => derived.extend(mirrored.get(name).into_iter().copied().flatten().cloned()),
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
