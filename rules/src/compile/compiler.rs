//! The incremental compiler: what changed in the state, in; what to change in the kernel, out.

mod flows;

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnetwork::IpNetwork;

use crate::{
    model::ObjectName,
    ruleset::{Chain, Concat, Element, Family, Ruleset, Set, Table},
    state::State,
    transaction::{Operation, Transaction},
};

use super::{
    adopt::AdoptedSlots,
    claims::{Claim, Claims, Rank},
    class::Class,
    config::Config,
    delta::Ledger,
    frontend::{FrontendKey, endpoint_value},
    port::{CompiledPort, Frontend},
    scaffold::constant_chains,
    service::{CompiledService, Problem, Surroundings, compile},
    sets::{SetName, size_for},
    sources::{AddressRange, disjoint},
    sticky::PortNumbers,
};
use flows::TouchedFlows;

/// The outcome of compiling what changed.
#[derive(Debug, Default)]
pub struct Update {
    /// What to send to the kernel.
    pub transaction: Transaction,
    /// What is wrong with which Service, each said once.
    pub problems: Vec<Problem>,
    /// UDP destinations that began or ceased to be a frontend, or lost an endpoint: flows to them may be
    /// stale once the transaction is committed. [`Compiler::flows`] says which.
    pub stale: BTreeSet<SocketAddr>,
}

/// Compiles Services and remembers the outcome, so that a change costs what it changes.
#[derive(Debug)]
pub struct Compiler {
    config: Config,
    services: HashMap<ObjectName, CompiledService>,
    claims: Claims,
    ledger: Ledger,
    adopted: AdoptedSlots,
    /// The node's own addresses, which source ranges may let in.
    node_ips: Vec<IpAddr>,
    service_cidrs: BTreeSet<AddressRange>,
    port_numbers: HashMap<Family, PortNumbers>,
    declarations: HashMap<(Family, SetName), Arc<Set>>,
    flows: TouchedFlows,
}

impl Compiler {
    /// A compiler that has compiled nothing yet.
    pub fn new(config: Config) -> Self {
        let mut compiler = Self {
            config,
            services: HashMap::new(),
            claims: Claims::default(),
            ledger: Ledger::default(),
            adopted: AdoptedSlots::default(),
            node_ips: Vec::new(),
            service_cidrs: BTreeSet::new(),
            port_numbers: HashMap::new(),
            declarations: HashMap::new(),
            flows: TouchedFlows::default(),
        };
        compiler.declare_sizes(None);
        compiler
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Compiles the whole state. Endpoints keep the slots, and sets the sizes, that they have in
    /// `kernel`, the ruleset that an earlier run left. Flows that this run has not seen begin may be stale
    /// at any UDP destination of the kernel's ruleset or the compiled one ([`crate::flows::destinations`]).
    pub fn load(&mut self, state: &mut State, kernel: &Ruleset) -> Vec<Problem> {
        self.adopted = AdoptedSlots::of(kernel);
        let mut problems = Vec::new();
        state.take_dirty();
        for family in Family::ALL {
            self.port_numbers.entry(family).or_default().reserve(self.adopted.port_numbers(family));
        }
        // In the order of rank, so that nobody adopts the slots of a frontend that will be another's.
        let mut ranked: Vec<_> = state.services().map(Rank::of).collect();
        ranked.sort_unstable();
        for rank in ranked {
            self.compile_one(state, &rank.name, &mut VecDeque::new(), &mut problems);
        }
        self.adopted = AdoptedSlots::default();
        for numbers in self.port_numbers.values_mut() {
            numbers.reserve(HashSet::new());
        }
        self.declare_sizes(Some(kernel));
        self.ledger.track();
        self.ledger.take_changes();
        self.flows = TouchedFlows::default();
        problems
    }

    /// Compiles what changed in the state since the last call.
    pub fn update(&mut self, state: &mut State) -> Update {
        self.ledger.track();
        let mut problems = Vec::new();
        let dirty = state.take_dirty();
        self.compile_all(state, dirty, &mut problems);
        Update { transaction: self.transaction(), problems, stale: self.take_stale() }
    }

    /// Sets the addresses of this node that answer node ports. Takes effect with the next update.
    pub fn set_node_addresses(&mut self, wanted: &BTreeSet<IpAddr>) {
        let current = self.ledger.addresses(SetName::NodeAddresses);
        for address in wanted.iter().filter(|address| !current.contains(address)) {
            self.ledger.retain_address(SetName::NodeAddresses, *address);
            self.touch_node_address(*address);
        }
        for address in current.iter().filter(|address| !wanted.contains(address)) {
            self.ledger.release_address(SetName::NodeAddresses, *address);
            self.touch_node_address(*address);
        }
    }

    /// Sets the node's own addresses, which decide whether source ranges let the node in.
    pub fn set_node_ips(&mut self, state: &mut State, node_ips: Vec<IpAddr>) {
        if self.node_ips != node_ips {
            self.node_ips = node_ips;
            state.touch(|service| !service.source_ranges.is_empty());
        }
    }

    /// Sets the networks that ClusterIPs are allocated from (ServiceCIDR objects): whoever asks for an
    /// address in them that no Service has meets silence. Takes effect with the next update.
    pub fn set_service_cidrs(&mut self, networks: &[IpNetwork]) {
        let ranges_of = |family| {
            let networks = networks.iter().filter(move |network| Family::of(network.ip()) == family);
            disjoint(networks.map(|network| (network.network(), network.broadcast())).collect())
        };
        let wanted: BTreeSet<AddressRange> = Family::ALL.into_iter().flat_map(ranges_of).collect();
        for range in self.service_cidrs.difference(&wanted) {
            let (key, element) = range_element(range);
            self.ledger.remove(Family::of(range.0), SetName::ServiceCidrs, key, element);
        }
        for range in wanted.difference(&self.service_cidrs) {
            let (key, element) = range_element(range);
            self.ledger.add(Family::of(range.0), SetName::ServiceCidrs, key, element);
        }
        self.service_cidrs = wanted;
    }

    /// The Service that an element belongs to, if it belongs to one.
    pub fn owner(&self, family: Family, set: SetName, key: &Concat) -> Option<&ObjectName> {
        let declaration = self.declarations.get(&(family, set))?;
        let values = key.values(&declaration.key)?;
        let frontend = match set {
            SetName::Frontends | SetName::NodePorts => values.as_slice(),
            SetName::Endpoints | SetName::NodeEndpoints => values.split_last()?.1,
            _ => return None,
        };
        self.claims.owner(&FrontendKey::from_values(family, frontend)?)
    }

    /// Everything that the kernel must hold.
    pub fn ruleset(&self) -> Ruleset {
        let mut ruleset = Ruleset::default();
        for family in Family::ALL {
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
        self.each_element(&mut |family, set, key, element| {
            let table = ruleset.tables.get_mut(&family);
            if let Some(set) = table.and_then(|t| t.sets.get_mut(set.name())) {
                set.elements.insert(key, element);
            }
        });
        ruleset
    }

    fn classes(&self, family: Family) -> impl Iterator<Item = Class> {
        Class::CONSTANT.into_iter().chain(self.ledger.classes_in_use(family))
    }

    fn each_element(&self, emit: &mut impl FnMut(Family, SetName, Concat, Element)) {
        for (port, frontend) in self.services.values().flat_map(CompiledService::owned) {
            port.elements(frontend, &mut |set, key, element| emit(port.family, set, key, element));
        }
        for (family, set, key) in self.ledger.shared_elements() {
            emit(family, set, key, Element::member());
        }
        for range in &self.service_cidrs {
            let (key, element) = range_element(range);
            emit(Family::of(range.0), SetName::ServiceCidrs, key, element);
        }
        for family in Family::ALL {
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
            self.compile_one(state, &name, &mut queue, problems);
        }
    }

    /// Compiles one Service; those that gain or lose a frontend by it join the queue.
    fn compile_one(
        &mut self,
        state: &State,
        name: &ObjectName,
        queue: &mut VecDeque<ObjectName>,
        problems: &mut Vec<Problem>,
    ) {
        let before = self.services.remove(name);
        let mut after = state.get(name).and_then(|entry| {
            let adopted = |key: &FrontendKey| {
                let free = self.claims.owner(key).is_none_or(|owner| owner == name);
                self.adopted.get(key).filter(|_| free)
            };
            let mut surroundings = Surroundings {
                node: state.node(),
                node_ips: &self.node_ips,
                before: before.as_ref(),
                adopted,
                port_number: &mut |family, adopted| {
                    let numbers = self.port_numbers.entry(family).or_default();
                    adopted.filter(|number| numbers.adopt(*number)).or_else(|| numbers.take())
                },
            };
            Some(compile(entry.service.as_ref()?, entry, &mut surroundings, problems))
        });

        if let Some(before) = &before {
            let kept: BTreeSet<FrontendKey> = after
                .iter()
                .filter(|after| after.rank == before.rank)
                .flat_map(|after| after.ports.iter().flat_map(|p| p.frontends.iter().map(|f| f.key)))
                .collect();
            for frontend in before.ports.iter().flat_map(|p| &p.frontends) {
                if !kept.contains(&frontend.key) {
                    queue.extend(self.claims.release(&frontend.key, &before.rank));
                }
            }
        }
        if let Some(after) = &mut after {
            let rank = after.rank.clone();
            for frontend in after.ports.iter_mut().flat_map(|p| &mut p.frontends) {
                let holder = match self.claims.claim(frontend.key, &rank) {
                    Claim::HeldBy(holder) => holder,
                    Claim::Granted => {
                        frontend.owned = true;
                        continue;
                    }
                    Claim::TakenFrom(loser) => {
                        frontend.owned = true;
                        self.withdraw(&loser, &frontend.key);
                        problems.push(contested(&loser, &frontend.key, name));
                        continue;
                    }
                };
                let known = before.iter().flat_map(|b| b.ports.iter().flat_map(|p| &p.frontends));
                if !known.into_iter().any(|f| f.key == frontend.key && !f.owned) {
                    problems.push(contested(name, &frontend.key, &holder));
                }
            }
        }
        self.release_port_numbers(before.as_ref(), after.as_ref());
        self.account(before.as_ref(), after.as_ref());
        if let Some(after) = after {
            self.services.insert(name.clone(), after);
        }
    }

    /// Gives back the numbers of ports that have no session affinity any more.
    fn release_port_numbers(&mut self, before: Option<&CompiledService>, after: Option<&CompiledService>) {
        let numbers = |service: Option<&CompiledService>| -> BTreeSet<(Family, u16)> {
            let ports = service.into_iter().flat_map(|service| &service.ports);
            ports.filter_map(|port| Some((port.family, port.sticky.as_ref()?.port))).collect()
        };
        for (family, number) in numbers(before).difference(&numbers(after)) {
            self.port_numbers.entry(*family).or_default().release(*number);
        }
    }

    /// Takes a frontend away from a Service that another one outranks.
    fn withdraw(&mut self, name: &ObjectName, key: &FrontendKey) {
        let Some(service) = self.services.get_mut(name) else { return };
        for port in &mut service.ports {
            let Some(i) = port.frontends.iter().position(|f| f.owned && f.key == *key) else { continue };
            port.frontends[i].owned = false;
            let frontend = &port.frontends[i];
            self.flows.note(port, frontend, true);
            for class in port.classes(frontend) {
                self.ledger.release_class(port.family, class);
            }
            port.elements(frontend, &mut |set, key, element| {
                self.ledger.remove(port.family, set, key, element);
            });
        }
    }

    /// Notes the difference between two versions of a Service in the ledger.
    fn account(&mut self, before: Option<&CompiledService>, after: Option<&CompiledService>) {
        let old: Vec<_> = before.into_iter().flat_map(CompiledService::owned).collect();
        let new: Vec<_> = after.into_iter().flat_map(CompiledService::owned).collect();
        for (owned, existed) in [(&old, true), (&new, false)] {
            for (port, frontend) in owned {
                self.flows.note(port, frontend, existed);
            }
        }
        let old_index: HashMap<_, _> = old.iter().map(|pair| (pair.1.key, *pair)).collect();
        let new_keys: HashSet<_> = new.iter().map(|pair| pair.1.key).collect();
        for (port, frontend) in &new {
            if let Some(old) = old_index.get(&frontend.key) {
                self.account_frontend(*old, (port, frontend));
            } else {
                for class in port.classes(frontend) {
                    self.ledger.retain_class(port.family, class);
                }
                port.elements(frontend, &mut |set, key, element| {
                    self.ledger.add(port.family, set, key, element);
                });
            }
        }
        for (port, frontend) in &old {
            if !new_keys.contains(&frontend.key) {
                for class in port.classes(frontend) {
                    self.ledger.release_class(port.family, class);
                }
                port.elements(frontend, &mut |set, key, element| {
                    self.ledger.remove(port.family, set, key, element);
                });
            }
        }
        // Retained before released, so that what stays never seems to go.
        for (set, address) in after.into_iter().flat_map(CompiledService::shared_addresses) {
            self.ledger.retain_address(set, address);
        }
        for (set, address) in before.into_iter().flat_map(CompiledService::shared_addresses) {
            self.ledger.release_address(set, address);
        }
    }

    /// Notes the difference between two versions of a frontend, slot by slot.
    fn account_frontend(&mut self, old: (&CompiledPort, &Frontend), new: (&CompiledPort, &Frontend)) {
        let (old_port, old_frontend) = old;
        let (new_port, new_frontend) = new;
        let (key, family) = (&new_frontend.key, new_port.family);
        for class in new_port.classes(new_frontend) {
            self.ledger.retain_class(family, class);
        }
        for class in old_port.classes(old_frontend) {
            self.ledger.release_class(family, class);
        }
        let (before, after) = (old_port.attributes(old_frontend), new_port.attributes(new_frontend));
        if before != after {
            for (set, key, element) in before {
                self.ledger.remove(family, set, key, element);
            }
            for (set, key, element) in after {
                self.ledger.add(family, set, key, element);
            }
        }
        let map = key.endpoint_map();
        for ((first, before), (_, after)) in
            old_port.slots(old_frontend).into_iter().zip(new_port.slots(new_frontend))
        {
            for (slot, i) in (first..).zip(0..before.len().max(after.len())) {
                let (before, after) = (before.get(i), after.get(i));
                if before == after {
                    continue;
                }
                if let Some(endpoint) = before {
                    self.ledger.remove(
                        family,
                        map,
                        key.slot(slot),
                        Element::value(endpoint_value(*endpoint)),
                    );
                }
                if let Some(endpoint) = after {
                    self.ledger.add(family, map, key.slot(slot), Element::value(endpoint_value(*endpoint)));
                }
            }
        }
    }

    /// What the ledger noted since the last transaction, as operations.
    fn transaction(&mut self) -> Transaction {
        let net = self.ledger.take_changes();
        let outgrown = self.outgrown();
        let mut transaction = Transaction::new(self.config.table.clone());
        let kept = |family: Family, set: SetName| !outgrown.contains(&(family, set));

        for ((family, set, key), element) in net.deleted {
            if kept(family, set) {
                let set = self.declaration(family, set).clone();
                transaction.push(family, Operation::DeleteElement { set, key, end: element.end });
            }
        }
        for (family, class) in &net.old_classes {
            let (key, _) = class_verdict(*class);
            if kept(*family, class.verdict_map()) {
                let set = self.declaration(*family, class.verdict_map()).clone();
                transaction.push(*family, Operation::DeleteElement { set, key, end: None });
            }
        }
        // One may lead to another: all rules go before the first chain does.
        let old_chains = |(family, class): &(Family, Class)| {
            let family = *family;
            class.chains(&self.config, family).into_iter().map(move |chain| (family, chain.name))
        };
        for (family, chain) in net.old_classes.iter().flat_map(old_chains) {
            transaction.push(family, Operation::FlushChain(chain));
        }
        for (family, chain) in net.old_classes.iter().flat_map(old_chains) {
            transaction.push(family, Operation::DeleteChain(chain));
        }
        self.replace_sets(&outgrown, &net.new_classes, &mut transaction);
        for (family, class) in net.new_classes {
            for chain in class.chains(&self.config, family) {
                push_chain(&mut transaction, family, &chain);
            }
            if kept(family, class.verdict_map()) {
                let (key, element) = class_verdict(class);
                let set = self.declaration(family, class.verdict_map()).clone();
                transaction.push(family, Operation::AddElement { set, key, element });
            }
        }
        for ((family, set, key), element) in net.added {
            if kept(family, set) {
                let set = self.declaration(family, set).clone();
                transaction.push(family, Operation::AddElement { set, key, element });
            }
        }
        if !outgrown.is_empty() {
            self.each_element(&mut |family, set, key, element| {
                if outgrown.contains(&(family, set)) {
                    let set = self.declaration(family, set).clone();
                    transaction.push(family, Operation::AddElement { set, key, element });
                }
            });
        }
        transaction
    }

    /// Sets with more elements than their declared size; they are declared anew, larger.
    fn outgrown(&mut self) -> BTreeSet<(Family, SetName)> {
        let mut outgrown = BTreeSet::new();
        for family in Family::ALL {
            for set in SetName::ALL {
                let count = self.ledger.count(family, set);
                if self.declaration(family, set).size.is_some_and(|size| count > size) {
                    self.declarations
                        .insert((family, set), Arc::new(set.declaration(family, size_for(count))));
                    outgrown.insert((family, set));
                }
            }
        }
        outgrown
    }

    /// Takes the rules that read the outgrown sets out, replaces the sets, and puts the rules back. Their
    /// elements follow later in the same transaction: a packet sees all of it or nothing.
    fn replace_sets(
        &self,
        outgrown: &BTreeSet<(Family, SetName)>,
        new_classes: &[(Family, Class)],
        transaction: &mut Transaction,
    ) {
        for family in Family::ALL {
            let names: Vec<&str> =
                outgrown.iter().filter(|(f, _)| *f == family).map(|(_, set)| set.name()).collect();
            if names.is_empty() {
                continue;
            }
            let reads = |chain: &Chain| {
                let mut sets = chain.rules.iter().flat_map(|rule| &rule.statements).flat_map(|s| s.sets());
                sets.any(|set| names.contains(&&**set))
            };
            let present = self.classes(family).filter(|class| !new_classes.contains(&(family, *class)));
            let chains = present.flat_map(|class| class.chains(&self.config, family));
            let readers: Vec<Chain> =
                constant_chains(&self.config, family).into_iter().chain(chains).filter(reads).collect();
            for chain in &readers {
                transaction.push(family, Operation::FlushChain(chain.name.clone()));
            }
            for (_, set) in outgrown.iter().filter(|(f, _)| *f == family) {
                transaction.push(family, Operation::DeleteSet(set.name().into()));
                let declaration = Set::clone(self.declaration(family, *set));
                transaction.push(family, Operation::AddSet(Box::new(declaration)));
            }
            for chain in readers {
                push_rules(transaction, family, &chain);
            }
        }
    }

    fn declaration(&self, family: Family, set: SetName) -> &Arc<Set> {
        &self.declarations[&(family, set)]
    }

    /// Declares sizes for the present numbers of elements, or keeps what the kernel has if it is enough.
    fn declare_sizes(&mut self, kernel: Option<&Ruleset>) {
        for family in Family::ALL {
            let table = kernel.and_then(|k| k.tables.get(&family));
            for set in SetName::ALL {
                let count = self.ledger.count(family, set);
                let current = table.and_then(|t| t.sets.get(set.name())?.size);
                let size = current.filter(|size| *size >= count).unwrap_or_else(|| size_for(count));
                self.declarations.insert((family, set), Arc::new(set.declaration(family, size)));
            }
        }
    }
}

fn contested(loser: &ObjectName, key: &FrontendKey, holder: &ObjectName) -> Problem {
    Problem {
        service: loser.clone(),
        message: format!("{key} belongs to the older Service {holder}; not programmed for this one"),
    }
}

fn range_element((first, last): &AddressRange) -> (Concat, Element) {
    let end = Some(Box::new(Concat::new(&[(*last).into()])));
    (Concat::new(&[(*first).into()]), Element { end, ..Element::member() })
}

fn class_verdict(class: Class) -> (Concat, Element) {
    (Concat::new(&[class.id().into()]), Element::verdict(class.verdict()))
}

fn push_chain(transaction: &mut Transaction, family: Family, chain: &Chain) {
    let declaration = Chain { rules: Vec::new(), ..chain.clone() };
    transaction.push(family, Operation::AddChain(Box::new(declaration)));
    push_rules(transaction, family, chain);
}

fn push_rules(transaction: &mut Transaction, family: Family, chain: &Chain) {
    for rule in &chain.rules {
        transaction.push(family, Operation::AddRule { chain: chain.name.clone(), rule: rule.clone() });
    }
}
