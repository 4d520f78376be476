//! The incremental compiler: takes the changes of the state, and returns the changes for the kernel.

mod account;
pub(super) mod cold_start;
pub(super) mod endpoint_counts;
mod flows;
mod held;
pub(super) mod metrics;
mod node_addresses;
mod patch;
mod rebuild;
mod touched;
mod transactions;

use std::{
    collections::{BTreeSet, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use foldhash::{HashMap, HashSet};
use ipnetwork::IpNetwork;

use crate::{
    frontends::{Claim, Claims, FrontendKey, FrontendKind, Rank, frontends_of, sort_by_rank},
    incremental::{Tracker, flows::Stale, plan::Retiring},
    model::{Node, ObjectName, Service},
    placement::{AdoptedSlots, PortNumbers},
    plane::{Class, Config, Keys, PerSet, PodDetector, SetName, constant_chains, size_for},
    ruleset::{Chain, Concat, Element, Family, Ruleset, Set, Table, Transaction},
    selection::load_balancer_source_ranges::{AddressRange, outermost},
    state::{ServiceState, State},
};

use self::{endpoint_counts::EndpointCounts, rebuild::Rebuild, touched::TouchedFlows};
use super::{
    problem::{self, Problem},
    service::{CompiledService, Surroundings, compile},
};

/// The outcome of compiling what changed.
#[derive(Debug, Default)]
pub struct Plan {
    /// The transactions to commit, in order. They leave out families that must be rebuilt ([`Compiler::rebuild`]).
    /// Objects that are no longer wanted are deleted later ([`Compiler::retire`]).
    pub steps: Vec<Transaction>,
    /// The problems of Services, each once.
    pub problems: Vec<Problem>,
    /// The destinations at which flows may be stale once the transactions are committed.
    pub stale: Stale,
    /// Number of changed Services that were compiled as a whole. For the others, only the changed endpoints were
    /// examined.
    pub recompiled: usize,
}

/// Compiles Services and keeps the results, so that the cost of an update is in proportion to the change.
#[derive(Clone, Debug)]
pub struct Compiler {
    config: Config,
    services: HashMap<ObjectName, CompiledService>,
    claims: Claims<FrontendKey>,
    tracker: Tracker,
    adopted: AdoptedSlots,
    /// The node's own addresses, which source ranges may admit.
    node_ips: Vec<IpAddr>,
    service_cidrs: BTreeSet<AddressRange>,
    port_numbers: [PortNumbers; Family::ALL.len()],
    number_origin: u16,
    declarations: PerSet<Arc<Set>>,
    flows: TouchedFlows,
    endpoint_counts: EndpointCounts,
    /// Objects that the kernel still holds although nothing leads to them any more.
    retiring: Retiring,
    /// Families that wait to be rebuilt.
    rebuilds: Vec<Rebuild>,
}

impl Compiler {
    /// A compiler that has compiled nothing yet.
    pub fn new(config: Config) -> Self {
        let declaration = |family, set: SetName| Arc::new(set.declaration(&config, family, size_for(0)));
        Self {
            declarations: PerSet::from_fn(declaration),
            config,
            services: HashMap::default(),
            claims: Claims::default(),
            tracker: Tracker::default(),
            adopted: AdoptedSlots::default(),
            node_ips: Vec::new(),
            service_cidrs: BTreeSet::new(),
            port_numbers: Default::default(),
            number_origin: 0,
            flows: TouchedFlows::default(),
            endpoint_counts: EndpointCounts::default(),
            retiring: Retiring::default(),
            rebuilds: Vec::new(),
        }
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Compiles the whole state. Endpoints keep the slots that they have in `kernel`, the ruleset that an earlier run
    /// left, and sets keep their sizes. Flows that began before this run may be stale at any UDP destination of the
    /// kernel's ruleset or the compiled one ([`crate::incremental::flows::destinations`]); for flows of other
    /// protocols, call [`Compiler::unlisted`].
    pub fn load(&mut self, state: &mut State, kernel: &Ruleset) -> Vec<Problem> {
        self.adopted = AdoptedSlots::of(kernel);
        let mut problems = Vec::new();
        state.clear_dirty();
        for family in Family::ALL {
            self.port_numbers[family as usize].reserve(self.adopted.port_numbers(family));
        }
        // In the order of rank, so that no Service adopts the slots of a frontend that another Service will own.
        let ranked = sort_by_rank(state.services());
        let fresh = self.services.is_empty();
        self.services.reserve(ranked.len());
        if fresh {
            self.claim_ahead(&ranked);
        }
        for (service, entry) in ranked {
            let before = (!fresh).then(|| self.services.remove(&service.name)).flatten();
            let service = (&service.name, Some(entry));
            let before = [before.as_ref(); 2];
            self.compile_one(state.node(), service, before, &mut VecDeque::new(), &mut problems);
        }
        self.adopted = AdoptedSlots::default();
        for numbers in &mut self.port_numbers {
            numbers.reserve(HashSet::default());
        }
        self.declare_sizes(kernel);
        self.tracker.track();
        self.tracker.take_changes();
        self.flows.clear();
        self.retiring.clear();
        self.rebuilds.clear();
        problems
    }

    /// After [`Compiler::load`]: compiles these Services again, so that their endpoints keep the slots that they have
    /// in `kernel`, which holds the kernel's elements of these Services. Not for Services with session affinity: their
    /// port numbers and endpoint ids are assigned at the first compilation.
    pub fn adopt(&mut self, state: &State, services: &[ObjectName], kernel: &Ruleset) -> Vec<Problem> {
        self.adopted = AdoptedSlots::of(kernel);
        let mut problems = Vec::new();
        for name in services {
            let before = self.services.remove(name);
            let named = (name, state.get(name));
            self.compile_one(
                state.node(),
                named,
                [before.as_ref(), None],
                &mut VecDeque::new(),
                &mut problems,
            );
        }
        self.adopted = AdoptedSlots::default();
        self.tracker.take_changes();
        self.flows.clear();
        problems
    }

    /// Compiles what changed in the state since the last call.
    pub fn update(&mut self, state: &mut State) -> Plan {
        self.tracker.track();
        let mut problems = Vec::new();
        let changed = state.take_changed();
        let mut whole = Vec::new();
        for (name, what) in &changed {
            let entry = state.get(name).filter(|_| what.only_slices);
            if !entry.is_some_and(|entry| self.patch(state.node(), (name, entry), &what.former)) {
                whole.push(name.clone());
            }
        }
        let recompiled = whole.len();
        self.compile_all(state, whole, &mut problems);
        let steps = self.plan();
        Plan { steps, problems, stale: self.take_stale(state, &changed), recompiled }
    }

    /// Sets the origin of port numbers and endpoint ids: new numbers are counted from there. If an earlier run left
    /// rules, choose an origin that earlier runs are unlikely to have used: clients are remembered for longer than an
    /// id is in use, and it is not known with which ids. Call this before [`Compiler::load`].
    pub fn set_number_origin(&mut self, origin: u16) {
        self.number_origin = origin;
        for family in Family::ALL {
            self.port_numbers[family as usize].start_after(origin);
        }
    }

    /// Sets how connections of pods are recognised; returns whether the setting changed. The rules that depend on it
    /// are not part of an update: compare with [`Compiler::ruleset`].
    pub fn set_pod_detector(&mut self, pods: PodDetector) -> bool {
        let is_new = self.config.pods != pods;
        self.config.pods = pods;
        is_new
    }

    /// Sets the node's own addresses, which decide whether source ranges admit the node.
    pub fn set_node_ips(&mut self, state: &mut State, node_ips: Vec<IpAddr>) {
        if self.node_ips != node_ips {
            self.node_ips = node_ips;
            state.touch(|service| !service.source_ranges.is_empty());
        }
    }

    /// Sets the networks that ClusterIPs are allocated from (ServiceCIDR objects). Packets to an address in these
    /// networks are dropped if no Service has the address, and no endpoint can have an address in them. Takes effect
    /// with the next update.
    pub fn set_service_cidrs(&mut self, state: &mut State, networks: &[IpNetwork]) {
        let ranges_of = |family| {
            let networks = networks.iter().filter(move |network| Family::of(network.ip()) == family);
            outermost(networks.map(|network| (network.network(), network.broadcast())).collect())
        };
        let families = self.config.families.iter().copied();
        let wanted: BTreeSet<AddressRange> = families.flat_map(ranges_of).collect();
        for range in self.service_cidrs.difference(&wanted) {
            let (key, element) = range_element(range);
            self.tracker.remove(Family::of(range.0), SetName::ServiceCidrs, key, element);
        }
        for range in wanted.difference(&self.service_cidrs) {
            let (key, element) = range_element(range);
            self.tracker.add(Family::of(range.0), SetName::ServiceCidrs, key, element);
        }
        if self.service_cidrs != wanted {
            state.set_service_cidrs(wanted.iter().copied().collect());
            self.service_cidrs = wanted;
        }
    }

    /// The Service that an element belongs to, if any.
    pub fn owner(&self, family: Family, set: SetName, key: &Concat) -> Option<&ObjectName> {
        let declaration = &self.declarations[(family, set)];
        let values = key.values(&declaration.key)?;
        let frontend = match set {
            SetName::Frontends | SetName::NodePorts => values.as_slice(),
            SetName::Endpoints
            | SetName::NodeEndpoints
            | SetName::Attributes
            | SetName::NodePortAttributes => values.split_last()?.1,
            _ => return None,
        };
        self.claims.owner(&FrontendKey::from_values(family, frontend)?)
    }

    /// The Service that owns a frontend.
    pub fn owner_of(&self, frontend: &FrontendKey) -> Option<&ObjectName> {
        self.claims.owner(frontend)
    }

    /// The tables of these families, without the elements.
    fn tables(&self, families: &[Family]) -> Ruleset {
        let mut ruleset = Ruleset::default();
        for &family in families {
            let mut table = Table::new(self.config.table.clone());
            for set in SetName::ALL {
                table.add_set(Set::clone(self.declaration(family, set)));
            }
            for chain in constant_chains(&self.config, family) {
                table.add_chain(chain);
            }
            for chain in self.classes(family).flat_map(|class| class.chains(&self.config, family)) {
                table.add_chain(chain);
            }
            ruleset.tables.insert(family, table);
        }
        ruleset
    }

    /// The chains with these names, and the chains that always exist, as the settings define them, regardless of the
    /// Services.
    pub fn chains(&self, family: Family, names: impl IntoIterator<Item: AsRef<str>>) -> Vec<Chain> {
        let classes: BTreeSet<Class> =
            names.into_iter().filter_map(|name| Class::of_chain(name.as_ref())).collect();
        let of_classes = classes.into_iter().flat_map(|class| class.chains(&self.config, family));
        constant_chains(&self.config, family).into_iter().chain(of_classes).collect()
    }

    fn classes(&self, family: Family) -> impl Iterator<Item = Class> {
        Class::CONSTANT.into_iter().chain(self.tracker.classes_in_use(family))
    }

    /// Emits all elements that the kernel must hold.
    pub fn each_element(&self, emit: &mut impl FnMut(Family, SetName, Concat, Element)) {
        self.each_element_but(&PerSet::default(), emit);
    }

    /// The same, except for the elements of the `unread` sets.
    pub(super) fn each_element_but(
        &self,
        unread: &PerSet<bool>,
        emit: &mut impl FnMut(Family, SetName, Concat, Element),
    ) {
        let mut emit = |family, set, key, element| {
            if !unread[(family, set)] {
                emit(family, set, key, element);
            }
        };
        // In the order of their keys, or nearly: sorted elements make a map fast.
        let owned = self.services.values().flat_map(CompiledService::owned);
        let mut frontends = Vec::with_capacity(self.claims.len());
        frontends.extend(owned.map(|(port, frontend)| (frontend.key, port, frontend)));
        frontends.sort_unstable_by_key(|(key, ..)| *key);
        // First the classes of all frontends, then the endpoints of all: elements of one set go into one message.
        for (_, port, frontend) in &frontends {
            for (set, key, element) in port.attributes(frontend) {
                emit(port.family, set, key, element);
            }
        }
        for (key, port, frontend) in frontends {
            if unread[(port.family, Keys::of(&key).endpoints())] {
                continue; // Most elements by far.
            }
            port.slot_elements(frontend, &mut |set, key, element| emit(port.family, set, key, element));
        }
        for (family, set, key) in self.tracker.shared_elements() {
            emit(family, set, key, Element::member());
        }
        for range in &self.service_cidrs {
            let (key, element) = range_element(range);
            emit(Family::of(range.0), SetName::ServiceCidrs, key, element);
        }
        for &family in &self.config.families {
            for class in self.classes(family) {
                let (key, element) = class_verdict(class);
                emit(family, class.verdict_map(), key, element);
            }
        }
    }

    fn compile_all(
        &mut self,
        state: &State,
        names: impl IntoIterator<Item = ObjectName>,
        problems: &mut Vec<Problem>,
    ) {
        let mut queue: VecDeque<ObjectName> = names.into_iter().collect();
        while let Some(name) = queue.pop_front() {
            let before = self.services.remove(&name);
            let before = [before.as_ref(); 2];
            self.compile_one(state.node(), (&name, state.get(&name)), before, &mut queue, problems);
        }
    }

    /// Claims the load balancer addresses, in order of rank, before any Service is compiled, so that they win over
    /// externalIPs of Services that are compiled earlier. After that, a Service that is granted a frontend keeps it.
    pub(super) fn claim_ahead(&mut self, ranked: &[(&Service, &ServiceState)]) {
        self.claims.reserve(ranked.len());
        for (service, entry) in ranked.iter().filter(|(service, _)| !service.load_balancer_ips.is_empty()) {
            let Some(rank) = entry.service.clone().map(Rank::of) else { continue };
            let families = &self.config.families;
            let of_port = |port| families.iter().flat_map(move |family| frontends_of(service, port, *family));
            for (key, kind) in service.ports.iter().flat_map(of_port) {
                if kind == FrontendKind::LoadBalancer
                    && problem::not_ours(service, entry, &key, kind).is_none()
                {
                    self.claims.claim(key, &rank);
                }
            }
        }
    }

    /// Compiles one Service. `before` is its previous version; `kept` is the same if endpoints are to keep their slots
    /// of that version, and `None` otherwise. Services that gain a frontend by this join the queue.
    fn compile_one(
        &mut self,
        node: &Node,
        (name, entry): (&ObjectName, Option<&ServiceState>),
        [before, kept]: [Option<&CompiledService>; 2],
        queue: &mut VecDeque<ObjectName>,
        problems: &mut Vec<Problem>,
    ) {
        let mut after = entry.and_then(|entry| {
            let adopted = |key: &FrontendKey| {
                let free = self.claims.owner(key).is_none_or(|owner| owner == name);
                self.adopted.get(key).filter(|_| free)
            };
            let mut surroundings = Surroundings {
                families: &self.config.families,
                node,
                node_ips: &self.node_ips,
                before: kept,
                adopted: &adopted,
                number_origin: self.number_origin,
                port_number: &mut |family, adopted| {
                    let numbers = &mut self.port_numbers[family as usize];
                    adopted.filter(|number| numbers.adopt(*number)).or_else(|| numbers.take())
                },
            };
            Some(compile(entry.service.as_ref()?, entry, &mut surroundings))
        });
        let is_news = |problem: &&Problem| before.is_none_or(|before| !before.problems.contains(problem));
        problems.extend(after.iter().flat_map(|after| &after.problems).filter(is_news).cloned());

        if let Some(before) = before {
            let rank = before.rank();
            let kept: BTreeSet<(FrontendKey, FrontendKind)> = after
                .iter()
                .filter(|after| after.rank() == rank)
                .flat_map(|after| {
                    after.ports.iter().flat_map(|p| p.frontends.iter().map(|f| (f.key, f.kind)))
                })
                .collect();
            for frontend in before.ports.iter().flat_map(|p| &p.frontends) {
                if !kept.contains(&(frontend.key, frontend.kind)) {
                    queue.extend(self.claims.release(&frontend.key, &rank));
                }
            }
        }
        if let Some(after) = &mut after {
            let rank = after.rank();
            for frontend in after.ports.iter_mut().flat_map(|p| &mut p.frontends) {
                let holder = match self.claims.claim(frontend.key, &rank) {
                    Claim::HeldBy(holder) => holder,
                    Claim::Granted => {
                        frontend.owned = true;
                        continue;
                    }
                    Claim::TakenFrom(loser) => {
                        frontend.owned = true;
                        self.withdraw(loser.name(), &frontend.key);
                        problems.push(problem::contested(&frontend.key, &loser, &rank));
                        continue;
                    }
                };
                let known = before.iter().flat_map(|b| b.ports.iter().flat_map(|p| &p.frontends));
                if !known.into_iter().any(|f| f.key == frontend.key && !f.owned) {
                    problems.push(problem::contested(&frontend.key, &rank, &holder));
                }
            }
        }
        self.release_port_numbers(before, after.as_ref());
        self.account(before, after.as_ref());
        self.endpoint_counts.account(before, after.as_ref());
        if let Some(after) = after {
            self.services.insert(name.clone(), after);
        }
    }

    /// Releases the port numbers of ports that have no session affinity any more.
    fn release_port_numbers(&mut self, before: Option<&CompiledService>, after: Option<&CompiledService>) {
        if !before.is_some_and(|before| before.ports.iter().any(|port| port.affinity.is_some())) {
            return;
        }
        let numbers = |service: Option<&CompiledService>| -> BTreeSet<(Family, u16)> {
            let ports = service.into_iter().flat_map(|service| &service.ports);
            ports.filter_map(|port| Some((port.family, port.affinity.as_ref()?.port))).collect()
        };
        for (family, number) in numbers(before).difference(&numbers(after)) {
            self.port_numbers[*family as usize].release(*number);
        }
    }

    /// The declaration of a set.
    pub fn declaration(&self, family: Family, set: SetName) -> &Arc<Set> {
        &self.declarations[(family, set)]
    }

    /// Declares sizes for the present numbers of elements, or keeps the sizes that the kernel has if they are enough.
    fn declare_sizes(&mut self, kernel: &Ruleset) {
        self.declarations = PerSet::from_fn(|family, set| {
            let count = self.tracker.count(family, set);
            let current = kernel.tables.get(&family).and_then(|table| table.sets.get(set.name())?.size);
            let size = current.filter(|size| *size >= count).unwrap_or_else(|| size_for(count));
            Arc::new(set.declaration(&self.config, family, size))
        });
    }
}

fn range_element((first, last): &AddressRange) -> (Concat, Element) {
    let end = Some(Box::new(Concat::new(&[(*last).into()])));
    (Concat::new(&[(*first).into()]), Element { end, ..Element::member() })
}

fn class_verdict(class: Class) -> (Concat, Element) {
    (Concat::new(&[class.id().into()]), Element::verdict(class.verdict()))
}
