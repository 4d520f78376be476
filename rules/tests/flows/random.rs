//! Random updates, and flows that outlive them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use portolan_rules::{
    compile::Compiler,
    frontends::FrontendKey,
    incremental::flows::{Destination, Flows, destinations},
    model::{EndpointSlice, Node, ObjectName, Protocol},
    plane::{Config, Keys},
    ruleset::{ElementData, Family, Ruleset},
    state::State,
};
use proptest::{
    collection::{btree_set, vec},
    option,
    prelude::*,
};

use crate::{
    Condition::{self, Drained, Draining, Gone, NotReady, Ready},
    at, follow, service, slice,
};

/// The ClusterIP of a Service, its protocol, and its node port.
type Shape = (u8, Protocol, Option<u16>);

/// The port of a slice, and its endpoints.
type Content = (u16, Vec<(u8, Condition)>);

#[derive(Clone, Debug)]
enum Change {
    Service {
        name: u8,
        service: Option<Shape>,
    },
    /// One of two slices of a Service.
    Endpoints {
        service: u8,
        second: bool,
        slice: Option<Content>,
    },
    NodeAddresses(BTreeSet<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let condition = prop_oneof![4 => Just(Ready), 1 => Just(Draining), 1 => Just(NotReady), 1 => Just(Drained), 2 => Just(Gone)];
    let protocol = prop_oneof![2 => Just(Protocol::Udp), 1 => Just(Protocol::Tcp), 1 => Just(Protocol::Sctp)];
    let port = prop_oneof![4 => Just(53), 1 => Just(5353)];
    prop_oneof![
        3 => (0u8..4, option::weighted(0.8, (0u8..4, protocol, option::of(30_000u16..30_003))))
            .prop_map(|(name, service)| Change::Service { name, service }),
        5 => (0u8..4, any::<bool>(), option::weighted(0.9, (port, vec((0u8..5, condition), 0..4))))
            .prop_map(|(service, second, slice)| Change::Endpoints { service, second, slice }),
        1 => btree_set(1u8..4, 0..3).prop_map(Change::NodeAddresses),
    ]
}

fn apply(state: &mut State, compiler: &mut Compiler, change: &Change) {
    match change {
        Change::Service { name, service: shape } => {
            let name = format!("svc-{name}");
            let made = shape
                .map(|(cluster_ip, protocol, node_port)| service(&name, cluster_ip, protocol, 53, node_port));
            state.set_service(&ObjectName::new("default", name), made.map(Arc::new));
        }
        Change::Endpoints { service, second, slice: content } => {
            let name = ObjectName::new("default", format!("svc-{service}-{second}"));
            let made = content.as_ref().map(|(port, endpoints)| EndpointSlice {
                name: name.clone(),
                ..slice(&format!("svc-{service}"), *port, endpoints)
            });
            state.set_slice(&name, made.map(Arc::new));
        }
        Change::NodeAddresses(last) => {
            compiler.set_node_addresses(&last.iter().map(|n| [192, 0, 2, *n].into()).collect());
        }
    }
}

/// The endpoints that serve each UDP destination of the ruleset, according to the compiler.
fn serving(
    compiler: &Compiler,
    candidates: &BTreeSet<SocketAddr>,
) -> BTreeMap<SocketAddr, BTreeSet<SocketAddr>> {
    let endpoints = (0..5).flat_map(|n| {
        [53, 5353]
            .into_iter()
            .flat_map(move |port| [at(&format!("10.0.0.{n}:{port}")), at(&format!("[fd01::{n}]:{port}"))])
    });
    let endpoints: Vec<_> = endpoints.collect();
    let flows = compiler.flows(candidates.iter().copied());
    let is_stale = |at: SocketAddr, endpoint| flows.is_stale(Destination::udp(at), endpoint);
    let serves = |at: SocketAddr| endpoints.iter().copied().filter(|e| !is_stale(at, *e)).collect();
    destinations(&compiler.ruleset()).into_iter().map(|at| (at, serves(at))).collect()
}

/// The element of each UDP destination in the map of classes.
fn classes(compiler: &Compiler) -> BTreeMap<SocketAddr, Option<ElementData>> {
    let ruleset = compiler.ruleset();
    let mut classes = BTreeMap::new();
    for at in destinations(&ruleset) {
        let table = &ruleset.tables[&Family::of(at.ip())];
        let node_port = FrontendKey::NodePort(Family::of(at.ip()), Protocol::Udp, at.port());
        let keys = [FrontendKey::Address(at.ip(), Protocol::Udp, at.port()), node_port];
        let element = keys
            .iter()
            .find_map(|key| table.sets[Keys::of(key).classes().name()].elements.get(&key.concat()));
        classes.insert(at, element.map(|element| element.data.clone()));
    }
    classes
}

/// A flow in the kernel's table: its destination, and the source of its answers.
type Flow = (SocketAddr, SocketAddr);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_named_destinations_are_all_that_changed_hands(steps in vec(vec(change(), 1..4), 1..12)) {
        let mut state = State::new(Node::default());
        let mut compiler = Compiler::new(Config::default());
        compiler.load(&mut state, &Ruleset::default());
        // Every possible destination, and an untranslated flow to each.
        let addresses = (0..4).flat_map(|n| [format!("10.96.0.{n}:53"), format!("[fd00::{n}]:53")]);
        let node_ports = (1..4).flat_map(|n| (0..3).map(move |port| format!("192.0.2.{n}:3000{port}")));
        let everywhere: BTreeSet<SocketAddr> = addresses.chain(node_ports).map(|text| at(&text)).collect();
        let mut flows: BTreeSet<Flow> = everywhere.iter().map(|at| (*at, *at)).collect();
        let mut before = serving(&compiler, &everywhere);
        for step in steps {
            for change in &step {
                apply(&mut state, &mut compiler, change);
            }
            let classes_before = classes(&compiler);
            let stale = compiler.update(&mut state).stale.udp;
            let classes_after = classes(&compiler);
            let after = serving(&compiler, &everywhere);

            // The update names exactly the destinations that appeared or disappeared, lost an endpoint, or changed
            // their class. It may also name those that disappeared and came back within one step because addresses of
            // the node changed, which is rare and harmless.
            let addresses_changed = step.iter().any(|change| matches!(change, Change::NodeAddresses(_)));
            let changed: BTreeSet<_> = everywhere.iter().copied().filter(|at| match (before.get(at), after.get(at)) {
                (None, None) => false,
                (Some(before), Some(after)) => {
                    !before.is_subset(after) || classes_before.get(at) != classes_after.get(at)
                }
                _ => true,
            }).collect();
            prop_assert!(stale.is_superset(&changed), "{:?} of {:?}", stale, changed);
            for at in stale.difference(&changed) {
                prop_assert!(addresses_changed && at.port() >= 30_000, "{} is named needlessly", at);
            }

            // Removing the stale flows at these destinations alone leaves no stale flow anywhere.
            let named = compiler.flows(stale);
            flows.retain(|(destination, source)| !named.is_stale(Destination::udp(*destination), *source));
            let all = compiler.flows(everywhere.iter().copied());
            let left: Vec<_> = flows.iter().filter(|(d, s)| all.is_stale(Destination::udp(*d), *s)).collect();
            prop_assert_eq!(left, Vec::<&Flow>::new());

            // Clients continue: to the endpoints of a destination, or untranslated if there are none.
            for at in &everywhere {
                match after.get(at) {
                    Some(endpoints) => flows.extend(endpoints.iter().map(|endpoint| (*at, *endpoint))),
                    None => drop(flows.insert((*at, *at))),
                }
            }
            before = after;
        }
    }

    /// Flows are checked after some updates only, as if a check took a while.
    #[test]
    fn of_other_protocols_what_is_listed_stays_and_what_is_not_goes(
        steps in vec((vec(change(), 1..4), any::<bool>()), 1..16),
    ) {
        let mut state = State::new(Node::default());
        let mut compiler = Compiler::new(Config::default());
        compiler.load(&mut state, &Ruleset::default());
        let (mut model, mut stale) = (Model::default(), Flows::default());
        let mut flows: BTreeSet<(Destination, SocketAddr)> = BTreeSet::new();
        for (step, is_looked_at) in steps {
            for change in &step {
                apply(&mut state, &mut compiler, change);
                model.apply(change);
                if matches!(change, Change::NodeAddresses(_)) {
                    // A change of node addresses concerns UDP flows only.
                    flows.retain(|(destination, _)| destination.at.port() < 30_000);
                }
            }
            let update = compiler.update(&mut state).stale;
            for moved in update.moved.values() {
                prop_assert!(!moved.is_empty());
            }
            follow(&mut stale, &compiler, &update);
            let listed = model.listed();
            let is_listed = |(destination, source): &(Destination, SocketAddr)| {
                listed.get(destination).is_some_and(|listed| listed.contains(source))
            };
            for flow in &flows {
                prop_assert!(!(is_listed(flow) && stale.is_stale(flow.0, flow.1)), "{:?} is listed", flow);
            }
            if is_looked_at {
                flows.retain(|(destination, source)| !stale.is_stale(*destination, *source));
                stale = Flows::default();
                let left: Vec<_> = flows.iter().filter(|flow| !is_listed(flow)).collect();
                prop_assert_eq!(left, Vec::<&(Destination, SocketAddr)>::new());
            }
            // A query about the flows that earlier runs left gives the same result.
            let all: Vec<_> = listed.iter().flat_map(|(at, listed)| listed.iter().map(|e| (*at, *e))).collect();
            prop_assert!(compiler.unlisted(&state, &BTreeSet::new(), all).is_empty());

            for (destination, endpoints) in listed {
                flows.extend(endpoints.iter().map(|endpoint| (destination, *endpoint)));
            }
        }
    }
}

/// The objects as the changes made them.
#[derive(Default)]
struct Model {
    services: BTreeMap<u8, Shape>,
    slices: BTreeMap<(u8, bool), Content>,
    node_addresses: BTreeSet<u8>,
}

impl Model {
    fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::Service { name, service: Some(shape) } => drop(self.services.insert(name, shape)),
            Change::Service { name, service: None } => drop(self.services.remove(&name)),
            Change::Endpoints { service, second, slice: Some(slice) } => {
                self.slices.insert((service, second), slice);
            }
            Change::Endpoints { service, second, slice: None } => {
                self.slices.remove(&(service, second));
            }
            Change::NodeAddresses(addresses) => self.node_addresses = addresses,
        }
    }

    /// For each TCP and SCTP destination, the endpoints that the slices list, in any condition. If several Services
    /// claim a frontend, the first owns it.
    fn listed(&self) -> BTreeMap<Destination, BTreeSet<SocketAddr>> {
        let mut listed = BTreeMap::new();
        let others = self.services.iter().filter(|(_, (_, protocol, _))| *protocol != Protocol::Udp);
        for (name, (cluster_ip, protocol, node_port)) in others {
            let slices = [false, true].into_iter().filter_map(|second| self.slices.get(&(*name, second)));
            let endpoints =
                slices.flat_map(|(port, endpoints)| endpoints.iter().map(move |(n, _)| (*n, *port)));
            let endpoints: Vec<(u8, u16)> = endpoints.collect();
            let mut add = |at: SocketAddr, family: &dyn Fn(u8) -> IpAddr| {
                let all: BTreeSet<_> =
                    endpoints.iter().map(|(n, port)| SocketAddr::new(family(*n), *port)).collect();
                listed.entry(Destination::new(*protocol, at)).or_insert(all);
            };
            let v4 = |n: u8| IpAddr::from([10, 0, 0, n]);
            add(at(&format!("10.96.0.{cluster_ip}:53")), &v4);
            add(at(&format!("[fd00::{cluster_ip}]:53")), &|n| format!("fd01::{n}").parse().unwrap());
            if let Some(port) = node_port {
                for address in &self.node_addresses {
                    add(at(&format!("192.0.2.{address}:{port}")), &v4);
                }
            }
        }
        listed
    }
}
