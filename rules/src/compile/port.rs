//! One ServicePort in one family: its frontends, their classes, and the endpoints at their slots.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    model::{Protocol, Service, TrafficPolicy},
    ruleset::{ClassId, Concat, Element, Family},
};

use super::{
    class::Class,
    frontend::{Door, FrontendKey, endpoint_value},
    scaffold::LOCAL_SLOTS,
    sets::SetName,
    sources::AddressRange,
};

/// A compiled ServicePort.
#[derive(Debug)]
pub struct CompiledPort {
    pub family: Family,
    pub name: Arc<str>,
    pub protocol: Protocol,
    /// `namespace/name:port`, the comment of its elements.
    pub comment: Arc<str>,
    pub frontends: Vec<Frontend>,
    /// The endpoints of policy Cluster at their slots.
    pub cluster: Vec<SocketAddr>,
    /// Those of policy Local; empty if no frontend is under it.
    pub local: Vec<SocketAddr>,
    /// Sources that may use the load balancer's addresses.
    pub sources: Arc<[AddressRange]>,
}

/// A frontend of a port.
#[derive(Clone, Debug)]
pub struct Frontend {
    pub key: FrontendKey,
    /// Whether this Service answers it, rather than another one that claims it too.
    pub owned: bool,
    /// The class in the class map.
    pub class: Class,
    /// The class for pods and this node, under policy Local.
    pub direct: Option<Class>,
    /// Which endpoints stand at its slots.
    pub slots: FrontendSlotUse,
}

/// Which endpoints stand at the slots of a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontendSlotUse {
    /// Those of policy Cluster, from slot 0.
    Cluster,
    /// Those of policy Local, from slot 0.
    Local,
    /// Those of policy Cluster from slot 0, those of policy Local from [`LOCAL_SLOTS`].
    Both,
}

impl Frontend {
    /// Decides the class of a frontend at a door. Not owned yet.
    pub fn new(key: FrontendKey, door: Door, service: &Service, counts: Counts, restricted: bool) -> Self {
        let Counts { cluster, local } = counts;
        let by_policy = |policy| match (cluster, policy) {
            (0, _) => None,
            (_, TrafficPolicy::Cluster) => Some(FrontendSlotUse::Cluster),
            (_, TrafficPolicy::Local) if door == Door::ClusterIp => Some(FrontendSlotUse::Local),
            (_, TrafficPolicy::Local) => Some(FrontendSlotUse::Both),
        };
        let policy = if door == Door::ClusterIp { service.internal_policy } else { service.external_policy };
        let (class, direct, slots) = match (by_policy(policy), door) {
            (None, _) => (Class::NoEndpoints, None, FrontendSlotUse::Cluster),
            (Some(FrontendSlotUse::Local), _) if local == 0 => {
                (Class::NoLocalEndpoints, None, FrontendSlotUse::Local)
            }
            (Some(FrontendSlotUse::Local), _) => (Class::Cluster(local), None, FrontendSlotUse::Local),
            (Some(FrontendSlotUse::Cluster), Door::ClusterIp) => {
                (Class::Cluster(cluster), None, FrontendSlotUse::Cluster)
            }
            (Some(FrontendSlotUse::Cluster), Door::NodePort) => {
                (Class::NodePort(cluster), None, FrontendSlotUse::Cluster)
            }
            (Some(FrontendSlotUse::Cluster), _) => (Class::External(cluster), None, FrontendSlotUse::Cluster),
            (Some(FrontendSlotUse::Both), Door::NodePort) => {
                (Class::NodePortLocal(local), Some(Class::NodePortDirect(cluster)), FrontendSlotUse::Both)
            }
            (Some(FrontendSlotUse::Both), _) => {
                (Class::Local(local), Some(Class::Direct(cluster)), FrontendSlotUse::Both)
            }
        };
        // Source ranges guard the load balancer's addresses only, even with no endpoints behind them.
        let restricted = restricted && door == Door::LoadBalancer;
        let class = if restricted { class.restricted() } else { class };
        Self { key, owned: false, class, direct, slots }
    }

    /// All classes that it leads to.
    pub fn classes(&self) -> impl Iterator<Item = Class> {
        [Some(self.class), self.class.admitted(), self.direct].into_iter().flatten()
    }
}

/// How many endpoints the two policies lead to.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    pub cluster: u16,
    pub local: u16,
}

impl CompiledPort {
    /// The elements of a frontend but for its endpoints: a few, however many endpoints it has.
    pub fn attributes(&self, frontend: &Frontend) -> Vec<(SetName, Concat, Element)> {
        let key = frontend.key.concat();
        let class = |class: Class| Element::value(Concat::new(&[class.id().into()]));
        let mut elements =
            vec![(frontend.key.class_map(), key.clone(), class(frontend.class).with_comment(&self.comment))];
        if let Some(direct) = frontend.direct {
            elements.push((frontend.key.short_circuit_map(), key.clone(), class(direct)));
        }
        if frontend.class.admitted().is_some() {
            for (first, last) in self.sources.iter() {
                let end = Some(Box::new(key.with((*last).into())));
                let element = Element { end, ..Element::member() };
                elements.push((SetName::AllowedSources, key.with((*first).into()), element));
            }
        }
        elements
    }

    /// The endpoints at the slots of a frontend, by the number of the first slot.
    pub fn slots(&self, frontend: &Frontend) -> [(u32, &[SocketAddr]); 2] {
        match frontend.slots {
            FrontendSlotUse::Cluster => [(0, &self.cluster), (LOCAL_SLOTS, &[])],
            FrontendSlotUse::Local => [(0, &self.local), (LOCAL_SLOTS, &[])],
            FrontendSlotUse::Both => [(0, &self.cluster), (LOCAL_SLOTS, &self.local)],
        }
    }

    /// Calls `count` with how many elements one of its frontends has in each set, in any number of parts.
    pub fn counts(&self, frontend: &Frontend, count: &mut impl FnMut(SetName, usize)) {
        for (set, ..) in self.attributes(frontend) {
            count(set, 1);
        }
        for (_, endpoints) in self.slots(frontend) {
            count(frontend.key.endpoint_map(), endpoints.len());
        }
    }

    /// Calls `emit` for each element of one of its frontends.
    pub fn elements(&self, frontend: &Frontend, emit: &mut impl FnMut(SetName, Concat, Element)) {
        for (set, key, element) in self.attributes(frontend) {
            emit(set, key, element);
        }
        let key = frontend.key.concat();
        for (first, endpoints) in self.slots(frontend) {
            for (slot, endpoint) in (first..).zip(endpoints) {
                let element = Element::value(endpoint_value(*endpoint));
                emit(frontend.key.endpoint_map(), key.with(ClassId(slot).into()), element);
            }
        }
    }
}
