//! Compiles one Service.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use foldhash::{HashMap, HashSet};

use crate::{
    frontends::{Door, FrontendKey, Rank, frontends},
    incremental::flows::Serving,
    model::{LoadBalancing, Node, ObjectName, Protocol, Service, ServicePort, TrafficPolicy},
    placement::{FrontendSlots, Placed, Slots, Sticky, maglev, slots},
    plane::{Pick, RangeList, SetName},
    ruleset::{COMMENT_MAX, Family},
    selection::{AddressRange, Chosen, SlicesByPort, Topology, allowed_sources, merge, select, serving},
    state::ServiceState,
};

use super::{
    admission::{self, Demand},
    port::{CompiledPort, Frontend, FrontendSlotUse, Picks, comment_length},
};

/// Something about a Service that its owner should know; the rest of it is programmed all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether something is not programmed as the Service asks.
    pub severity: Severity,
    /// The Service.
    pub service: ObjectName,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
}

/// How much a [`Problem`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something is not programmed as the Service asks.
    Error,
    /// Everything is, or a part is left out that could not work; there is something to know.
    Notice,
}

impl Problem {
    pub(super) fn error(service: &ObjectName, message: String) -> Self {
        Self { severity: Severity::Error, service: service.clone(), message }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Service {}: {}", self.service, self.message)
    }
}

/// A compiled Service.
#[derive(Clone, Debug)]
pub struct CompiledService {
    /// As it was when it was compiled.
    pub service: Arc<Service>,
    pub ports: Vec<CompiledPort>,
    /// Address of each endpoint on this node, once.
    pub hairpin: Box<[IpAddr]>,
    /// What is wrong with the Service itself, each once.
    pub problems: Box<[Problem]>,
}

impl CompiledService {
    /// Its rank among those that claim the same frontends.
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

/// What a Service is compiled against.
pub struct Surroundings<'a, Adopted> {
    /// The families that are served ([`Config::families`](crate::plane::Config::families)).
    pub families: &'a [Family],
    /// The node.
    pub node: &'a Node,
    /// The node's own addresses, for source ranges.
    pub node_ips: &'a [IpAddr],
    /// What was compiled before.
    pub before: Option<&'a CompiledService>,
    /// Slots that an earlier run left, of a frontend that is free.
    pub adopted: Adopted,
    /// After which number endpoints that an earlier run did not number are numbered.
    pub number_origin: u16,
    /// Gives out a number for a ServicePort with session affinity: the adopted one if it is free.
    pub port_number: &'a mut dyn FnMut(Family, Option<u16>) -> Option<u16>,
}

/// Compiles a Service. No frontend is owned yet. Endpoints keep the slots that they had.
pub fn compile<'a, Adopted>(
    service: &Arc<Service>,
    state: &ServiceState,
    surroundings: &mut Surroundings<'a, Adopted>,
) -> CompiledService
where
    Adopted: Fn(&FrontendKey) -> Option<&'a FrontendSlots>,
{
    let mut problems = admission::problems(service);
    let admitted = admission::admitted(service);
    let drafts = drafts(&admitted, state, surroundings, &mut problems);
    note_left_out(service, state, &mut problems);
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
        let Draft { family, port, doors, .. } = draft;
        let (restricted, sources, list) = &sources[family as usize];
        let prior = prior_slots(service, port, family, &doors, &known, surroundings);
        let mut place = |prior: &Slots, chosen: Chosen| place(service, prior, chosen, most, &mut problems);
        let cluster = place(&prior.slots.plain, draft.cluster);
        let local = place(&prior.slots.local, draft.local);
        let sticky = service.affinity_timeout.and_then(|timeout| {
            let number = prior.sticky.as_ref().map(|s| s.port).or_else(|| {
                let taken = (surroundings.port_number)(family, prior.slots.port);
                if taken.is_none() {
                    let message = "too many ports have session affinity; this one goes without".into();
                    note(&mut problems, Problem::error(&service.name, message));
                }
                taken
            })?;
            let known = prior.sticky.or_else(|| Sticky::adopt(&prior.slots, surroundings.number_origin));
            Some(Sticky::new(number, admission::affinity_timeout(timeout), known, &[&cluster, &local]))
        });
        let pick = |slots: &[SocketAddr]| {
            let pick = Pick::of_slots(slots.len(), service.load_balancing)?;
            Some(sticky.as_ref().map_or(pick, |sticky| Pick::Sticky(sticky.timeout)))
        };
        let picks = Picks { cluster: pick(&cluster), local: pick(&local) };
        // Others depend on all endpoints for more than who is chosen.
        let is_plain = port.protocol != Protocol::Udp
            && service.load_balancing == LoadBalancing::Random
            && service.affinity_timeout.is_none()
            && wanted <= admission::MOST_SLOTS;
        ports.push(CompiledPort {
            family,
            name: port.name.clone(),
            protocol: port.protocol,
            service: service.clone(),
            frontends: doors
                .into_iter()
                .map(|(key, door)| Frontend::new(key, door, service, picks, restricted.then_some(*list)))
                .collect(),
            cluster: Placed::new(family, &cluster),
            local: Placed::new(family, &local),
            plain: draft.plain.filter(|_| is_plain),
            load_balancing: service.load_balancing,
            sticky: sticky.map(Box::new),
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
    doors: Vec<(FrontendKey, Door)>,
    cluster: Chosen,
    /// Those of policy Local; none if no frontend is under it.
    local: Chosen,
    on_this_node: Vec<IpAddr>,
    plain: Option<Topology>,
    serving: Serving,
}

impl Draft<'_> {
    /// How many slots its endpoints ask for.
    fn demands(&self, service: &Service) -> [Demand; 2] {
        let count = |uses: &[FrontendSlotUse]| {
            let used = |(_, door): &&(FrontendKey, Door)| uses.contains(&FrontendSlotUse::of(*door, service));
            self.doors.iter().filter(used).count()
        };
        let demand =
            |chosen: &Chosen, frontends| Demand::new(chosen.slots(), frontends, service.load_balancing);
        [
            demand(&self.cluster, count(&[FrontendSlotUse::Cluster, FrontendSlotUse::Both])),
            demand(&self.local, count(&[FrontendSlotUse::Local, FrontendSlotUse::Both])),
        ]
    }
}

/// All ports of a Service in the families that are served.
fn drafts<'a, Adopted>(
    service: &'a Service,
    state: &ServiceState,
    surroundings: &Surroundings<'_, Adopted>,
    problems: &mut Vec<Problem>,
) -> Vec<Draft<'a>> {
    let slices = SlicesByPort::of_service(state);
    let mut drafts = Vec::with_capacity(service.ports.len() * service.cluster_ips.len());
    let mut taken = HashSet::default();
    for &family in surroundings.families {
        for port in &service.ports {
            let mut doors = frontends(service, port, family);
            if doors.is_empty() {
                continue;
            }
            doors.retain(|(key, door)| match not_ours(service, state, key, *door) {
                Some(problem) => {
                    note(problems, problem);
                    false
                }
                None => true,
            });
            // The API server refuses a Service with two equal ports; a manifest can still say it.
            doors.retain(|(key, _)| {
                let first = service.ports.len() == 1 || taken.insert(*key);
                if !first {
                    note(problems, repeated(service, port, key));
                }
                first
            });
            if comment_length(&service.name, &port.name) > COMMENT_MAX {
                note(problems, cut(service, port));
            }
            let endpoints = merge(&slices, port, family);
            let selection = select(&endpoints, surroundings.node);
            let uses_local = doors.iter().any(|(_, door)| policy(service, *door) == TrafficPolicy::Local);
            drafts.push(Draft {
                family,
                port,
                doors,
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

/// Whether the load balancer's addresses are for some sources only in this family, and which; and the list in which they
/// stand.
fn sources<'a, Adopted>(
    service: &Service,
    family: Family,
    drafts: &[Draft<'_>],
    surroundings: &Surroundings<'a, Adopted>,
    problems: &mut Vec<Problem>,
) -> (bool, Arc<[AddressRange]>, RangeList)
where
    Adopted: Fn(&FrontendKey) -> Option<&'a FrontendSlots>,
{
    let of_family = drafts.iter().filter(|draft| draft.family == family);
    let doors = of_family.flat_map(|draft| &draft.doors);
    // Nearly always none, and then shared by all.
    let Some(mut sources) = allowed_sources(service, family, surroundings.node_ips) else {
        return (false, Arc::default(), list_for(&[], family, doors, surroundings));
    };
    let most = admission::most_ranges(doors.clone().filter(|(_, door)| *door == Door::LoadBalancer).count());
    if sources.len() > most {
        note(problems, admission::too_many_ranges(service));
        sources.truncate(most);
    }
    let list = list_for(&sources, family, doors, surroundings);
    (true, sources.into(), list)
}

/// Gives endpoints slots, `most` of them at most.
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

fn repeated(service: &Service, port: &ServicePort, key: &FrontendKey) -> Problem {
    let message =
        format!("port {:?} has {key}, as a port before it does, and is not served there", port.name);
    Problem::error(&service.name, message)
}

/// The problem with a frontend at another Service's ClusterIP, which is not served.
pub fn not_ours(service: &Service, state: &ServiceState, key: &FrontendKey, door: Door) -> Option<Problem> {
    let FrontendKey::Address(address, ..) = key else { return None };
    let other = state.cluster_ip_of(*address)?;
    let field = door.field();
    let message =
        format!("{field}: {address} is the ClusterIP of Service {other}; not programmed for this one");
    Some(Problem::error(&service.name, message))
}

/// Says in one line which endpoints are none.
fn note_left_out(service: &Service, state: &ServiceState, problems: &mut Vec<Problem>) {
    let is_served =
        |address: &IpAddr| service.cluster_ips.iter().any(|ip| Family::of(*ip) == Family::of(*address));
    let mut left_out = state.left_out().filter(|(address, _)| is_served(address));
    let Some((address, owner)) = left_out.next() else { return };
    let why = match owner {
        Some(owner) => format!("is the ClusterIP of Service {owner}"),
        None => "is in a ServiceCIDR".into(),
    };
    let more = match left_out.count() {
        0 => String::new(),
        more => format!(", and so are {more} more"),
    };
    let message = format!("endpoint {address} {why}, which no endpoint can be; left out{more}");
    note(problems, Problem { severity: Severity::Notice, service: service.name.clone(), message });
}

fn policy(service: &Service, door: Door) -> TrafficPolicy {
    match door {
        Door::ClusterIp => service.internal_policy,
        _ => service.external_policy,
    }
}

/// The list for source ranges: the one in which they stand already, or the other one if others stand there.
fn list_for<'a, 'd, Adopted>(
    sources: &[AddressRange],
    family: Family,
    doors: impl Iterator<Item = &'d (FrontendKey, Door)>,
    surroundings: &Surroundings<'a, Adopted>,
) -> RangeList
where
    Adopted: Fn(&FrontendKey) -> Option<&'a FrontendSlots>,
{
    let same = |list: RangeList, present: &[AddressRange]| {
        if present.is_empty() || sources.is_empty() || present == sources { list } else { list.other() }
    };
    if let Some(prior) =
        surroundings.before.and_then(|before| before.ports.iter().find(|p| p.family == family))
    {
        return same(prior.range_list, &prior.sources);
    }
    let mut adopted = doors.filter_map(|(key, _)| (surroundings.adopted)(key)?.sources.as_ref());
    adopted.next().map_or_else(RangeList::default, |(list, present)| same(*list, present))
}

/// What a port had before, or has in the kernel.
#[derive(Default)]
struct Prior {
    slots: FrontendSlots,
    sticky: Option<Sticky>,
}

/// The ports of a Service as it was compiled before, by what a port is known by.
struct PriorPorts<'a>(HashMap<(Family, Protocol, &'a str), &'a CompiledPort>);

impl<'a> PriorPorts<'a> {
    fn of(before: Option<&'a CompiledService>) -> Self {
        // Of several that are alike the first counts, so it is put in last.
        let ports = before.into_iter().flat_map(|before| before.ports.iter().rev());
        Self(ports.map(|port| ((port.family, port.protocol, &*port.name), port)).collect())
    }
}

/// The slots that the endpoints of a port had before, or have in the kernel.
fn prior_slots<'a, Adopted>(
    service: &Service,
    port: &ServicePort,
    family: Family,
    doors: &[(FrontendKey, Door)],
    before: &PriorPorts<'_>,
    surroundings: &Surroundings<'a, Adopted>,
) -> Prior
where
    Adopted: Fn(&FrontendKey) -> Option<&'a FrontendSlots>,
{
    let known = |slots: &Placed| slots.iter().map(Some).collect();
    if let Some(prior) = before.0.get(&(family, port.protocol, &*port.name)) {
        let slots = FrontendSlots {
            plain: known(&prior.cluster),
            local: known(&prior.local),
            ..FrontendSlots::default()
        };
        return Prior { slots, sticky: prior.sticky.as_deref().cloned() };
    }
    let mut slots = FrontendSlots::default();
    for (key, door) in doors {
        let Some(adopted) = (surroundings.adopted)(key) else { continue };
        // A ClusterIP under policy Local has the Local endpoints at its plain slots.
        let local_at_plain = *door == Door::ClusterIp && policy(service, *door) == TrafficPolicy::Local;
        let (plain, local) =
            if local_at_plain { (&slots.plain, &adopted.plain) } else { (&adopted.plain, &adopted.local) };
        if slots.plain.is_empty() {
            slots.plain = plain.clone();
        }
        if slots.local.is_empty() {
            slots.local = local.clone();
        }
        slots.port = slots.port.or(adopted.port);
        // Each frontend has the lasting numbers of the endpoints that it may lead to; together, of all.
        slots.lasting.extend(adopted.lasting.iter().map(|(number, endpoint)| (*number, *endpoint)));
    }
    Prior { slots, sticky: None }
}

/// Both families of a port have the same to say. Of very many ports, not each is told of.
fn note(problems: &mut Vec<Problem>, problem: Problem) {
    if problems.len() < admission::MOST_PROBLEMS && !problems.contains(&problem) {
        problems.push(problem);
    }
}

fn cut(service: &Service, port: &ServicePort) -> Problem {
    let message = format!(
        "port {:?}: namespace, name and port are longer than a comment in the kernel may be; it is cut at {COMMENT_MAX} bytes",
        port.name
    );
    Problem { severity: Severity::Notice, service: service.name.clone(), message }
}
