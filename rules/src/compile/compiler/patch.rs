//! The short way for a Service with a few changed endpoints: only these are examined, however many others there are.
//!
//! Which endpoints are selected depends on all of them, but one endpoint more or less usually does not change the
//! selection of the others. Where that is certain, the compiled Service is changed in place. Otherwise, and in rare
//! cases, the Service is compiled as a whole.

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use super::{Compiler, account::BesideSlots, endpoint_counts::lacks_endpoints};
use crate::{
    compile::{
        admission,
        port::{CompiledPort, Frontend},
        service::CompiledService,
    },
    incremental::{Slices, changed_addresses, flows::Moved},
    model::{Endpoint, Node, ObjectName, Service, ServicePort},
    placement::{Placed, SlotChange, slots},
    plane::{Pick, Picks, RangeList},
    ruleset::Family,
    selection::{is_remote, load_balancer_source_ranges::allowed_sources},
    state::{FormerSlices, ServiceState},
};

/// Maximum number of changed addresses: each is searched for in all slices.
const FEW: usize = 8;

/// The changes of a port.
#[derive(Default)]
struct PortChange {
    slots: Vec<SlotChange>,
    /// Endpoints that the slices no longer list, or newly list.
    moved: Moved,
}

impl Compiler {
    /// Compiles a Service whose slices changed. Returns whether that could be done the short way.
    pub(super) fn patch(
        &mut self,
        node: &Node,
        (name, entry): (&ObjectName, &ServiceState),
        former: &FormerSlices,
    ) -> bool {
        let Some((service, compiled)) = entry.service.as_deref().zip(self.services.get_mut(name)) else {
            return false;
        };
        if entry.left_out().next().is_some() {
            return false;
        }
        let Some(changes) = changes(node, service, entry, compiled, former) else { return false };
        let lacked = lacks_endpoints(compiled);
        for (port, PortChange { slots: changes, moved }) in compiled.ports.iter_mut().zip(changes) {
            if !moved.is_empty() {
                self.flows.note_moved(port, &moved);
            }
            if changes.is_empty() {
                continue;
            }
            // If the number of endpoints is the same, only elements at slots change.
            if changes.iter().all(|(_, before, after)| before.is_some() && after.is_some()) {
                port.cluster.apply(&changes);
            } else {
                let owned: Vec<_> = port.frontends.iter().filter(|frontend| frontend.owned).collect();
                let before: Vec<_> =
                    owned.into_iter().map(|frontend| BesideSlots::of(port, frontend)).collect();
                port.cluster.apply(&changes);
                let restricted =
                    allowed_sources(service, port.family, &self.node_ips).map(|_| port.range_list);
                count_anew(service, port, restricted);
                let owned = port.frontends.iter().filter(|frontend| frontend.owned);
                for (before, frontend) in before.into_iter().zip(owned) {
                    before.replace(BesideSlots::of(port, frontend), port.family, &mut self.tracker);
                }
            }
            let leads_there = |frontend: &&Frontend| frontend.owned && frontend.scope.uses_cluster();
            for frontend in port.frontends.iter().filter(leads_there) {
                for (slot, before, after) in &changes {
                    self.tracker.replace_slot(&frontend.key, *slot as u32, *before, *after);
                }
            }
        }
        self.endpoint_counts.changed(lacked, lacks_endpoints(compiled));
        true
    }
}

/// Decides the classes of a port's frontends after the number of its endpoints has changed.
fn count_anew(service: &Service, port: &mut CompiledPort, restricted: Option<RangeList>) {
    let pick = |endpoints: &Placed| Pick::of_slots(endpoints.len(), port.load_balancing);
    let picks = Picks { cluster: pick(&port.cluster), local: pick(&port.local) };
    for frontend in &mut port.frontends {
        let Frontend { key, kind, owned, .. } = *frontend;
        *frontend = Frontend { owned, ..Frontend::new(key, kind, service, picks, restricted) };
    }
}

/// The changes of each port; `None` if they depend on all endpoints.
fn changes(
    node: &Node,
    service: &Service,
    entry: &ServiceState,
    compiled: &CompiledService,
    former: &FormerSlices,
) -> Option<Vec<PortChange>> {
    let changed = changed_addresses(entry, former, FEW)?;
    let concerns = |port: &CompiledPort| changed.iter().any(|address| Family::of(*address) == port.family);
    // The changed addresses, and for each port one endpoint that keeps the topology as it is, if no changed one does.
    let mut watched = changed.clone();
    let now = former.keys().filter_map(|name| entry.slice(name)).flat_map(|slice| &slice.endpoints);
    let now = now.filter(|endpoint| changed.contains(&endpoint.address));
    let all = now.chain(entry.slices.iter().flat_map(|slice| &slice.endpoints));
    for port in compiled.ports.iter().filter(|port| concerns(port)) {
        let topology = port.plain?;
        let mut of_family = all.clone().filter(|endpoint| Family::of(endpoint.address) == port.family);
        let witness = of_family.find(|endpoint| topology.is_held_by(endpoint, node))?.address;
        if !watched.contains(&witness) {
            watched.push(witness);
        }
    }
    let slices = Slices::with(watched, entry, former);
    let ports = PortsByName::of(service);
    let of_port = |port| {
        if concerns(port) {
            port_changes(node, &ports, port, &slices, &changed)
        } else {
            Some(PortChange::default())
        }
    };
    let slots: Vec<_> = compiled.ports.iter().map(of_port).collect::<Option<_>>()?;
    fits(compiled, &slots).then_some(slots)
}

/// Whether the Service has no more slots than it may have. Otherwise it is compiled as a whole.
fn fits(compiled: &CompiledService, changes: &[PortChange]) -> bool {
    let slots = |(port, change): (&CompiledPort, &PortChange)| -> usize {
        let come = change.slots.iter().filter(|(_, before, _)| before.is_none()).count();
        let of_frontend = |frontend: &Frontend| {
            port.slot_count(frontend) + if frontend.scope.uses_cluster() { come } else { 0 }
        };
        port.frontends.iter().map(of_frontend).sum()
    };
    compiled.ports.iter().zip(changes).map(slots).sum::<usize>() <= admission::MOST_SLOTS
}

/// The changes of one port; `None` if they depend on all endpoints.
fn port_changes(
    node: &Node,
    ports: &PortsByName<'_>,
    port: &CompiledPort,
    slices: &Slices<'_>,
    changed: &[IpAddr],
) -> Option<PortChange> {
    let (topology, of_service) = (port.plain?, ports.of_port(port)?);
    let [before, after] = slices.merged(of_service, port.family);
    // Endpoints on this node are in other sets, too. With weights, an endpoint changes the shares of the others.
    let is_plain = |(address, endpoint): &(SocketAddr, &Endpoint)| {
        !changed.contains(&address.ip()) || is_remote(endpoint, node) && endpoint.weight == 1
    };
    let undrained: Vec<_> =
        after.iter().map(|(_, endpoint)| *endpoint).filter(|endpoint| endpoint.weight > 0).collect();
    if !before.iter().chain(&after).all(is_plain) || !topology.stays(&undrained, node) {
        return None;
    }
    let chosen = |merged: &[(SocketAddr, &Endpoint)]| -> Vec<SocketAddr> {
        let chosen = merged.iter().filter(|(_, endpoint)| endpoint.ready && topology.admits(endpoint, node));
        chosen.map(|(address, _)| *address).collect()
    };
    let (mut go, mut come) = (chosen(&before), chosen(&after));
    let stay: Vec<SocketAddr> = go.iter().filter(|address| come.contains(address)).copied().collect();
    go.retain(|address| !stay.contains(address));
    come.retain(|address| !stay.contains(address));
    let fits = port.cluster.len() + come.len() < usize::from(u16::MAX);
    let slots = slots::changes(&port.cluster, &come, &go).filter(|_| fits)?;
    let [before, after] =
        [before, after].map(|merged| merged.into_iter().map(|(at, _)| at).collect::<Vec<_>>());
    Some(PortChange { slots, moved: Moved::between(&before, &after) })
}

/// The ports of a Service, found by their names and protocols.
struct PortsByName<'a>(SmallVec<[&'a ServicePort; 2]>);

impl<'a> PortsByName<'a> {
    fn of(service: &'a Service) -> Self {
        let mut ports: SmallVec<[&ServicePort; 2]> = service.ports.iter().collect();
        ports.sort_unstable_by_key(|port| (&*port.name, port.protocol));
        Self(ports)
    }

    /// The port that `port` was compiled from; `None` if a manifest has several of that name.
    fn of_port(&self, port: &CompiledPort) -> Option<&'a ServicePort> {
        let wanted = (&*port.name, port.protocol);
        let start = self.0.partition_point(|other| (&*other.name, other.protocol) < wanted);
        let mut same = self.0[start..].iter().take_while(|other| (&*other.name, other.protocol) == wanted);
        same.next().copied().filter(|_| same.next().is_none())
    }
}
