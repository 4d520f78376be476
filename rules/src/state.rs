//! The objects of the cluster as they are now, and which Services a change affects.

mod dirty;
mod entry;

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::Arc,
};

use foldhash::{HashMap, HashSet};

use crate::{
    frontends::{ClusterIps, NearAddresses},
    model::{EndpointSlice, Node, ObjectName, Service},
};

use self::dirty::Dirty;
pub use self::{
    dirty::{Changed, FormerSlices},
    entry::ServiceState,
};

/// A slice that is hashed and compared by its name.
#[derive(Clone, Debug)]
struct ByName(Arc<EndpointSlice>);

impl Borrow<ObjectName> for ByName {
    fn borrow(&self) -> &ObjectName {
        &self.0.name
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for ByName {}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

/// All Services, slices and the node, with the names of the Services that must be compiled again.
#[derive(Clone, Debug, Default)]
pub struct State {
    services: HashMap<ObjectName, ServiceState>,
    /// All slices, to detect when a slice moves to another Service.
    slices: HashSet<ByName>,
    node: Node,
    cluster_ips: ClusterIps,
    dirty: Dirty,
    /// Services that are left out until they change.
    quarantined: BTreeSet<ObjectName>,
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

    /// Returns a Service with its slices, unless it is in quarantine.
    pub fn get(&self, name: &ObjectName) -> Option<&ServiceState> {
        self.services.get(name).filter(|_| !self.quarantined.contains(name))
    }

    /// Returns a Service with its slices, whether it is in quarantine or not.
    pub fn entry(&self, name: &ObjectName) -> Option<&ServiceState> {
        self.services.get(name)
    }

    /// The Services that the proxy handles, with their slices, in no particular order, except those in quarantine.
    pub fn services(&self) -> impl Iterator<Item = (&Service, &ServiceState)> {
        let all = self.services.iter().filter(|(name, _)| !self.quarantined.contains(*name));
        all.filter_map(|(_, entry)| Some((entry.service.as_deref()?, entry)))
    }

    /// All names that have a Service or slices, including Services in quarantine, in no particular order.
    pub fn entries(&self) -> impl Iterator<Item = (&ObjectName, &ServiceState)> {
        self.services.iter()
    }

    /// Puts a Service into quarantine, or releases it. While it is in quarantine, it is compiled as if it did not
    /// exist. It is released when it or one of its slices changes.
    pub fn quarantine(&mut self, name: &ObjectName, quarantined: bool) {
        let Some(entry) = self.services.get_mut(name) else { return };
        let changed =
            if quarantined { self.quarantined.insert(name.clone()) } else { self.quarantined.remove(name) };
        if changed {
            self.dirty.touch(name, entry);
        }
    }

    /// The Services in quarantine.
    pub fn quarantined(&self) -> &BTreeSet<ObjectName> {
        &self.quarantined
    }

    /// The Services to compile again, in no particular order.
    pub fn dirty(&self) -> &[ObjectName] {
        self.dirty.names()
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
        let concerned = entry.near.is_some()
            || service.as_ref().is_some_and(|service| self.cluster_ips.concern_service(service));
        let before = std::mem::replace(&mut entry.service, service);
        self.quarantined.remove(name);
        self.dirty.touch(name, entry);
        let changed = self.cluster_ips.replace(before.as_ref(), entry.service.as_ref());
        let cluster_ips = entry.service.iter().flat_map(|service| &service.cluster_ips);
        if self.cluster_ips.surround(cluster_ips) {
            self.examine_all();
        } else if concerned {
            self.examine(name);
        }
        for name in changed.iter().flat_map(|address| self.cluster_ips.named(address)).collect::<Vec<_>>() {
            self.examine(&name);
        }
    }

    /// Sets or, with `None`, removes an `EndpointSlice`.
    pub fn set_slice(&mut self, name: &ObjectName, slice: Option<Arc<EndpointSlice>>) {
        let new_owner = slice.as_ref().map(|s| s.service.clone());
        let before = match &slice {
            Some(slice) => self.slices.replace(ByName(slice.clone())),
            None => self.slices.take(name),
        };
        let old_owner = before.map(|before| before.0.service.clone());
        if let Some(old) = old_owner.filter(|old| Some(old) != new_owner.as_ref()) {
            let service = ObjectName { namespace: name.namespace.clone(), name: old };
            if let Some(entry) = self.services.get_mut(&service) {
                let before = entry.find(&name.name).ok().map(|at| entry.slices.remove(at));
                if self.quarantined.remove(&service) {
                    self.dirty.touch(&service, entry);
                }
                self.dirty.touch_slice(&service, entry, &name.name, before);
                if entry.near.is_some() {
                    self.examine(&service);
                }
            }
        }
        let (Some(slice), Some(owner)) = (slice, new_owner) else { return };
        let service = ObjectName { namespace: name.namespace.clone(), name: owner };
        let entry = self.services.entry(service.clone()).or_default();
        let concerned = entry.near.is_some() || self.cluster_ips.concern_endpoints(&slice.endpoints);
        let before = match entry.find(&name.name) {
            Ok(at) if entry.slices[at] == slice => {
                // Keeps one copy of equal slices.
                entry.slices[at] = slice;
                return;
            }
            Ok(at) => Some(std::mem::replace(&mut entry.slices[at], slice)),
            Err(at) => {
                entry.slices.reserve_exact(1);
                entry.slices.insert(at, slice);
                None
            }
        };
        if self.quarantined.remove(&service) {
            self.dirty.touch(&service, entry);
        }
        self.dirty.touch_slice(&service, entry, &name.name, before);
        if concerned {
            self.examine(&service);
        }
    }

    /// Sets the ServiceCIDRs: ranges of addresses, first and last, disjoint and sorted.
    pub(crate) fn set_service_cidrs(&mut self, ranges: Vec<(IpAddr, IpAddr)>) {
        self.cluster_ips.set_networks(ranges);
        self.examine_all();
    }

    /// Whether an address is outside of the ServiceCIDRs; false if there is no ServiceCIDR of its family.
    pub fn is_outside_service_cidrs(&self, address: IpAddr) -> bool {
        self.cluster_ips.is_outside_networks(address)
    }

    /// Finds which addresses near ClusterIPs a Service and its slices name. If these changed, the Service is
    /// compiled again.
    fn examine(&mut self, name: &ObjectName) {
        let Some(entry) = self.services.get_mut(name) else { return };
        let near = self.cluster_ips.near(entry.service.as_deref(), &entry.slices);
        if near == entry.near {
            return;
        }
        let before = std::mem::replace(&mut entry.near, near);
        self.cluster_ips.note(name, before.as_deref(), entry.near.as_deref());
        if !NearAddresses::is_same(before.as_deref(), entry.near.as_deref()) {
            self.dirty.touch(name, entry);
        }
    }

    /// Does the same for all Services that may name such an address, which are few.
    fn examine_all(&mut self) {
        let concerns = |entry: &ServiceState| {
            let service = entry.service.as_ref();
            entry.near.is_some()
                || service.is_some_and(|service| self.cluster_ips.concern_service(service))
                || entry.slices.iter().any(|slice| self.cluster_ips.concern_endpoints(&slice.endpoints))
        };
        let concerned = self.services.iter().filter(|(_, entry)| concerns(entry));
        for name in concerned.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.examine(&name);
        }
    }

    /// Replaces all Services, and removes those that are not in the list.
    pub fn replace_services(&mut self, services: Vec<(ObjectName, Arc<Service>)>) {
        let names: HashSet<ObjectName> = services.iter().map(|(name, _)| name.clone()).collect();
        let known = self.services.iter().filter(|(_, entry)| entry.service.is_some());
        let gone = known.map(|(name, _)| name).filter(|name| !names.contains(*name));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.set_service(&name, None);
        }
        // All at once, since each new block of ClusterIPs requires examining all Services.
        if self.cluster_ips.surround(services.iter().flat_map(|(_, service)| &service.cluster_ips)) {
            self.examine_all();
        }
        for (name, service) in services {
            self.set_service(&name, Some(service));
        }
    }

    /// Replaces all slices, and removes those that are not in the list.
    pub fn replace_slices(&mut self, slices: Vec<(ObjectName, Arc<EndpointSlice>)>) {
        let names: HashSet<ObjectName> = slices.iter().map(|(name, _)| name.clone()).collect();
        let gone = self.slices.iter().map(|slice| &slice.0.name).filter(|name| !names.contains(*name));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.set_slice(&name, None);
        }
        for (name, slice) in slices {
            self.set_slice(&name, Some(slice));
        }
    }

    /// Replaces the node. If its name or zone changed, every Service is compiled again: they decide which endpoints
    /// are local and which hints apply.
    pub fn set_node(&mut self, node: Node) {
        if node.name != self.node.name || node.zone != self.node.zone {
            for (name, entry) in &mut self.services {
                self.dirty.touch(name, entry);
            }
        }
        self.node = node;
    }

    /// Marks the Services that a change outside of the state affects, so that they are compiled again.
    pub fn touch(&mut self, affected: impl Fn(&Service) -> bool) {
        for (name, entry) in &mut self.services {
            if entry.service.as_deref().is_some_and(&affected) {
                self.dirty.touch(name, entry);
            }
        }
    }

    /// Takes the Services to compile again, in order of their names, each with what changed since the last call.
    pub fn take_changed(&mut self) -> BTreeMap<ObjectName, Changed> {
        for name in self.dirty.names() {
            if let Some(entry) = self.services.get_mut(name) {
                entry.taken();
                if entry.is_empty() {
                    self.services.remove(name);
                }
            }
        }
        self.dirty.take()
    }

    /// Forgets what changed, because all Services are compiled.
    pub fn clear_dirty(&mut self) {
        self.services.retain(|_, entry| {
            entry.taken();
            !entry.is_empty()
        });
        self.dirty = Dirty::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EndpointPort, Protocol};

    impl State {
        /// The names of the Services to compile again since the last call.
        fn take_dirty(&mut self) -> BTreeSet<ObjectName> {
            self.take_changed().into_keys().collect()
        }
    }

    fn slice(name: &ObjectName, service: &str) -> Arc<EndpointSlice> {
        Arc::new(EndpointSlice {
            name: name.clone(),
            service: service.into(),
            ports: Vec::new(),
            endpoints: Vec::new(),
        })
    }

    fn service(name: &ObjectName) -> Service {
        Service::cluster_ip(name.clone(), Vec::new(), Vec::new())
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
        assert!(state.get(&ObjectName::new("default", "web")).is_none(), "a deleted object leaves nothing");
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
    fn slices_are_remembered_as_they_were_once_their_service_is_there() {
        let (mut state, web) = (State::default(), ObjectName::new("default", "web"));
        let [first, second] = ["web-1", "web-2"].map(|name| ObjectName::new("default", name));
        state.set_slice(&first, Some(slice(&first, "web")));
        state.set_service(&web, Some(Arc::new(service(&web))));
        state.set_slice(&second, Some(slice(&second, "web")));
        state.set_slice(&second, None);
        assert_eq!(state.take_changed(), BTreeMap::from([(web.clone(), Changed::default())]));

        let port = EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: 80 };
        let mut changed = EndpointSlice::clone(&slice(&first, "web"));
        for _ in 0..2 {
            changed.ports.push(port.clone());
            state.set_slice(&first, Some(Arc::new(changed.clone())));
        }
        state.set_slice(&second, Some(slice(&second, "web")));
        let former = FormerSlices::from([
            (first.name.clone(), Some(slice(&first, "web"))),
            (second.name.clone(), None),
        ]);
        let only_slices = Changed { former, only_slices: true };
        assert_eq!(state.take_changed(), BTreeMap::from([(web.clone(), only_slices)]));

        state.set_slice(&second, None);
        state.touch(|_| true);
        state.set_slice(&first, None);
        let former = FormerSlices::from([
            (first.name.clone(), Some(Arc::new(changed))),
            (second.name.clone(), Some(slice(&second, "web"))),
        ]);
        assert_eq!(state.take_changed(), BTreeMap::from([(web, Changed { former, only_slices: false })]));
    }

    #[test]
    fn slices_that_go_with_their_service_are_remembered() {
        let (mut state, web) = (State::default(), ObjectName::new("default", "web"));
        let first = ObjectName::new("default", "web-1");
        state.set_service(&web, Some(Arc::new(service(&web))));
        state.set_slice(&first, Some(slice(&first, "web")));
        state.clear_dirty();
        state.set_service(&web, None);
        state.set_slice(&first, None);
        let former = FormerSlices::from([(first.name.clone(), Some(slice(&first, "web")))]);
        assert_eq!(
            state.take_changed(),
            BTreeMap::from([(web.clone(), Changed { former, only_slices: false })])
        );
        assert!(state.entry(&web).is_none(), "a deleted object leaves nothing");
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

    #[test]
    fn a_service_in_quarantine_is_not_there_until_it_changes() {
        let (mut state, name) = (State::default(), ObjectName::new("default", "web"));
        let service = Arc::new(service(&name));
        state.set_service(&name, Some(service.clone()));
        state.take_dirty();
        state.quarantine(&name, true);
        assert_eq!(state.take_dirty(), BTreeSet::from([name.clone()]));
        assert!(state.get(&name).is_none());
        assert_eq!(state.services().count(), 0);

        state.set_service(&name, Some(service));
        assert!(state.get(&name).is_none(), "an equal object is no change");
        let slice_name = ObjectName::new("default", "web-1");
        state.set_slice(&slice_name, Some(slice(&slice_name, "web")));
        assert!(state.get(&name).is_some() && state.quarantined().is_empty());
        assert_eq!(state.take_dirty(), BTreeSet::from([name.clone()]));

        state.quarantine(&name, true);
        state.set_service(&name, None);
        state.set_slice(&slice_name, None);
        state.take_dirty();
        assert!(state.quarantined().is_empty(), "a deleted object leaves nothing");
        state.quarantine(&name, true);
        assert!(state.quarantined().is_empty(), "what does not exist needs no quarantine");
    }
}
