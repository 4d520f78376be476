//! Leftovers: the parts of the kernel's ruleset to keep while part of the input cannot be read, or while it is not
//! known which Service the kernel refuses.
//!
//! A manifest that was valid yesterday and cannot be read today must not interrupt its Services when the agent
//! restarts. Its content is unknown, so nothing is deleted until it can be read again: what the kernel has beyond the
//! readable input is *left over*, and stays.
//!
//! - A frontend of a readable Service keeps the endpoints that the kernel has for it, because their slice may be in an
//!   unreadable file. They become slices of the state, so that the compiler finds slots and classes for all of them.
//! - Any other frontend stays as it is, with all that its packets need, even if another Service claims it now: its
//!   former owner may be in the unreadable file.
//! - Every element of the sets that hold only addresses stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    compile::Compiler,
    frontends::FrontendKey,
    model::{
        Endpoint, EndpointPort, EndpointSlice, LoadBalancing, ObjectName, Protocol, Service, ServicePort,
    },
    placement::{AdoptedSlots, FrontendSlots},
    plane::{Keys, SetName, endpoint_from_value},
    ruleset::{
        COMMENT_MAX, Chain, Concat, Element, ElementData, Family, Name, Ruleset, Set, Statement, Table,
    },
    state::State,
};

/// The maps and sets whose keys begin with a frontend. The map of the frontends themselves comes first.
const fn of_frontends(keys: Keys) -> &'static [SetName] {
    match keys {
        Keys::Address => &[
            SetName::Frontends,
            SetName::Endpoints,
            SetName::Attributes,
            SetName::AllowedSources,
            SetName::OtherAllowedSources,
        ],
        Keys::NodePort => &[SetName::NodePorts, SetName::NodeEndpoints, SetName::NodePortAttributes],
    }
}

/// The sets of addresses.
const OF_ADDRESSES: [SetName; 4] =
    [SetName::ClusterIps, SetName::ServiceCidrs, SetName::NodeAddresses, SetName::Hairpin];

/// The node name of an endpoint that is on another node, as far as the kernel's elements show. No Node has this name.
const ELSEWHERE: &str = ":";

/// The name of an endpoint's node, if it is known.
pub fn known_node(endpoint: &Endpoint) -> Option<Arc<str>> {
    endpoint.node.clone().filter(|node| **node != *ELSEWHERE)
}

/// The objects that the kernel held at the start and that an incomplete input does not contain.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Frontends that their former owners do not claim, and the objects that these frontends need.
    rest: Ruleset,
    /// The slices that stand for endpoints of other frontends.
    slices: BTreeSet<ObjectName>,
}

impl Leftovers {
    /// Finds the objects that the kernel's ruleset has beyond an incomplete state. Endpoints among them are put into
    /// the state; the rest is for [`Leftovers::keep`]. The compiler has compiled nothing yet, and must compile the
    /// state afterwards.
    pub fn find(kernel: &Ruleset, compiler: &Compiler, state: &mut State) -> Self {
        let mut leftovers = Self { rest: kernel.clone(), slices: BTreeSet::new() };
        // Endpoints that come back may end a fallback, for example to terminating endpoints: then those are missing.
        let compile = |state: &mut State| {
            let mut compiler = compiler.clone();
            compiler.load(state, kernel);
            compiler
        };
        let mut loaded = compile(state);
        for missing in [Missing::Alone, Missing::WithAll] {
            let slices = slices(kernel, &loaded, state, missing);
            if slices.is_empty() {
                break;
            }
            leftovers.put(slices, state);
            loaded = compile(state);
        }
        leftovers.forget_claimed(&loaded);
        // Classes stay, since frontends that are left over need theirs.
        let desired = loaded.ruleset();
        for (family, table) in &mut leftovers.rest.tables {
            for set in OF_ADDRESSES {
                let known = desired.tables.get(family).and_then(|table| table.sets.get(set.name()));
                if let (Some(set), Some(known)) = (table.sets.get_mut(set.name()), known) {
                    set.elements.retain(|key, _| !known.elements.contains_key(key));
                }
            }
        }
        leftovers
    }

    /// Follows a compilation: if frontends that were left over are now claimed by their former owners, puts their
    /// endpoints into the state. Returns whether the state must be compiled again.
    pub fn follow(&mut self, compiler: &Compiler, state: &mut State) -> bool {
        let slices = slices(&self.rest, compiler, state, Missing::WithAll);
        self.forget_claimed(compiler);
        let is_changed = !slices.is_empty();
        self.put(slices, state);
        is_changed
    }

    /// Removes the endpoints from the state, once all input is known.
    pub fn release(self, state: &mut State) {
        for name in &self.slices {
            state.set_slice(name, None);
        }
    }

    /// Adds the rest to the compiled ruleset.
    pub fn keep(&self, desired: &mut Ruleset, compiler: &Compiler) {
        keep_leftovers(desired, &self.rest, compiler);
    }

    fn put(&mut self, slices: Vec<EndpointSlice>, state: &mut State) {
        for slice in slices {
            let name = slice.name.clone();
            state.set_slice(&name, Some(Arc::new(slice)));
            self.slices.insert(name);
        }
    }

    /// Forgets frontends that their former owners claim: the compiler has them.
    fn forget_claimed(&mut self, compiler: &Compiler) {
        for (family, table) in &mut self.rest.tables {
            for keys in Keys::ALL {
                let Some(frontends) = table.sets.get(keys.classes().name()) else { continue };
                let claimed = frontends.elements.iter().filter(|(key, element)| {
                    let owner = compiler.owner(*family, keys.classes(), key);
                    owner.is_some_and(|owner| is_of(element, owner))
                });
                let claimed: BTreeSet<Concat> = claimed.map(|(key, _)| key.clone()).collect();
                remove(table, keys, &claimed);
            }
        }
    }
}

/// Adds to `desired` the objects that `kernel` has beyond it: frontends, with all that these need, and addresses. A
/// frontend that both have for the same Service stays as in `desired`; a frontend that both have for different Services
/// becomes as in `kernel`. Chains have the rules that follow from the compiler's settings.
pub fn keep_leftovers(desired: &mut Ruleset, kernel: &Ruleset, compiler: &Compiler) {
    for (family, desired) in &mut desired.tables {
        if let Some(kernel) = kernel.tables.get(family) {
            let chains = compiler.chains(*family, kernel.chains.keys());
            keep(desired, kernel, &chains);
        }
    }
}

fn keep(desired: &mut Table, kernel: &Table, chains: &[Chain]) {
    for keys in Keys::ALL {
        let Some(theirs) = kernel.sets.get(keys.classes().name()) else { continue };
        let ours = desired.sets.get(keys.classes().name()).map(|set| &set.elements);
        let is_kept = |key: &Concat, element: &Element| {
            let ours = ours.and_then(|elements| elements.get(key));
            ours.is_none_or(|ours| !has_same_owner(ours, element))
        };
        let kept = theirs.elements.iter().filter(|(key, element)| is_kept(key, element));
        let kept: BTreeSet<Concat> = kept.map(|(key, _)| key.clone()).collect();
        remove(desired, keys, &kept);
        let length = length(theirs);
        for map in of_frontends(keys) {
            copy(desired, kernel, *map, |key, _| is_among(&kept, key, length));
        }
    }
    for set in OF_ADDRESSES {
        // Ranges must not overlap.
        let ranges = desired.sets.get(set.name()).filter(|set| set.flags.interval);
        let ranges = ranges.map(|set| set.elements.clone()).unwrap_or_default();
        copy(desired, kernel, set, |first, element| {
            ranges.iter().all(|(other, ours)| last(first, element) < other || last(other, ours) < first)
        });
    }
    for map in [SetName::Classes, SetName::DirectClasses, SetName::Draws] {
        for element in kernel.sets.get(map.name()).into_iter().flat_map(|set| set.elements.values()) {
            keep_chains(desired, kernel, chains, element.target());
        }
        copy(desired, kernel, map, |_, _| true);
    }
}

/// The last key of an element of a set of ranges.
fn last<'a>(first: &'a Concat, element: &'a Element) -> &'a Concat {
    element.end.as_deref().unwrap_or(first)
}

/// A ruleset without the Services of a namespace: their frontends, and the addresses that no other Service has.
pub fn without_namespace(kernel: &Ruleset, namespace: &str) -> Ruleset {
    let mut others = kernel.clone();
    for (family, table) in &mut others.tables {
        for keys in Keys::ALL {
            let Some(first) = table.sets.get(keys.classes().name()) else { continue };
            let is_of = |element: &Element| {
                let owner = element.comment.as_deref().map(owner_in).and_then(|owner| owner.split_once('/'));
                owner.is_some_and(|(of, _)| of == namespace)
            };
            let frontends = first.elements.iter().filter(|(_, element)| is_of(element));
            let frontends: BTreeSet<Concat> = frontends.map(|(key, _)| key.clone()).collect();
            remove(table, keys, &frontends);
        }
        let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
        addresses.extend(table.frontends(*family).filter_map(|(key, _)| match key {
            FrontendKey::Address(address, ..) => Some(address),
            FrontendKey::NodePort(..) => None,
        }));
        for set in [SetName::Endpoints, SetName::NodeEndpoints] {
            let elements = table.sets.get(set.name()).into_iter().flat_map(|set| set.elements.values());
            let values = elements.filter_map(|element| match &element.data {
                ElementData::Value(value) => endpoint_from_value(*family, value),
                _ => None,
            });
            addresses.extend(values.map(|endpoint| endpoint.ip()));
        }
        for set in [SetName::ClusterIps, SetName::Hairpin] {
            let Some(set) = table.sets.get_mut(set.name()) else { continue };
            let types = set.key.clone();
            let address = |key: &Concat| key.values(&types)?.first()?.address();
            set.elements.retain(|key, _| address(key).is_some_and(|address| addresses.contains(&address)));
        }
    }
    others
}

/// Keeps a chain, and the chains that it leads to in turn.
fn keep_chains(desired: &mut Table, kernel: &Table, chains: &[Chain], name: Option<&Name>) {
    let mut wanted: Vec<Name> = name.cloned().into_iter().collect();
    while let Some(name) = wanted.pop() {
        let known = chains.iter().find(|chain| chain.name == name).or_else(|| kernel.chains.get(&name));
        let Some(chain) = known.filter(|_| !desired.chains.contains_key(&name)) else { continue };
        let statements = chain.rules.iter().flat_map(|rule| &rule.statements);
        wanted.extend(statements.filter_map(Statement::target).cloned());
        desired.add_chain(chain.clone());
    }
}

fn copy(desired: &mut Table, kernel: &Table, set: SetName, wanted: impl Fn(&Concat, &Element) -> bool) {
    let (Some(into), Some(from)) = (desired.sets.get_mut(set.name()), kernel.sets.get(set.name())) else {
        return;
    };
    if into.key != from.key || into.data != from.data || into.flags != from.flags {
        return;
    }
    let kept = from.elements.iter().filter(|(key, element)| wanted(key, element));
    into.elements.insert_missing(kept.map(|(key, element)| (key.clone(), element.clone())));
    let count = into.elements.len() as u32;
    if into.size.is_some_and(|size| size < count) {
        into.size = from.size.max(Some(count));
    }
}

/// Removes these frontends, and their elements in all maps.
fn remove(table: &mut Table, keys: Keys, frontends: &BTreeSet<Concat>) {
    let Some(length) = table.sets.get(keys.classes().name()).map(length) else { return };
    if frontends.is_empty() {
        return;
    }
    for map in of_frontends(keys) {
        if let Some(set) = table.sets.get_mut(map.name()) {
            set.elements.retain(|key, _| !is_among(frontends, key, length));
        }
    }
}

/// The length of the keys of a set, in bytes.
fn length(set: &Set) -> usize {
    set.key.iter().map(|field| field.padded_size()).sum()
}

/// Whether a key begins with one of these frontends.
fn is_among(frontends: &BTreeSet<Concat>, key: &Concat, length: usize) -> bool {
    key.as_bytes().get(..length).is_some_and(|start| frontends.contains(&Concat::from_bytes(start)))
}

/// The Service in the comment of a frontend; cut off if it is too long for a comment.
pub(crate) fn owner_in(comment: &str) -> &str {
    comment.split(':').next().unwrap_or_default()
}

/// Whether two frontends belong to the same Service by their comments.
fn has_same_owner(a: &Element, b: &Element) -> bool {
    let (Some(a), Some(b)) = (&a.comment, &b.comment) else { return true };
    owner_in(a) == owner_in(b)
}

/// Whether a frontend belongs to this Service by its comment.
fn is_of(frontend: &Element, owner: &ObjectName) -> bool {
    let Some(comment) = &frontend.comment else { return true };
    let (named, owner) = (owner_in(comment), owner.to_string());
    named == owner || comment.len() >= COMMENT_MAX && owner.starts_with(named)
}

/// Which endpoints to keep of a ServicePort that lacks some.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// The endpoints that it lacks.
    Alone,
    /// All endpoints that the kernel has for it.
    WithAll,
}

/// A ServicePort in one family.
type PortKey = (ObjectName, Family, Arc<str>, Protocol);

/// Slices with the endpoints that a compiled Service lacks, although its frontends have them in this ruleset.
fn slices(kernel: &Ruleset, compiler: &Compiler, state: &State, missing: Missing) -> Vec<EndpointSlice> {
    let before = AdoptedSlots::of(kernel);
    if before.is_empty() {
        return Vec::new();
    }
    let now = AdoptedSlots::of(&compiler.ruleset());
    // Of each port: the endpoints with their shares, and whether any is missing.
    let mut ports: BTreeMap<PortKey, (BTreeMap<SocketAddr, u16>, bool)> = BTreeMap::new();
    for (frontend, slots) in before.iter() {
        let key = frontend.concat();
        let (family, map) = (frontend.family(), Keys::of(frontend).classes());
        let Some(owner) = compiler.owner(family, map, &key) else { continue };
        let element = kernel.tables.get(&family).and_then(|table| table.sets.get(map.name()));
        if !element.and_then(|set| set.elements.get(&key)).is_some_and(|element| is_of(element, owner)) {
            continue;
        }
        let service = state.get(owner).and_then(|entry| entry.service.as_deref());
        let Some((service, port)) = service.and_then(|service| Some((service, port_of(service, frontend)?)))
        else {
            continue;
        };
        let there: BTreeSet<SocketAddr> =
            now.get(frontend).into_iter().flat_map(FrontendSlots::endpoints).collect();
        let port_key = (owner.clone(), family, Arc::clone(&port.name), port.protocol);
        let (endpoints, is_missing) = ports.entry(port_key).or_default();
        for (endpoint, share) in shares(slots.endpoints(), service) {
            let is_there = there.contains(&endpoint);
            *is_missing |= !is_there;
            if !is_there || missing == Missing::WithAll {
                let known = endpoints.entry(endpoint).or_default();
                *known = share.max(*known);
            }
        }
    }
    let mut slices = Vec::new();
    for ((owner, family, name, protocol), (endpoints, is_missing)) in ports {
        if is_missing {
            let of_port = (&*name, protocol);
            slices.extend(slices_of(&owner, of_port, endpoints, |endpoint| {
                is_on_this_node(kernel, family, endpoint).then(|| Arc::clone(&state.node().name))
            }));
        }
    }
    slices
}

/// The slices of one port: one for each port number of its endpoints. No object has such names.
pub(super) fn slices_of(
    owner: &ObjectName,
    (name, protocol): (&str, Protocol),
    endpoints: BTreeMap<SocketAddr, u16>,
    node: impl Fn(SocketAddr) -> Option<Arc<str>>,
) -> Vec<EndpointSlice> {
    let mut slices: BTreeMap<(bool, u16), EndpointSlice> = BTreeMap::new();
    for (endpoint, weight) in endpoints {
        let (is_ipv4, number) = (endpoint.is_ipv4(), endpoint.port());
        let slice = slices.entry((is_ipv4, number)).or_insert_with(|| {
            let family = Family::of(endpoint.ip());
            let slice_name = format!("{}:left:{family}:{name}:{protocol}:{number}", owner.name);
            EndpointSlice {
                name: ObjectName { namespace: Arc::clone(&owner.namespace), name: slice_name.into() },
                service: Arc::clone(&owner.name),
                ports: vec![EndpointPort { name: name.into(), protocol, port: number }],
                endpoints: Vec::new(),
            }
        });
        let node = node(endpoint).unwrap_or_else(|| ELSEWHERE.into());
        slice.endpoints.push(Endpoint { node: Some(node), weight, ..Endpoint::ready(endpoint.ip()) });
    }
    slices.into_values().collect()
}

/// The port of a Service that a frontend leads to.
fn port_of<'a>(service: &'a Service, frontend: &FrontendKey) -> Option<&'a ServicePort> {
    service.ports.iter().find(|port| match frontend {
        FrontendKey::Address(_, protocol, number) => port.protocol == *protocol && port.port == *number,
        FrontendKey::NodePort(_, protocol, number) => {
            port.protocol == *protocol && port.node_port == Some(*number)
        }
    })
}

/// Endpoints with their weights: the number of slots that each has, unless slots are not chosen at random.
fn shares(slots: impl Iterator<Item = SocketAddr>, service: &Service) -> BTreeMap<SocketAddr, u16> {
    let mut shares = BTreeMap::new();
    for endpoint in slots {
        let share: &mut u16 = shares.entry(endpoint).or_default();
        *share = match service.load_balancing {
            LoadBalancing::Random => share.saturating_add(1),
            LoadBalancing::SourceHash => 1,
        };
    }
    shares
}

/// Whether an endpoint is on this node: endpoints on this node are in the set of hairpin connections.
pub(super) fn is_on_this_node(kernel: &Ruleset, family: Family, endpoint: SocketAddr) -> bool {
    let hairpin = kernel.tables.get(&family).and_then(|table| table.sets.get(SetName::Hairpin.name()));
    let address = endpoint.ip().into();
    hairpin.is_some_and(|set| set.elements.contains_key(&Concat::new(&[address, address])))
}
