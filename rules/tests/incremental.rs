//! Changes compile to the same ruleset as the state that they lead to, and touch nothing that is equal.
#![allow(missing_docs, reason = "a test has no readers of its interface")]

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use portolan_rules::{
    compile::{Compiler, Config},
    diff::diff,
    model::{
        Endpoint, EndpointPort, EndpointSlice, Hints, LoadBalancing, Node, ObjectName, Protocol, Service,
        ServicePort, TrafficPolicy,
    },
    ruleset::{ElementData, Ruleset},
    state::State,
    transaction::Operation,
};
use proptest::{collection::vec, option, prelude::*};

/// What a change does to one of a few Services.
#[derive(Clone, Debug)]
enum Change {
    Service { name: u8, service: Option<Shape> },
    Slice { service: u8, slice: u8, endpoints: Option<Vec<(u8, bool)>> },
    Zone(u8),
}

/// The features of a Service that decide its frontends.
#[derive(Clone, Debug)]
struct Shape {
    created: Option<i64>,
    cluster_ip: u8,
    dual_stack: bool,
    external: Option<u8>,
    node_port: Option<u8>,
    port: u8,
    udp: bool,
    local: (bool, bool),
    load_balancer: Option<u8>,
    ranges: Vec<u8>,
    affinity: Option<u32>,
    source_hash: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    let doors = (option::of(0u8..3), option::of(0u8..3), option::of(0u8..3));
    (
        (option::of(0i64..3), 0u8..6, any::<bool>(), doors, 0u8..3, any::<bool>()),
        (any::<(bool, bool)>(), vec(0u8..8, 0..3)),
        (option::weighted(0.3, 60u32..62), prop::bool::weighted(0.05)),
    )
        .prop_map(|(basics, (local, ranges), (affinity, source_hash))| {
            let (created, cluster_ip, dual_stack, doors, port, udp) = basics;
            Shape {
                created,
                cluster_ip,
                dual_stack,
                external: doors.0,
                node_port: doors.1,
                load_balancer: doors.2,
                port,
                udp,
                local,
                ranges,
                affinity,
                source_hash,
            }
        })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0u8..5, option::weighted(0.8, shape())).prop_map(|(name, service)| Change::Service { name, service }),
        5 => (0u8..5, 0u8..2, option::weighted(0.9, vec((0u8..12, any::<bool>()), 0..8)))
            .prop_map(|(service, slice, endpoints)| Change::Slice { service, slice, endpoints }),
        1 => (0u8..3).prop_map(Change::Zone),
    ]
}

/// A Service with a ClusterIP and perhaps a node port, nothing else.
fn plain_shape(node_port: Option<u8>) -> Shape {
    Shape {
        created: None,
        cluster_ip: 1,
        dual_stack: false,
        external: None,
        node_port,
        port: 0,
        udp: false,
        local: (false, false),
        load_balancer: None,
        ranges: Vec::new(),
        affinity: None,
        source_hash: false,
    }
}

fn service(name: &ObjectName, shape: &Shape) -> Service {
    let mut cluster_ips: Vec<IpAddr> = vec![[10, 96, 0, shape.cluster_ip].into()];
    if shape.dual_stack {
        cluster_ips.push(format!("fd00::{}", shape.cluster_ip).parse().unwrap());
    }
    let protocol = if shape.udp { Protocol::Udp } else { Protocol::Tcp };
    Service {
        name: name.clone(),
        created: shape.created,
        cluster_ips,
        external_ips: shape.external.iter().map(|n| [192, 0, 2, *n].into()).collect(),
        load_balancer_ips: shape.load_balancer.iter().map(|n| [192, 0, 2, *n].into()).collect(),
        source_ranges: shape
            .ranges
            .iter()
            .map(|n| format!("10.0.{}.0/2{}", n / 2, n % 4 + 2).parse().unwrap())
            .collect(),
        internal_policy: policy(shape.local.0),
        external_policy: policy(shape.local.1),
        affinity_timeout: shape.affinity,
        load_balancing: if shape.source_hash { LoadBalancing::SourceHash } else { LoadBalancing::Random },
        health_check_node_port: None,
        ports: vec![ServicePort {
            name: "".into(),
            protocol,
            port: 80 + u16::from(shape.port),
            node_port: shape.node_port.map(|n| 30000 + u16::from(n)),
        }],
    }
}

fn policy(local: bool) -> TrafficPolicy {
    if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster }
}

fn slice(name: &ObjectName, service: &str, endpoints: &[(u8, bool)]) -> EndpointSlice {
    let endpoint = |(n, ready): &(u8, bool)| Endpoint {
        address: if n % 4 == 0 { format!("fd01::{n}").parse().unwrap() } else { [10, 0, 0, *n].into() },
        ready: *ready,
        serving: *ready,
        terminating: false,
        weight: u16::from(*n % 5),
        node: Some(if n % 2 == 0 { "here" } else { "there" }.into()),
        hints: Hints { zones: vec![format!("zone-{}", n % 3).into()], nodes: Vec::new() },
    };
    let port = |protocol| EndpointPort { name: "".into(), protocol, port: 8080 };
    EndpointSlice {
        name: name.clone(),
        service: service.into(),
        ports: vec![port(Protocol::Tcp), port(Protocol::Udp)],
        endpoints: endpoints.iter().map(endpoint).collect(),
    }
}

fn apply(state: &mut State, change: &Change) {
    match change {
        Change::Service { name, service: shape } => {
            let name = ObjectName::new("default", format!("svc-{name}"));
            state.set_service(&name, shape.as_ref().map(|shape| Arc::new(service(&name, shape))));
        }
        Change::Slice { service, slice: n, endpoints } => {
            let owner = format!("svc-{service}");
            let name = ObjectName::new("default", format!("{owner}-{n}"));
            let endpoints = endpoints.as_ref().map(|e| Arc::new(slice(&name, &owner, e)));
            state.set_slice(&name, endpoints);
        }
        Change::Zone(zone) => {
            let zone = Some(format!("zone-{zone}").into());
            state.set_node(Node { zone, ..state.node().clone() });
        }
    }
}

/// The ruleset with each frontend's endpoints as a sorted list instead of at their slots, which depend on
/// what was there before.
fn without_slots(ruleset: &Ruleset) -> (Ruleset, BTreeMap<Vec<u8>, Vec<Vec<u8>>>) {
    let mut rest = ruleset.clone();
    let mut endpoints: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for table in rest.tables.values_mut() {
        for name in ["endpoints", "node-endpoints"] {
            for (key, element) in std::mem::take(&mut table.sets[name].elements) {
                let ElementData::Value(value) = element.data else { panic!("an endpoint is a value") };
                let frontend = key.as_bytes()[..key.as_bytes().len() - 4].to_vec();
                endpoints.entry(frontend).or_default().push(value.as_bytes().to_vec());
            }
        }
        for set in table.sets.values_mut() {
            // Once outgrown, a set stays as large as it is.
            set.size = None;
        }
        // With session affinity, the numbers of a ServicePort and of its endpoints depend on history too.
        for name in ["attributes", "node-port-attributes"] {
            let elements = std::mem::take(&mut table.sets[name].elements);
            let lasts = |key: &[u8]| {
                let number = key.last_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
                number.is_some_and(|number| number < 1 << 16 && number != 2)
            };
            table.sets[name].elements =
                elements.into_iter().filter(|(key, _)| lasts(key.as_bytes())).collect();
        }
    }
    for list in endpoints.values_mut() {
        list.sort();
    }
    (rest, endpoints)
}

fn state() -> State {
    State::new(Node { name: "here".into(), ..Node::default() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changes_lead_to_the_ruleset_of_their_state(steps in vec(vec(change(), 1..4), 1..12)) {
        let config = Config::default();
        let mut state = state();
        let mut compiler = Compiler::new(config.clone());
        compiler.load(&mut state, &Ruleset::default());
        let mut kernel = compiler.ruleset();
        let mut history = Vec::new();
        for step in steps {
            for change in &step {
                apply(&mut state, change);
                history.push(change.clone());
            }
            let update = compiler.update(&mut state);
            let after = update.transaction.apply(&kernel).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(&after, &compiler.ruleset(), "the transaction leads to the compiled ruleset");

            // Minimal: as short as the difference between the two rulesets.
            let shortest = diff(&config.table, &kernel, &after);
            prop_assert_eq!(update.transaction.len(), shortest.len());
            let elsewhere = shortest.apply(&kernel).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(&elsewhere, &after);

            // From nothing, in one go, the same comes out but for the slots.
            let mut fresh_state = self::state();
            for change in &history {
                apply(&mut fresh_state, change);
            }
            let mut fresh = Compiler::new(config.clone());
            fresh.load(&mut fresh_state, &Ruleset::default());
            prop_assert_eq!(without_slots(&fresh.ruleset()), without_slots(&after));

            let created = fresh.creation().apply(&Ruleset::default());
            prop_assert_eq!(created.map_err(|e| TestCaseError::fail(e.to_string()))?, fresh.ruleset());

            // A restart over the kernel's ruleset has nothing to write.
            let mut restarted = Compiler::new(config.clone());
            restarted.load(&mut fresh_state, &after);
            let diff = diff(&config.table, &after, &restarted.ruleset());
            prop_assert_eq!(diff.operations, vec![]);
            kernel = after;
        }
    }

    #[test]
    fn the_diff_of_any_two_rulesets_leads_from_one_to_the_other(
        one in vec(change(), 0..12),
        other in vec(change(), 0..12),
    ) {
        let compiled = |changes: &[Change], masquerade_all| {
            let mut state = state();
            for change in changes {
                apply(&mut state, change);
            }
            let mut compiler = Compiler::new(Config { masquerade_all, ..Config::default() });
            compiler.load(&mut state, &Ruleset::default());
            compiler.ruleset()
        };
        let (one, other) = (compiled(&one, false), compiled(&other, true));
        let table = Config::default().table;
        for (from, to) in [(&one, &other), (&Ruleset::default(), &one), (&one, &Ruleset::default())] {
            let diff = diff(&table, from, to);
            let reached = diff.apply(from).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(&reached, to);
        }
    }
}

#[test]
fn switching_counters_replaces_two_maps_and_keeps_every_slot() {
    let name = ObjectName::new("default", "web");
    let mut state = state();
    state.set_service(&name, Some(Arc::new(service(&name, &plain_shape(Some(1))))));
    state.set_slice(&name, Some(Arc::new(slice(&name, "web", &[(1, true), (2, true), (3, true)]))));
    let mut compiled = |endpoint_counters, kernel: &Ruleset| {
        let mut compiler = Compiler::new(Config { endpoint_counters, ..Config::default() });
        compiler.load(&mut state, kernel);
        compiler.ruleset()
    };
    let without = compiled(false, &Ruleset::default());
    let with = compiled(true, &without);
    for (from, to, counter) in [(&without, &with, true), (&with, &compiled(false, &with), false)] {
        let diff = diff(&Config::default().table, from, to);
        assert_eq!(&diff.apply(from).expect("the kernel takes it"), to);
        for table in to.tables.values() {
            for set in table.sets.values() {
                let before =
                    from.tables.values().find_map(|t| t.sets.get(&set.name).filter(|s| s.key == set.key));
                assert_eq!(set.counter, counter && ["endpoints", "node-endpoints"].contains(&&*set.name));
                assert_eq!(before.map(|before| before.size), Some(set.size));
            }
        }
        let replaced = diff.operations.iter().filter(|(_, op)| matches!(op, Operation::DeleteSet(_)));
        assert_eq!(replaced.count(), 4, "two in each family");
    }
    let elements = |ruleset: &Ruleset| -> Vec<_> {
        let sets = ruleset.tables.values().flat_map(|table| table.sets.values());
        sets.map(|set| set.elements.clone()).collect()
    };
    assert_eq!(elements(&without), elements(&with));
}

#[test]
fn a_set_that_is_outgrown_is_replaced_in_the_same_transaction() {
    let mut state = state();
    let mut compiler = Compiler::new(Config::default());
    let name = ObjectName::new("default", "web");
    let shape = plain_shape(Some(1));
    state.set_service(&name, Some(Arc::new(service(&name, &shape))));
    compiler.load(&mut state, &Ruleset::default());
    let before = compiler.ruleset();

    let mut many = slice(&name, "web", &[(1, true)]);
    let one = many.endpoints.remove(0);
    many.endpoints = (0..2000u16)
        .map(|n| Endpoint { address: [10, 1, (n >> 8) as u8, n as u8].into(), ..one.clone() })
        .collect();
    state.set_slice(&name, Some(Arc::new(many)));
    let update = compiler.update(&mut state);
    let after = update.transaction.apply(&before).expect("the kernel takes it");
    assert_eq!(after, compiler.ruleset());
    let replaced = update.transaction.operations.iter().filter_map(|(_, op)| match op {
        Operation::DeleteSet(name) => Some(&**name),
        _ => None,
    });
    assert_eq!(replaced.collect::<Vec<_>>(), ["endpoints", "node-endpoints"]);
}

#[test]
fn a_swap_is_one_delete_and_one_add() {
    let mut state = state();
    let mut compiler = Compiler::new(Config::default());
    let name = ObjectName::new("default", "web");
    let shape = plain_shape(None);
    state.set_service(&name, Some(Arc::new(service(&name, &shape))));
    state.set_slice(&name, Some(Arc::new(slice(&name, "web", &[(1, true), (6, true), (11, true)]))));
    compiler.load(&mut state, &Ruleset::default());

    state.set_slice(&name, Some(Arc::new(slice(&name, "web", &[(1, true), (21, true), (11, true)]))));
    let swap: Vec<_> = compiler
        .update(&mut state)
        .transaction
        .operations
        .into_iter()
        .filter(|(_, op)| !matches!(op, Operation::DeleteElement { set, .. } | Operation::AddElement { set, .. } if &*set.name == "hairpin"))
        .collect();
    assert!(matches!(
        swap.as_slice(),
        [(_, Operation::DeleteElement { .. }), (_, Operation::AddElement { .. })]
    ));
    assert!(compiler.update(&mut state).transaction.is_empty(), "what is done is done");
}
