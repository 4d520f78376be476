//! Compiles one Service.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    endpoints::{merge, select, serving},
    flows::Serving,
    model::{LoadBalancing, Node, ObjectName, Protocol, Service, ServicePort, TrafficPolicy},
    ruleset::{COMMENT_MAX, Family},
    state::ServiceState,
};

use super::{
    adopt::{FrontendSlots, Slots},
    claims::Rank,
    frontend::{Door, FrontendKey, frontends},
    maglev,
    pick::Pick,
    placed::Placed,
    port::{CompiledPort, Frontend, Picks, comment_length},
    sets::SetName,
    slots,
    sources::allowed_sources,
    sticky::Sticky,
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
    let mut ports = Vec::with_capacity(service.ports.len() * service.cluster_ips.len());
    let mut hairpin = Vec::new();
    let mut all_problems = Vec::new();
    let problems = &mut all_problems;
    let mut taken = HashSet::new();
    for family in Family::ALL {
        let sources = allowed_sources(service, family, surroundings.node_ips);
        let restricted = sources.is_some();
        // Nearly always empty, and then shared by all.
        let sources: Arc<[_]> = sources.map_or_else(Arc::default, Arc::from);
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
            let endpoints = merge(state, port, family);
            let selection = select(&endpoints, surroundings.node);
            hairpin.extend(selection.on_this_node);
            let prior = prior_slots(service, port, family, &doors, surroundings);
            let uses_local = doors.iter().any(|(_, door)| policy(service, *door) == TrafficPolicy::Local);
            let local = if uses_local { selection.local } else { Vec::new() };
            let mut place = |prior: &Slots, endpoints: Vec<SocketAddr>| {
                let endpoints = capped(service, port, endpoints, problems);
                match service.load_balancing {
                    LoadBalancing::SourceHash => {
                        maglev::table(&endpoints, maglev::table_size(endpoints.len()))
                    }
                    LoadBalancing::Random => slots::assign(prior, endpoints),
                }
            };
            let cluster = place(&prior.slots.plain, selection.cluster);
            let local = place(&prior.slots.local, local);
            let sticky = service.affinity_timeout.and_then(|timeout| {
                let number = prior.sticky.as_ref().map(|s| s.port).or_else(|| {
                    let taken = (surroundings.port_number)(family, prior.slots.port);
                    if taken.is_none() {
                        let message = "too many ports have session affinity; this one goes without".into();
                        note(problems, Problem::error(&service.name, message));
                    }
                    taken
                })?;
                let known = prior.sticky.or_else(|| Sticky::adopt(&prior.slots, surroundings.number_origin));
                Some(Sticky::new(number, timeout, known, &[&cluster, &local]))
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
                && cluster.len() < usize::from(u16::MAX);
            ports.push(CompiledPort {
                family,
                name: port.name.clone(),
                protocol: port.protocol,
                service: service.clone(),
                frontends: doors
                    .into_iter()
                    .map(|(key, door)| Frontend::new(key, door, service, picks, restricted))
                    .collect(),
                cluster: Placed::new(family, &cluster),
                local: Placed::new(family, &local),
                plain: selection.plain.filter(|_| is_plain),
                load_balancing: service.load_balancing,
                sticky: sticky.map(Box::new),
                serving: match port.protocol {
                    Protocol::Udp => serving(&endpoints),
                    Protocol::Tcp | Protocol::Sctp => Serving::default(),
                },
                sources: sources.clone(),
            });
        }
    }
    note_left_out(service, state, problems);
    hairpin.sort_unstable();
    hairpin.dedup();
    CompiledService {
        service: service.clone(),
        ports,
        hairpin: hairpin.into(),
        problems: all_problems.into(),
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

/// What a port had before, or has in the kernel.
#[derive(Default)]
struct Prior {
    slots: FrontendSlots,
    sticky: Option<Sticky>,
}

/// The slots that the endpoints of a port had before, or have in the kernel.
fn prior_slots<'a, Adopted>(
    service: &Service,
    port: &ServicePort,
    family: Family,
    doors: &[(FrontendKey, Door)],
    surroundings: &Surroundings<'a, Adopted>,
) -> Prior
where
    Adopted: Fn(&FrontendKey) -> Option<&'a FrontendSlots>,
{
    let known = |slots: &Placed| slots.iter().map(Some).collect();
    let same = |p: &&CompiledPort| p.family == family && p.protocol == port.protocol && p.name == port.name;
    if let Some(prior) = surroundings.before.and_then(|before| before.ports.iter().find(same)) {
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

/// Both families of a port have the same to say.
fn note(problems: &mut Vec<Problem>, problem: Problem) {
    if !problems.contains(&problem) {
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

/// A class counts endpoints with 16 bits.
fn capped(
    service: &Service,
    port: &ServicePort,
    mut endpoints: Vec<SocketAddr>,
    problems: &mut Vec<Problem>,
) -> Vec<SocketAddr> {
    let most = usize::from(u16::MAX);
    if endpoints.len() > most {
        let message =
            format!("port {:?} has {} endpoints, of which {most} are used", port.name, endpoints.len());
        note(problems, Problem::error(&service.name, message));
        endpoints.truncate(most);
    }
    endpoints
}
