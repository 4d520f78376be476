//! Compiles one Service.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use foldhash::{HashMap, HashSet};

use crate::{
    frontends::{FrontendKey, FrontendKind, Rank, frontends_of},
    model::{LoadBalancing, Node, Protocol, Service, ServicePort},
    placement::{FrontendSlots, Placed, SessionAffinity, Slots, maglev, slots},
    plane::{Pick, Picks, RangeList, SetName},
    ruleset::{COMMENT_MAX, Family},
    selection::{
        Chosen, EndpointScope, Serving, SlicesByPort, Topology,
        load_balancer_source_ranges::{self, AddressRange, allowed_sources},
        merge, select, serving, session_affinity,
    },
    state::ServiceState,
};

use super::{
    admission::{self, Demand},
    port::{CompiledPort, Frontend, comment_length},
    problem::{self, Problem, note},
};

/// A compiled Service.
#[derive(Clone, Debug)]
pub struct CompiledService {
    /// The Service when it was compiled.
    pub service: Arc<Service>,
    pub ports: Vec<CompiledPort>,
    /// Address of each endpoint on this node, once.
    pub hairpin: Box<[IpAddr]>,
    /// The problems of the Service itself, each once.
    pub problems: Box<[Problem]>,
}

impl CompiledService {
    /// Its rank among the Services that claim the same frontends.
    pub fn rank(&self) -> Rank {
        Rank::of(self.service.clone())
    }

    /// The addresses that it needs in sets shared with other Services.
    pub fn shared_addresses(&self) -> impl Iterator<Item = (SetName, IpAddr)> {
        let cluster_ips = self.service.cluster_ips.iter().map(|address| (SetName::ClusterIps, *address));
        cluster_ips.chain(self.hairpin.iter().map(|address| (SetName::Hairpin, *address)))
    }

    /// The frontends that this Service answers, each with its port.
    pub fn owned(&self) -> impl Iterator<Item = (&CompiledPort, &Frontend)> {
        self.ports.iter().flat_map(|p| p.frontends.iter().filter(|f| f.owned).map(move |f| (p, f)))
    }
}

/// Everything else that the compilation of a Service depends on.
pub struct Surroundings<'a> {
    /// The families that are served ([`Config::families`](crate::plane::Config::families)).
    pub families: &'a [Family],
    /// The node.
    pub node: &'a Node,
    /// The node's own addresses, for source ranges.
    pub node_ips: &'a [IpAddr],
    /// The previous version of the Service, if endpoints are to keep its slots.
    pub before: Option<&'a CompiledService>,
    /// The slots of a frontend that an earlier run left, unless another Service owns the frontend.
    pub adopted: &'a dyn Fn(&FrontendKey) -> Option<&'a FrontendSlots>,
    /// Endpoints that have no endpoint id from an earlier run get ids after this number.
    pub number_origin: u16,
    /// Takes a port number for a ServicePort with session affinity: the adopted one if it is free.
    pub port_number: &'a mut dyn FnMut(Family, Option<u16>) -> Option<u16>,
}

/// Compiles a Service. No frontend is owned yet. Endpoints keep the slots that they had.
pub fn compile(
    service: &Arc<Service>,
    state: &ServiceState,
    surroundings: &mut Surroundings<'_>,
) -> CompiledService {
    let mut problems = admission::problems(service);
    let admitted = admission::admitted(service);
    let drafts = drafts(&admitted, state, surroundings, &mut problems);
    if let Some(problem) = problem::left_out(service, state) {
        note(&mut problems, problem);
    }
    let mut hairpin: Vec<IpAddr> = drafts.iter().flat_map(|draft| &draft.on_this_node).copied().collect();
    hairpin.sort_unstable();
    hairpin.dedup();
    let demands: Vec<_> = drafts.iter().flat_map(|draft| draft.demands(&admitted)).collect();
    let wanted: usize = demands.iter().map(|demand| demand.slots * demand.frontends).sum();
    let most = admission::most_slots(demands);

    let known = PriorPorts::of(surroundings.before);
    let sources = Family::ALL.map(|family| sources(&admitted, family, &drafts, surroundings, &mut problems));
    let mut ports = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let Draft { family, port, frontends, .. } = draft;
        let (restricted, sources, list) = &sources[family as usize];
        let prior = prior_slots(service, port, family, &frontends, &known, surroundings);
        let mut place = |prior: &Slots, chosen: Chosen| place(service, prior, chosen, most, &mut problems);
        let cluster = place(&prior.slots.plain, draft.cluster);
        let local = place(&prior.slots.local, draft.local);
        let affinity = session_affinity::timeout(service).and_then(|timeout| {
            let number = prior.affinity.as_ref().map(|s| s.port).or_else(|| {
                let taken = (surroundings.port_number)(family, prior.slots.port);
                if taken.is_none() {
                    note(&mut problems, problem::too_many_affinity_ports(service));
                }
                taken
            })?;
            let known =
                prior.affinity.or_else(|| SessionAffinity::adopt(&prior.slots, surroundings.number_origin));
            Some(SessionAffinity::new(number, timeout, known, &[&cluster, &local]))
        });
        let pick = |slots: &[SocketAddr]| {
            let pick = Pick::of_slots(slots.len(), service.load_balancing)?;
            Some(affinity.as_ref().map_or(pick, |affinity| Pick::Affinity(affinity.timeout)))
        };
        let picks = Picks { cluster: pick(&cluster), local: pick(&local) };
        // In all other ports, more than the selection of endpoints depends on all of them.
        let is_plain = port.protocol != Protocol::Udp
            && service.load_balancing == LoadBalancing::Random
            && service.affinity_timeout.is_none()
            && wanted <= admission::MOST_SLOTS;
        ports.push(CompiledPort {
            family,
            name: port.name.clone(),
            protocol: port.protocol,
            service: service.clone(),
            frontends: frontends
                .into_iter()
                .map(|(key, kind)| Frontend::new(key, kind, service, picks, restricted.then_some(*list)))
                .collect(),
            cluster: Placed::new(family, &cluster),
            local: Placed::new(family, &local),
            plain: draft.plain.filter(|_| is_plain),
            load_balancing: service.load_balancing,
            affinity: affinity.map(Box::new),
            serving: draft.serving,
            sources: sources.clone(),
            range_list: *list,
        });
    }
    CompiledService { service: service.clone(), ports, hairpin: hairpin.into(), problems: problems.into() }
}

/// One port in one family, before its endpoints have slots.
struct Draft<'a> {
    family: Family,
    port: &'a ServicePort,
    frontends: Vec<(FrontendKey, FrontendKind)>,
    cluster: Chosen,
    /// The endpoints of policy Local; none if no frontend uses them.
    local: Chosen,
    on_this_node: Vec<IpAddr>,
    plain: Option<Topology>,
    serving: Serving,
}

impl Draft<'_> {
    /// How many slots its endpoints ask for.
    fn demands(&self, service: &Service) -> [Demand; 2] {
        let count = |uses: fn(EndpointScope) -> bool| {
            let scopes = self.frontends.iter().map(|(_, kind)| EndpointScope::of(*kind, service));
            scopes.filter(|scope| uses(*scope)).count()
        };
        let demand =
            |chosen: &Chosen, frontends| Demand::new(chosen.slots(), frontends, service.load_balancing);
        [
            demand(&self.cluster, count(EndpointScope::uses_cluster)),
            demand(&self.local, count(EndpointScope::uses_local)),
        ]
    }
}

/// All ports of a Service in the families that are served.
fn drafts<'a>(
    service: &'a Service,
    state: &ServiceState,
    surroundings: &Surroundings<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Draft<'a>> {
    let slices = SlicesByPort::of_service(state);
    let mut drafts = Vec::with_capacity(service.ports.len() * service.cluster_ips.len());
    let mut taken = HashSet::default();
    for &family in surroundings.families {
        for port in &service.ports {
            let mut frontends = frontends_of(service, port, family);
            if frontends.is_empty() {
                continue;
            }
            frontends.retain(|(key, kind)| match problem::not_ours(service, state, key, *kind) {
                Some(problem) => {
                    note(problems, problem);
                    false
                }
                None => true,
            });
            // The API server refuses a Service with two equal ports, but a manifest may have one.
            frontends.retain(|(key, _)| {
                let first = service.ports.len() == 1 || taken.insert(*key);
                if !first {
                    note(problems, problem::repeated(service, port, key));
                }
                first
            });
            if comment_length(&service.name, &port.name) > COMMENT_MAX {
                note(problems, problem::cut(service, port));
            }
            let endpoints = merge(&slices, port, family);
            let selection = select(&endpoints, surroundings.node);
            let uses_local = frontends.iter().any(|(_, kind)| EndpointScope::of(*kind, service).uses_local());
            drafts.push(Draft {
                family,
                port,
                frontends,
                cluster: selection.cluster,
                local: if uses_local { selection.local } else { Chosen::default() },
                on_this_node: selection.on_this_node,
                plain: selection.plain,
                serving: match port.protocol {
                    Protocol::Udp => serving(&endpoints),
                    Protocol::Tcp | Protocol::Sctp => Serving::default(),
                },
            });
        }
    }
    drafts
}

/// Whether only some sources may use the load balancer's addresses of this family; these sources; and the list that
/// holds them.
fn sources(
    service: &Service,
    family: Family,
    drafts: &[Draft<'_>],
    surroundings: &Surroundings<'_>,
    problems: &mut Vec<Problem>,
) -> (bool, Arc<[AddressRange]>, RangeList) {
    let of_family = drafts.iter().filter(|draft| draft.family == family);
    let frontends = of_family.flat_map(|draft| &draft.frontends);
    // Nearly always none, and then shared by all.
    let Some(mut sources) = allowed_sources(service, family, surroundings.node_ips) else {
        return (false, Arc::default(), list_for(&[], family, frontends, surroundings));
    };
    let most = admission::most_ranges(
        frontends.clone().filter(|(_, kind)| load_balancer_source_ranges::guard(*kind)).count(),
    );
    if sources.len() > most {
        note(problems, admission::too_many_ranges(service));
        sources.truncate(most);
    }
    let list = list_for(&sources, family, frontends, surroundings);
    (true, sources.into(), list)
}

/// Assigns at most `most` slots to endpoints.
fn place(
    service: &Service,
    prior: &Slots,
    chosen: Chosen,
    most: usize,
    problems: &mut Vec<Problem>,
) -> Vec<SocketAddr> {
    let (count, wanted) = (chosen.len(), Demand::new(chosen.slots(), 1, service.load_balancing).slots);
    if wanted > most {
        note(problems, admission::too_many_slots(service, count > most));
    }
    match service.load_balancing {
        LoadBalancing::Random => slots::assign(prior, chosen.spread(most)),
        LoadBalancing::SourceHash => {
            let size = maglev::size_within(wanted.min(most));
            maglev::table(&chosen.spread(size.into()), size)
        }
    }
}

/// The list for source ranges: the present list, or the other list if the present one holds other ranges.
fn list_for<'d>(
    sources: &[AddressRange],
    family: Family,
    frontends: impl Iterator<Item = &'d (FrontendKey, FrontendKind)>,
    surroundings: &Surroundings<'_>,
) -> RangeList {
    let same = |list: RangeList, present: &[AddressRange]| {
        if present.is_empty() || sources.is_empty() || present == sources { list } else { list.other() }
    };
    if let Some(prior) =
        surroundings.before.and_then(|before| before.ports.iter().find(|p| p.family == family))
    {
        return same(prior.range_list, &prior.sources);
    }
    let mut adopted = frontends.filter_map(|(key, _)| (surroundings.adopted)(key)?.sources.as_ref());
    adopted.next().map_or_else(RangeList::default, |(list, present)| same(*list, present))
}

/// The slots and endpoint ids that a port had before, or has in the kernel.
#[derive(Default)]
struct Prior {
    slots: FrontendSlots,
    affinity: Option<SessionAffinity>,
}

/// The ports of a Service as it was compiled before, by family, protocol and name.
struct PriorPorts<'a>(HashMap<(Family, Protocol, &'a str), &'a CompiledPort>);

impl<'a> PriorPorts<'a> {
    fn of(before: Option<&'a CompiledService>) -> Self {
        // Of several equal ports the first counts, so it is inserted last.
        let ports = before.into_iter().flat_map(|before| before.ports.iter().rev());
        Self(ports.map(|port| ((port.family, port.protocol, &*port.name), port)).collect())
    }
}

/// The slots that the endpoints of a port had before, or have in the kernel.
fn prior_slots(
    service: &Service,
    port: &ServicePort,
    family: Family,
    frontends: &[(FrontendKey, FrontendKind)],
    before: &PriorPorts<'_>,
    surroundings: &Surroundings<'_>,
) -> Prior {
    let known = |slots: &Placed| slots.iter().map(Some).collect();
    if let Some(prior) = before.0.get(&(family, port.protocol, &*port.name)) {
        let slots = FrontendSlots {
            plain: known(&prior.cluster),
            local: known(&prior.local),
            ..FrontendSlots::default()
        };
        return Prior { slots, affinity: prior.affinity.as_deref().cloned() };
    }
    let mut slots = FrontendSlots::default();
    for (key, kind) in frontends {
        let Some(adopted) = (surroundings.adopted)(key) else { continue };
        // A frontend that never leads to the endpoints of policy Cluster has those of policy Local at its plain slots.
        let local_at_plain = !EndpointScope::of(*kind, service).uses_cluster();
        let (plain, local) =
            if local_at_plain { (&slots.plain, &adopted.plain) } else { (&adopted.plain, &adopted.local) };
        if slots.plain.is_empty() {
            slots.plain = plain.clone();
        }
        if slots.local.is_empty() {
            slots.local = local.clone();
        }
        slots.port = slots.port.or(adopted.port);
        // Each frontend has the ids of the endpoints that it may lead to; all frontends together have every id.
        slots.endpoint_ids.extend(adopted.endpoint_ids.iter().map(|(number, endpoint)| (*number, *endpoint)));
    }
    Prior { slots, affinity: None }
}
