//! The destinations at which an update may leave stale flows.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use foldhash::HashSet;

use super::{Compiler, touched::Former};
use crate::{
    compile::{
        port::{CompiledPort, Frontend},
        service::CompiledService,
    },
    frontends::FrontendKey,
    incremental::{
        Slices, changed_addresses,
        flows::{Destination, Flows, Moved, Stale, destinations_of, each_frontend},
    },
    model::{Endpoint, EndpointPort, EndpointSlice, ObjectName, Protocol, ServicePort},
    ruleset::{Family, Ruleset},
    selection::{SlicesByPort, merge},
    state::{Changed, State},
};

/// A port of a Service: the names of both.
type PortName<'a> = (&'a ObjectName, &'a Arc<str>);

impl Compiler {
    /// Which endpoints may answer the flows to these UDP destinations. A destination is an address and a port: of a
    /// frontend, of a node port at one of the node's addresses, or of neither.
    pub fn flows(&self, destinations: impl IntoIterator<Item = SocketAddr>) -> Flows {
        let keys: Vec<_> =
            destinations.into_iter().map(|at| (at, self.frontend(Destination::udp(at)))).collect();
        let owned = self.owned_by(keys.iter().filter_map(|(_, key)| *key));
        let serving = |key| owned.get(&key?).map(|(port, _)| port.serving.clone());
        keys.into_iter().map(|(at, key)| (at, serving(key))).collect()
    }

    /// Every UDP destination that is a frontend.
    pub fn udp_destinations(&self) -> BTreeSet<SocketAddr> {
        let frontends = self.services.values().flat_map(CompiledService::owned);
        let udp = frontends.filter(|(port, _)| port.protocol == Protocol::Udp);
        udp.flat_map(|(_, frontend)| destinations_of(frontend.key, &self.flows.node_addresses))
            .map(|destination| destination.at)
            .collect()
    }

    /// Those of these destinations that are frontends.
    pub fn frontends(&self, destinations: impl IntoIterator<Item = Destination>) -> BTreeSet<Destination> {
        destinations.into_iter().filter(|destination| self.frontend(*destination).is_some()).collect()
    }

    /// The TCP and SCTP destinations that are frontends in a ruleset, but not in this compiler's.
    pub fn ceased(&self, ruleset: &Ruleset) -> BTreeSet<Destination> {
        let mut ceased = BTreeSet::new();
        each_frontend(ruleset, |frontend, node_addresses| {
            if frontend.protocol() != Protocol::Udp && self.claims.owner(&frontend).is_none() {
                ceased.extend(destinations_of(frontend, node_addresses));
            }
        });
        ceased
    }

    /// The stale flows among these TCP and SCTP flows, each given by its destination and the source of its answers. A
    /// flow is stale if no slice lists the endpoint for that frontend, or if its destination `ceased` to be a frontend.
    pub fn unlisted(
        &self,
        state: &State,
        ceased: &BTreeSet<Destination>,
        flows: impl IntoIterator<Item = (Destination, SocketAddr)>,
    ) -> Flows {
        let flows: Vec<_> =
            flows.into_iter().map(|flow @ (destination, _)| (flow, self.frontend(destination))).collect();
        let owned = self.owned_by(flows.iter().filter_map(|(_, key)| *key));
        let mut unlisted = Flows::default();
        for ((destination, source), key) in flows {
            let port = key.and_then(|key| owned.get(&key)).map(|(port, _)| *port);
            let is_listed = |port: &CompiledPort| {
                let slices = state.entry(&port.service.name).into_iter().flat_map(|entry| &entry.slices);
                let leads_there = |target: &EndpointPort| {
                    (&target.name, target.protocol, target.port) == (&port.name, port.protocol, source.port())
                };
                let mut of_port = slices.filter(|slice| slice.ports.iter().any(leads_there));
                of_port.any(|slice| slice.endpoints.iter().any(|e| e.address == source.ip()))
            };
            if port.map_or_else(
                || source != destination.at && ceased.contains(&destination),
                |port| !is_listed(port),
            ) {
                unlisted.add_gone(destination, [source]);
            }
        }
        unlisted
    }

    /// The frontend at a destination, if there is one.
    fn frontend(&self, Destination { protocol, at }: Destination) -> Option<FrontendKey> {
        let is_owned = |key: &FrontendKey| self.claims.owner(key).is_some();
        let key = FrontendKey::Address(at.ip(), protocol, at.port());
        Some(key).filter(is_owned).or_else(|| {
            let key = FrontendKey::NodePort(Family::of(at.ip()), protocol, at.port());
            Some(key).filter(|key| self.flows.node_addresses.contains(&at.ip()) && is_owned(key))
        })
    }

    /// All frontends of the Services that own these frontends, with their ports.
    fn owned_by(
        &self,
        keys: impl IntoIterator<Item = FrontendKey>,
    ) -> HashMap<FrontendKey, (&CompiledPort, &Frontend)> {
        let owners: HashSet<&ObjectName> =
            keys.into_iter().filter_map(|key| self.claims.owner(&key)).collect();
        let services = owners.into_iter().filter_map(|name| self.services.get(name));
        let owned = services.flat_map(CompiledService::owned);
        owned.map(|(port, frontend)| (frontend.key, (port, frontend))).collect()
    }

    /// Notes that an address begins or ceases to answer node ports.
    pub(super) fn touch_node_address(&mut self, address: IpAddr, answers: bool) {
        if answers {
            self.flows.node_addresses.insert(address);
        } else {
            self.flows.node_addresses.remove(&address);
        }
        let frontends = self.services.values().flat_map(CompiledService::owned);
        let at = frontends.filter_map(|(port, frontend)| match frontend.key {
            FrontendKey::NodePort(..) if port.protocol == Protocol::Udp => {
                destinations_of(frontend.key, [&address]).next()
            }
            FrontendKey::NodePort(..) | FrontendKey::Address(..) => None,
        });
        let at: Vec<_> = at.map(|destination| destination.at).collect();
        self.flows.node_ports.extend(at);
    }

    /// Takes the destinations at which this update may have left stale flows.
    pub(super) fn take_stale(&mut self, state: &State, changed: &BTreeMap<ObjectName, Changed>) -> Stale {
        let frontends = std::mem::take(&mut self.flows.frontends);
        let patched = std::mem::take(&mut self.flows.moved);
        let mut touched = Stale { udp: std::mem::take(&mut self.flows.node_ports), ..Stale::default() };
        let now = self.owned_by(frontends.keys().copied());
        let mut lists = Lists { state, changed, slices: HashMap::new(), known: HashMap::new() };
        // If a frontend's Service was also compiled as a whole, that result counts.
        let mut moved: Vec<(FrontendKey, Moved)> =
            patched.into_iter().filter(|(key, _)| !frontends.contains_key(key)).collect();
        for (key, before) in &frontends {
            let after = now.get(key).map(|(port, frontend)| (*port, *frontend));
            if key.protocol() != Protocol::Udp {
                let before = before.as_ref().map(|before| (&before.service.name, &before.port));
                let after = after.map(|(port, _)| (&port.service.name, &port.name));
                moved.push((*key, lists.moved(before, after, key)));
            } else if is_touched(before.as_ref(), after) {
                let destinations = destinations_of(*key, &self.flows.node_addresses);
                touched.udp.extend(destinations.map(|destination| destination.at));
            }
        }
        for (key, moved) in moved.into_iter().filter(|(_, moved)| !moved.is_empty()) {
            for destination in destinations_of(key, &self.flows.node_addresses) {
                touched.moved.insert(destination, moved.clone());
            }
        }
        touched
    }
}

/// Whether flows to a UDP frontend may be stale.
fn is_touched(before: Option<&Former>, after: Option<(&CompiledPort, &Frontend)>) -> bool {
    match (before, after) {
        (None, None) => false,
        (Some(_), None) | (None, Some(_)) => true,
        (Some(before), Some((port, frontend))) => {
            before.classes != port.classes(frontend)
                || before.serving.iter().any(|endpoint| port.serving.binary_search(endpoint).is_err())
        }
    }
}

/// Which endpoints the slices of Services list, before an update and after it.
struct Lists<'a> {
    state: &'a State,
    changed: &'a BTreeMap<ObjectName, Changed>,
    /// The slices of each Service that list changed endpoints.
    slices: HashMap<&'a ObjectName, Option<Slices<'a>>>,
    /// The results so far: all frontends of a port have the same result.
    known: HashMap<(Option<PortName<'a>>, Option<PortName<'a>>, Family, Protocol), Moved>,
}

impl<'a> Lists<'a> {
    /// The difference for a frontend that belonged to the port `before`, and now belongs to the port `after`.
    fn moved(
        &mut self,
        before: Option<PortName<'a>>,
        after: Option<PortName<'a>>,
        key: &FrontendKey,
    ) -> Moved {
        let (family, protocol) = (key.family(), key.protocol());
        if let Some(moved) = self.known.get(&(before, after, family, protocol)) {
            return moved.clone();
        }
        let port = |name: &Arc<str>| ServicePort { name: name.clone(), protocol, port: 0, node_port: None };
        let moved = if before == after {
            before.map(|(service, name)| self.differing(service, &port(name), family)).unwrap_or_default()
        } else {
            let list = |of: Option<PortName<'a>>,
                        slices: fn(&Self, &ObjectName) -> Vec<&'a EndpointSlice>| {
                let of_port = |(service, name): PortName<'a>| {
                    listed(&merge(&SlicesByPort::new(slices(self, service)), &port(name), family))
                };
                of.map(of_port).unwrap_or_default()
            };
            Moved::between(&list(before, Self::before), &list(after, Self::after))
        };
        self.known.insert((before, after, family, protocol), moved.clone());
        moved
    }

    /// The difference for a frontend that belongs to the same port as before: only changed slices can cause one.
    fn differing(&mut self, service: &'a ObjectName, port: &ServicePort, family: Family) -> Moved {
        let Self { state, changed, slices, .. } = self;
        let slices = slices.entry(service).or_insert_with(|| {
            let former = changed.get(service).map(|changed| &changed.former)?;
            let entry = state.entry(service).filter(|_| !former.is_empty())?;
            Some(Slices::with(changed_addresses(entry, former, usize::MAX)?, entry, former))
        });
        let Some(slices) = slices else { return Moved::default() };
        let [before, after] = slices.merged(port, family).map(|merged| listed(&merged));
        Moved::between(&before, &after)
    }

    /// The slices of a Service before the update.
    fn before(&self, service: &ObjectName) -> Vec<&'a EndpointSlice> {
        let former = self.changed.get(service).map(|changed| &changed.former);
        let is_former =
            |slice: &&EndpointSlice| former.is_some_and(|former| former.contains_key(&slice.name.name));
        let stayed = self.after(service).into_iter().filter(|slice| !is_former(slice));
        stayed.chain(former.into_iter().flat_map(|former| former.values().flatten().map(|s| &**s))).collect()
    }

    /// The slices of a Service after the update.
    fn after(&self, service: &ObjectName) -> Vec<&'a EndpointSlice> {
        let entry = self.state.entry(service);
        entry.into_iter().flat_map(|entry| &entry.slices).map(|slice| &**slice).collect()
    }
}

fn listed(merged: &[(SocketAddr, &Endpoint)]) -> Vec<SocketAddr> {
    merged.iter().map(|(address, _)| *address).collect()
}
