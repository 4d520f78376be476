//! Services with many slices: a changed endpoint costs only what it changes, and gives the same result as compiling
//! the whole Service.

use std::{net::IpAddr, sync::Arc};

use portolan_rules::{
    compile::Compiler,
    model::{
        Endpoint, EndpointPort, EndpointSlice, Hints, Node, ObjectName, Protocol, Service, ServicePort,
        TrafficPolicy,
    },
    plane::Config,
    ruleset::Ruleset,
    state::State,
};
use proptest::{collection::vec, option, prelude::*};

use crate::cluster::{plain_shape, service, state};

/// What a slice states about one address. All fields but `n` usually have their usual values.
#[derive(Clone, Debug)]
struct Said {
    n: u8,
    ready: bool,
    serving: bool,
    terminating: bool,
    node: Option<bool>,
    /// The weight, if it differs from the usual one.
    weight: Option<u16>,
    /// The hints, if they differ from the usual ones.
    hints: Option<HintedAt>,
}

/// Zones and nodes.
type HintedAt = (Vec<u8>, Vec<bool>);

/// What slices state about most endpoints.
#[derive(Debug)]
struct Usual {
    hints: HintedAt,
    weight: u16,
}

#[derive(Clone, Debug)]
enum Change {
    /// A slice states something else about an address, or has another address in its place.
    Replace {
        slice: u8,
        at: u8,
        said: Said,
        same: bool,
    },
    Add {
        slice: u8,
        said: Said,
    },
    Remove {
        slice: u8,
        at: u8,
    },
    Swap {
        slice: u8,
        at: u8,
    },
    /// Two slices swap their contents.
    Rename {
        slice: u8,
        to: u8,
    },
    /// An endpoint moves to another slice.
    Move {
        slice: u8,
        at: u8,
        to: u8,
    },
    Delete {
        slice: u8,
    },
    /// The slice changes over to the other Service.
    Relabel {
        slice: u8,
    },
    Port {
        slice: u8,
    },
    Zone(u8),
    Service(Box<Service>),
    /// Another Service with the same ClusterIP, older or younger, appears or disappears.
    Rival {
        exists: bool,
        is_older: bool,
    },
}

fn said() -> impl Strategy<Value = Said> {
    let conditions = prop_oneof![
        12 => Just((true, true, false)),
        3 => Just((false, true, true)),
        1 => Just((true, true, true)),
        2 => any::<(bool, bool, bool)>(),
    ];
    let node = prop_oneof![20 => Just(Some(false)), 1 => Just(Some(true)), 1 => Just(None)];
    let weight = prop_oneof![40 => Just(None), 1 => (0u16..4).prop_map(Some)];
    (0u8..60, conditions, node, weight, option::weighted(0.1, hints())).prop_map(
        |(n, (ready, serving, terminating), node, weight, hints)| Said {
            n,
            ready,
            serving,
            terminating,
            node,
            weight,
            hints,
        },
    )
}

/// What eight slices state, about few endpoints or many.
fn all_said() -> impl Strategy<Value = Vec<Option<Vec<Said>>>> {
    (1usize..8).prop_flat_map(|most| vec(option::weighted(0.9, vec(said(), 0..most)), 8))
}

fn usual() -> impl Strategy<Value = Usual> {
    let hints = prop_oneof![2 => Just((vec![], vec![])), 1 => hints()];
    let weight = prop_oneof![3 => Just(1), 1 => Just(2)];
    (hints, weight).prop_map(|(hints, weight)| Usual { hints, weight })
}

fn hints() -> impl Strategy<Value = HintedAt> {
    let zones = prop_oneof![2 => Just(vec![]), 2 => Just(vec![0]), 1 => Just(vec![1]), 1 => Just(vec![0, 1])];
    let nodes = prop_oneof![4 => Just(vec![]), 2 => vec(any::<bool>(), 1..3)];
    (zones, nodes)
}

fn change() -> impl Strategy<Value = Change> {
    let slice = || 0u8..8;
    let at = any::<u8>;
    prop_oneof![
        8 => (slice(), at(), said(), any::<bool>())
            .prop_map(|(slice, at, said, same)| Change::Replace { slice, at, said, same }),
        6 => (slice(), said()).prop_map(|(slice, said)| Change::Add { slice, said }),
        6 => (slice(), at()).prop_map(|(slice, at)| Change::Remove { slice, at }),
        1 => (slice(), at()).prop_map(|(slice, at)| Change::Swap { slice, at }),
        1 => (slice(), slice()).prop_map(|(slice, to)| Change::Rename { slice, to }),
        2 => (slice(), at(), slice()).prop_map(|(slice, at, to)| Change::Move { slice, at, to }),
        1 => slice().prop_map(|slice| Change::Delete { slice }),
        1 => slice().prop_map(|slice| Change::Relabel { slice }),
        1 => slice().prop_map(|slice| Change::Port { slice }),
        1 => (0u8..4).prop_map(Change::Zone),
        1 => web().prop_map(|service| Change::Service(service.into())),
        1 => any::<(bool, bool)>().prop_map(|(exists, is_older)| Change::Rival { exists, is_older }),
    ]
}

/// The Service, with two ports or one, and with frontends and policies of all kinds.
fn web() -> impl Strategy<Value = Service> {
    let rare = || prop::bool::weighted(0.1);
    let policy = |local| if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
    let kinds = (any::<bool>(), any::<bool>(), any::<bool>());
    (kinds, any::<bool>(), any::<bool>(), rare(), rare(), rare()).prop_map(
        move |((dual_stack, two_ports, node_port), external_local, ranges, internal_local, udp, affinity)| {
            let mut service = service(&name("web"), &plain_shape(node_port.then_some(1)));
            if dual_stack {
                service.cluster_ips.push("fd00::1".parse().unwrap());
            }
            if two_ports {
                let metrics = ServicePort { name: "metrics".into(), port: 9090, ..service.ports[0].clone() };
                service.ports.push(ServicePort { node_port: None, ..metrics });
            }
            if udp {
                service.ports[0].protocol = Protocol::Udp;
            }
            if ranges {
                service.source_ranges = vec!["203.0.113.0/24".parse().unwrap()];
            }
            service.load_balancer_ips = vec![[192, 0, 2, 9].into()];
            service.internal_policy = policy(internal_local);
            service.external_policy = policy(external_local);
            service.affinity_timeout = affinity.then_some(60);
            service
        },
    )
}

/// Another Service with the same ClusterIP.
fn rival(is_older: bool) -> Service {
    Service { created: is_older.then_some(1), ..service(&name("wiki"), &plain_shape(Some(1))) }
}

/// A slice: its Service, its port, and what it states.
#[derive(Clone, Debug, Default)]
struct Slice {
    is_others: bool,
    has_other_port: bool,
    said: Vec<Said>,
}

/// Eight slices, `None` for those that do not exist, and the usual values.
struct Slices(Vec<Option<Slice>>, Usual);

impl Slices {
    fn of(&mut self, slice: u8) -> &mut Slice {
        self.0[usize::from(slice)].get_or_insert_default()
    }

    /// What a slice states, and the index of one endpoint.
    fn one_of(&mut self, slice: u8, at: u8) -> Option<(&mut Vec<Said>, usize)> {
        let said = &mut self.0[usize::from(slice)].as_mut()?.said;
        let at = usize::from(at).checked_rem(said.len())?;
        Some((said, at))
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Replace { slice, at, said, same } => {
                if let Some((all, at)) = self.one_of(slice, at) {
                    let n = if same { all[at].n } else { said.n };
                    all[at] = Said { n, ..said };
                }
            }
            Change::Add { slice, said } => self.of(slice).said.push(said),
            Change::Remove { slice, at } => {
                self.one_of(slice, at).map(|(all, at)| all.remove(at));
            }
            Change::Swap { slice, at } => {
                if let Some((all, at)) = self.one_of(slice, at) {
                    all.swap(0, at);
                }
            }
            Change::Move { slice, at, to } => {
                if let Some(said) = self.one_of(slice, at).map(|(all, at)| all.remove(at)) {
                    self.of(to).said.push(said);
                }
            }
            Change::Rename { slice, to } => self.0.swap(slice.into(), to.into()),
            Change::Delete { slice } => self.0[usize::from(slice)] = None,
            Change::Relabel { slice } => self.of(slice).is_others ^= true,
            Change::Port { slice } => self.of(slice).has_other_port ^= true,
            Change::Zone(_) | Change::Service(_) | Change::Rival { .. } => {}
        }
    }

    fn apply(&self, state: &mut State) {
        for (n, slice) in self.0.iter().enumerate() {
            let name = name(&format!("web-{n}"));
            state.set_slice(&name, slice.as_ref().map(|slice| Arc::new(slice.slice(&name, &self.1))));
        }
    }
}

/// This node, in one of three zones or in none.
fn node(zone: u8) -> Node {
    let zone = (zone < 3).then(|| format!("zone-{zone}").into());
    Node { name: "here".into(), zone, ..Node::default() }
}

fn name(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

impl Said {
    fn endpoint(&self, usual: &Usual) -> Endpoint {
        let address: IpAddr = match self.n {
            n @ 0..10 => format!("fd01::{n}").parse().unwrap(),
            n => [10, 0, 0, n].into(),
        };
        let (zones, nodes) = self.hints.as_ref().unwrap_or(&usual.hints);
        let node = |here: bool| -> Arc<str> { if here { "here" } else { "there" }.into() };
        Endpoint {
            address,
            ready: self.ready,
            serving: self.serving,
            terminating: self.terminating,
            node: self.node.map(node),
            weight: self.weight.unwrap_or(usual.weight),
            hints: Hints::new(
                zones.iter().map(|zone| format!("zone-{zone}").into()).collect(),
                nodes.iter().copied().map(node).collect(),
            ),
        }
    }
}

impl Slice {
    fn slice(&self, name: &ObjectName, usual: &Usual) -> EndpointSlice {
        let port = |name: &str, protocol, port| EndpointPort { name: name.into(), protocol, port };
        EndpointSlice {
            name: name.clone(),
            service: if self.is_others { "wiki" } else { "web" }.into(),
            ports: vec![
                port("", Protocol::Tcp, if self.has_other_port { 8081 } else { 8080 }),
                port("", Protocol::Udp, 53),
                port("metrics", Protocol::Tcp, 9100),
            ],
            endpoints: self.said.iter().map(|said| said.endpoint(usual)).collect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_changed_in_place_is_what_compiling_the_whole_comes_to(
        service in web(),
        slices in all_said(),
        usual in usual(),
        zone in 0u8..4,
        steps in vec(vec(change(), 1..4), 1..24),
    ) {
        let slice = |said: Option<_>| Some(Slice { said: said?, ..Slice::default() });
        let mut slices = Slices(slices.into_iter().map(slice).collect(), usual);
        let mut states = [state(), state()];
        let mut compilers = [Compiler::new(Config::default()), Compiler::new(Config::default())];
        for (compiler, state) in compilers.iter_mut().zip(&mut states) {
            state.set_node(node(zone));
            state.set_service(&service.name, Some(Arc::new(service.clone())));
            slices.apply(state);
            compiler.load(state, &Ruleset::default());
        }
        for step in steps {
            for change in step {
                for state in &mut states {
                    match &change {
                        Change::Zone(zone) => state.set_node(node(*zone)),
                        Change::Service(service) => {
                            state.set_service(&service.name, Some(Arc::new(Service::clone(service))));
                        }
                        Change::Rival { exists, is_older } => {
                            let rival = exists.then(|| Arc::new(rival(*is_older)));
                            state.set_service(&name("wiki"), rival);
                        }
                        _ => {}
                    }
                }
                slices.change(change);
                for state in &mut states {
                    slices.apply(state);
                }
            }
            let [state, whole_state] = &mut states;
            let [compiler, whole] = &mut compilers;
            whole_state.touch(|_| true);
            let (update, of_whole) = (compiler.update(state), whole.update(whole_state));
            prop_assert_eq!(&update.steps, &of_whole.steps);
            prop_assert_eq!(update.problems, of_whole.problems);
            prop_assert_eq!(update.stale, of_whole.stale);
            prop_assert_eq!(compiler.ruleset(), whole.ruleset());
            prop_assert_eq!(compiler.no_local_endpoints(), whole.no_local_endpoints());
            prop_assert_eq!(compiler.without_endpoints(), whole.without_endpoints());
        }
    }
}
