//! Compiles one Service: its frontends and the endpoints at their slots.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    endpoints::{merge, select},
    model::{Node, ObjectName, Protocol, Service},
    ruleset::{ClassId, Concat, Element, Family},
    state::ServiceState,
};

use super::{
    claims::Rank,
    class::Class,
    frontend::{Door, FrontendKey, endpoint_value, frontends},
    scaffold::SetName,
    slots,
};

/// Endpoints at their slots, by frontend, as the kernel holds them from an earlier run.
pub type AdoptedSlots = HashMap<FrontendKey, Vec<Option<SocketAddr>>>;

/// Something about a Service that its owner should know; the rest of it is programmed all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The Service.
    pub service: ObjectName,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Service {}: {}", self.service, self.message)
    }
}

/// A compiled Service.
#[derive(Debug)]
pub struct CompiledService {
    pub rank: Rank,
    pub ports: Vec<CompiledPort>,
    /// Each ClusterIP once.
    pub cluster_ips: Vec<IpAddr>,
    /// Address of each endpoint on this node, once.
    pub hairpin: Vec<IpAddr>,
}

/// One ServicePort in one family.
#[derive(Debug)]
pub struct CompiledPort {
    pub family: Family,
    pub name: Arc<str>,
    pub protocol: Protocol,
    /// `namespace/name:port`, the comment of its elements.
    pub comment: Arc<str>,
    pub frontends: Vec<Frontend>,
    /// Slots of the Cluster set.
    pub slots: Vec<SocketAddr>,
}

/// A frontend of a port.
#[derive(Clone, Debug)]
pub struct Frontend {
    pub key: FrontendKey,
    pub door: Door,
    /// Whether this Service answers it, or another one that claims it too.
    pub owned: bool,
}

impl CompiledPort {
    /// The class of one of its frontends.
    pub fn class(&self, frontend: &Frontend) -> Class {
        frontend.door.class(u16::try_from(self.slots.len()).unwrap_or(u16::MAX))
    }

    /// The element of the class map for one of its frontends.
    pub fn class_element(&self, frontend: &Frontend) -> Element {
        let class: ClassId = self.class(frontend).id();
        Element::value(Concat::new(&[class.into()])).with_comment(&self.comment)
    }

    /// Calls `emit` for each element of one of its frontends.
    pub fn elements(&self, frontend: &Frontend, emit: &mut impl FnMut(SetName, Concat, Element)) {
        let key = &frontend.key;
        emit(key.class_map(), key.concat(), self.class_element(frontend));
        for (slot, endpoint) in (0u32..).zip(&self.slots) {
            emit(key.endpoint_map(), key.slot(slot), Element::value(endpoint_value(*endpoint)));
        }
    }
}

impl CompiledService {
    /// The addresses that it needs in sets shared with other Services.
    pub fn shared_addresses(&self) -> impl Iterator<Item = (SetName, IpAddr)> {
        let cluster_ips = self.cluster_ips.iter().map(|address| (SetName::ClusterIps, *address));
        cluster_ips.chain(self.hairpin.iter().map(|address| (SetName::Hairpin, *address)))
    }

    /// The frontends that this Service answers, each with its port.
    pub fn owned(&self) -> impl Iterator<Item = (&CompiledPort, &Frontend)> {
        self.ports.iter().flat_map(|p| p.frontends.iter().filter(|f| f.owned).map(move |f| (p, f)))
    }
}

/// Compiles a Service. No frontend is owned yet. Slots are those of `before`, else of `adopted`, as
/// far as their endpoints are still wanted.
pub fn compile<'a>(
    service: &Service,
    state: &ServiceState,
    node: &Node,
    before: Option<&CompiledService>,
    adopted: impl Fn(&FrontendKey) -> Option<&'a Vec<Option<SocketAddr>>>,
    problems: &mut Vec<Problem>,
) -> CompiledService {
    let mut compiled = CompiledService {
        rank: Rank::of(service),
        ports: Vec::new(),
        cluster_ips: service.cluster_ips.clone(),
        hairpin: Vec::new(),
    };
    for family in Family::ALL {
        for port in &service.ports {
            let keys = frontends(service, port, family);
            if keys.is_empty() {
                continue;
            }
            let mut selection = select(&merge(state, port, family), node);
            if selection.cluster.len() > usize::from(u16::MAX) {
                problems.push(Problem {
                    service: service.name.clone(),
                    message: format!(
                        "port {:?} has {} endpoints, of which {} are used",
                        port.name,
                        selection.cluster.len(),
                        u16::MAX
                    ),
                });
                selection.cluster.truncate(usize::from(u16::MAX));
            }
            let prior = before.and_then(|b| {
                b.ports
                    .iter()
                    .find(|p| p.family == family && p.protocol == port.protocol && p.name == port.name)
            });
            let known = prior.map(|p| p.slots.iter().copied().map(Some).collect());
            let known = known.or_else(|| keys.iter().find_map(|(key, _)| adopted(key).cloned()));
            let slots = slots::assign(&known.unwrap_or_default(), &selection.cluster);
            compiled.hairpin.extend(selection.on_this_node);
            compiled.ports.push(CompiledPort {
                family,
                name: port.name.clone(),
                protocol: port.protocol,
                comment: comment(&service.name, &port.name),
                frontends: keys.into_iter().map(|(key, door)| Frontend { key, door, owned: false }).collect(),
                slots,
            });
        }
    }
    for addresses in [&mut compiled.hairpin, &mut compiled.cluster_ips] {
        addresses.sort_unstable();
        addresses.dedup();
    }
    compiled
}

fn comment(service: &ObjectName, port: &str) -> Arc<str> {
    if port.is_empty() { service.to_string().into() } else { format!("{service}:{port}").into() }
}
