//! What is kept of a Service whose manifest cannot be read: everything that its packets need.
#![allow(missing_docs, reason = "a test has no readers of its interface")]

#[path = "model/apply.rs"]
mod apply;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use portolan_rules::{
    compile::Compiler,
    frontends::FrontendKey,
    model::{
        Endpoint, EndpointPort, EndpointSlice, LoadBalancing, Node, ObjectName, Protocol, Service,
        ServicePort, TrafficPolicy,
    },
    plane::{Config, SetName, endpoint_from_value},
    restart::leftovers::{Leftovers, keep_leftovers},
    ruleset::{Concat, ElementData, Family, Ruleset, Verdict, diff::diff},
    state::State,
};
use proptest::{collection::vec, prelude::*, sample::select};

use apply::Apply as _;

/// Service number `n`. The numbers cover every treatment of Services, and give them different addresses and node
/// ports.
fn service(n: u8) -> Service {
    let cluster_ips = vec![[10, 96, 0, n].into(), format!("fd00::{n}").parse().unwrap()];
    let node_port = Some(30000 + u16::from(n));
    let ports = vec![ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port }];
    Service {
        load_balancer_ips: vec![[198, 51, 100, n].into(), format!("fd02::{n}").parse().unwrap()],
        source_ranges: vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        external_policy: if n.is_multiple_of(2) { TrafficPolicy::Cluster } else { TrafficPolicy::Local },
        affinity_timeout: (!n.is_multiple_of(3)).then_some(60 * u32::from(n)),
        load_balancing: if n.is_multiple_of(3) { LoadBalancing::SourceHash } else { LoadBalancing::Random },
        ..Service::cluster_ip(ObjectName::new("default", format!("s{n}")), cluster_ips, ports)
    }
}

fn slice(n: u8) -> EndpointSlice {
    let endpoint = |last: u8, address: IpAddr| Endpoint {
        node: Some(if last.is_multiple_of(2) { "here" } else { "elsewhere" }.into()),
        ..Endpoint::ready(address)
    };
    EndpointSlice {
        name: ObjectName::new("default", format!("s{n}")),
        service: format!("s{n}").into(),
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: (0..=n)
            .flat_map(|last| {
                let addresses = [[10, 0, n, last].into(), format!("fd01::{n}:{last}").parse().unwrap()];
                addresses.map(|address| endpoint(last, address))
            })
            .collect(),
    }
}

fn state(services: &[u8]) -> State {
    let mut state = State::new(Node { name: "here".into(), ..Node::default() });
    for n in services {
        let service = service(*n);
        state.set_service(&service.name.clone(), Some(Arc::new(service)));
        state.set_slice(&slice(*n).name, Some(Arc::new(slice(*n))));
    }
    state
}

fn compiler() -> Compiler {
    let mut compiler = Compiler::new(Config::default());
    compiler.set_node_addresses(&BTreeSet::from([[192, 0, 2, 1].into()]));
    compiler
}

/// The rules of a state, on a node whose kernel has these rules.
fn load(state: &mut State, kernel: &Ruleset) -> Ruleset {
    let mut compiler = compiler();
    compiler.load(state, kernel);
    compiler.ruleset()
}

/// The rules for these Services, on a node whose kernel has these rules.
fn compiled(services: &[u8], kernel: &Ruleset) -> Ruleset {
    load(&mut state(services), kernel)
}

/// The rules for an incomplete state, on a node whose kernel has these rules.
fn only_more(state: &mut State, kernel: &Ruleset) -> (Ruleset, Leftovers) {
    let leftovers = Leftovers::find(kernel, &compiler(), state);
    let mut desired = load(state, kernel);
    leftovers.keep(&mut desired, &compiler());
    (desired, leftovers)
}

const ALL: [u8; 6] = [1, 2, 3, 4, 5, 6];

#[test]
fn nothing_changes_for_services_that_cannot_be_read() {
    let kernel = compiled(&ALL, &Ruleset::default());
    for readable in [&[][..], &[1], &[2, 3], &[4, 5, 6], &ALL] {
        let mut desired = compiled(readable, &kernel);
        keep_leftovers(&mut desired, &kernel, &compiler());
        let changes = diff(&"portolan".into(), &kernel, &desired);
        assert!(changes.is_empty(), "with {readable:?}: {changes:#?}");
    }
}

#[test]
fn services_that_can_be_read_change_beside_them_and_the_rest_goes_once_all_can() {
    let kernel = compiled(&[1, 2, 3, 4], &Ruleset::default());
    let mut desired = compiled(&[2, 5, 6], &kernel);
    keep_leftovers(&mut desired, &kernel, &compiler());
    let both = diff(&"portolan".into(), &kernel, &desired).apply(&kernel).unwrap();
    assert_eq!(both, desired);

    let last = compiled(&[2, 5, 6], &both);
    let changes = diff(&"portolan".into(), &both, &last);
    assert_eq!(changes.apply(&both).unwrap(), last);
}

#[test]
fn a_service_whose_slices_cannot_be_read_is_as_it_was() {
    let kernel = compiled(&ALL, &Ruleset::default());
    for unreadable in ALL {
        let mut state = state(&ALL);
        state.set_slice(&slice(unreadable).name, None);
        let (desired, leftovers) = only_more(&mut state, &kernel);
        let changes = diff(&"portolan".into(), &kernel, &desired);
        assert!(changes.is_empty(), "without slice {unreadable}: {changes:#?}");
        // Once everything is known, nothing of the Service is left behind.
        leftovers.release(&mut state);
        let without: Vec<u8> = ALL.into_iter().filter(|n| *n != unreadable).collect();
        let mut expected = self::state(&without);
        let service = service(unreadable);
        expected.set_service(&service.name.clone(), Some(Arc::new(service)));
        assert_eq!(load(&mut state, &kernel), load(&mut expected, &kernel));
    }
}

#[test]
fn a_frontend_that_another_service_claims_meanwhile_stays_with_the_one_that_had_it() {
    let kernel = compiled(&ALL, &Ruleset::default());
    let mut state = state(&ALL[1..]);
    let rival = Service { load_balancer_ips: service(1).load_balancer_ips, ..service(9) };
    let rival_slice = EndpointSlice { service: "s9".into(), ..slice(9) };
    state.set_service(&rival.name.clone(), Some(Arc::new(rival)));
    state.set_slice(&rival_slice.name.clone(), Some(Arc::new(rival_slice)));
    let (desired, _) = only_more(&mut state, &kernel);
    let contested = FrontendKey::Address([198, 51, 100, 1].into(), Protocol::Tcp, 80);
    assert_eq!(endpoints(&desired).get(&contested), endpoints(&kernel).get(&contested));
    let own = FrontendKey::Address([10, 96, 0, 9].into(), Protocol::Tcp, 80);
    assert_eq!(endpoints(&desired)[&own].len(), 10);
}

#[test]
fn ranges_of_cluster_ips_stay_unless_others_overlap_them() {
    let with = |ranges: &[&str], kernel: &Ruleset| {
        let (mut state, mut compiler) = (state(&[1]), compiler());
        let ranges: Vec<_> = ranges.iter().map(|range| range.parse().unwrap()).collect();
        compiler.set_service_cidrs(&mut state, &ranges);
        compiler.load(&mut state, kernel);
        compiler.ruleset()
    };
    let of = |ruleset: &Ruleset| keys(ruleset, Family::Ip, SetName::ServiceCidrs);
    let kernel = with(&["10.96.0.0/16", "10.98.0.0/16"], &Ruleset::default());
    for (readable, count) in [(&[][..], 2), (&["10.97.0.0/16"], 3), (&["10.98.0.0/17"], 2)] {
        let mut desired = with(readable, &kernel);
        keep_leftovers(&mut desired, &kernel, &compiler());
        assert_eq!(of(&desired).len(), count, "{readable:?}");
        assert_eq!(diff(&"portolan".into(), &kernel, &desired).apply(&kernel).unwrap(), desired);
    }
}

/// A frontend that was left over keeps its endpoints when its Service claims it later.
#[test]
fn a_service_that_becomes_readable_alone_takes_its_endpoints_over() {
    let kernel = compiled(&ALL, &Ruleset::default());
    let mut state = state(&[2, 3, 4, 5, 6]);
    let mut leftovers = Leftovers::find(&kernel, &compiler(), &mut state);
    let mut compiler = compiler();
    compiler.load(&mut state, &kernel);
    assert!(!leftovers.follow(&compiler, &mut state));
    let service = service(1);
    state.set_service(&service.name.clone(), Some(Arc::new(service)));
    compiler.update(&mut state);
    assert!(leftovers.follow(&compiler, &mut state));
    compiler.update(&mut state);
    compiler.forget_retiring();
    let mut desired = compiler.ruleset();
    leftovers.keep(&mut desired, &compiler);
    assert_no_less(&kernel, &desired);
    leftovers.release(&mut state);
    compiler.update(&mut state);
    let gone = FrontendKey::Address([10, 96, 0, 1].into(), Protocol::Tcp, 80);
    assert_eq!(endpoints(&compiler.ruleset()).get(&gone), None);
}

/// The endpoints of each frontend.
fn endpoints(ruleset: &Ruleset) -> BTreeMap<FrontendKey, BTreeSet<SocketAddr>> {
    let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (family, table) in &ruleset.tables {
        for map in [SetName::Endpoints, SetName::NodeEndpoints] {
            let set = &table.sets[map.name()];
            for (key, element) in &set.elements {
                let (frontend, _) = FrontendKey::from_slot(*family, &set.key, key).unwrap();
                let ElementData::Value(value) = &element.data else { panic!("{key:?}") };
                all.entry(frontend).or_default().insert(endpoint_from_value(*family, value).unwrap());
            }
        }
    }
    all
}

fn keys(ruleset: &Ruleset, family: Family, set: SetName) -> BTreeSet<Concat> {
    ruleset
        .tables
        .get(&family)
        .map(|table| table.sets[set.name()].elements.keys().cloned().collect())
        .unwrap_or_default()
}

/// Asserts that `desired` has everything in `kernel` that leads to endpoints.
#[track_caller]
fn assert_no_less(kernel: &Ruleset, desired: &Ruleset) {
    let now = endpoints(desired);
    for (frontend, endpoints) in endpoints(kernel) {
        let lacking: Vec<_> = endpoints.difference(&now[&frontend]).collect();
        assert!(lacking.is_empty(), "{frontend} lacks {lacking:?}");
    }
    for family in Family::ALL {
        use SetName::{ClusterIps, Frontends, Hairpin, NodeAddresses, NodePorts};
        for set in [Frontends, NodePorts, ClusterIps, NodeAddresses, Hairpin] {
            let (before, now) = (keys(kernel, family, set), keys(desired, family, set));
            let lacking: Vec<_> = before.difference(&now).collect();
            assert!(lacking.is_empty(), "{family} {set:?} lacks {lacking:?}");
        }
        let table = &desired.tables[&family];
        for map in [SetName::Frontends, SetName::NodePorts] {
            for element in table.sets[map.name()].elements.values() {
                let ElementData::Value(class) = &element.data else { panic!("no class") };
                let verdict = table.sets[SetName::Classes.name()].elements.get(class).map(|e| &e.data);
                if let Some(ElementData::Verdict(verdict)) = verdict {
                    let Verdict::Goto(chain) = verdict else { continue };
                    assert!(table.chains.contains_key(chain), "{chain} is missing");
                }
            }
        }
    }
    // The kernel accepts the change.
    assert_eq!(diff(&"portolan".into(), kernel, desired).apply(kernel).unwrap(), *desired);
}

/// What can be read of a slice at a start.
#[derive(Clone, Copy, Debug)]
enum Reading {
    Nothing,
    Same,
    /// Other endpoints, in this condition.
    Others(u8, Condition),
    /// The same endpoints, in this condition.
    Now(Condition),
}

#[derive(Clone, Copy, Debug)]
enum Condition {
    Ready,
    Terminating,
    NotReady,
}

fn reading() -> impl Strategy<Value = Reading> {
    let condition = || select(vec![Condition::Ready, Condition::Terminating, Condition::NotReady]);
    prop_oneof![
        Just(Reading::Nothing),
        Just(Reading::Same),
        (0..4_u8, condition()).prop_map(|(count, condition)| Reading::Others(count, condition)),
        condition().prop_map(Reading::Now),
    ]
}

/// One of two slices of a Service, with endpoints of these numbers.
fn half(n: u8, which: u8, numbers: std::ops::Range<u8>, condition: Condition) -> EndpointSlice {
    let whole = slice(n);
    let endpoints = numbers.flat_map(|last| {
        [IpAddr::from([10, 0, n, last]), format!("fd01::{n}:{last}").parse().unwrap()].map(|address| {
            Endpoint {
                node: Some(if last.is_multiple_of(2) { "here" } else { "elsewhere" }.into()),
                ready: matches!(condition, Condition::Ready),
                serving: !matches!(condition, Condition::NotReady),
                terminating: matches!(condition, Condition::Terminating),
                ..Endpoint::ready(address)
            }
        })
    });
    EndpointSlice {
        name: ObjectName::new("default", format!("s{n}-{which}")),
        endpoints: endpoints.collect(),
        ..whole
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    /// Whatever is missing or different, the result has both what the kernel has and what can be read.
    #[test]
    fn nothing_that_leads_somewhere_is_less(
        before in vec((any::<bool>(), 0..4_u8, 0..4_u8), 4),
        after in vec((any::<bool>(), reading(), reading(), any::<bool>()), 4),
    ) {
        let mut whole = State::new(Node { name: "here".into(), ..Node::default() });
        let mut partial = State::new(Node { name: "here".into(), ..Node::default() });
        for (n, ((is_there, first, second), (is_readable, read_first, read_second, has_rival))) in
            (1..).zip(before.into_iter().zip(after))
        {
            let object = Arc::new(service(n));
            if is_there {
                whole.set_service(&object.name, Some(Arc::clone(&object)));
            }
            if is_readable {
                partial.set_service(&object.name, Some(Arc::clone(&object)));
            }
            if has_rival {
                let rival = Service { external_ips: object.load_balancer_ips.clone(), ..service(n + 100) };
                partial.set_service(&rival.name.clone(), Some(Arc::new(rival)));
                partial.set_slice(&slice(n + 100).name, Some(Arc::new(slice(n + 100))));
            }
            for (which, numbers, reading) in [(0, 0..first, read_first), (1, 10..10 + second, read_second)] {
                let then = half(n, which, numbers.clone(), Condition::Ready);
                let now = match reading {
                    Reading::Nothing => None,
                    Reading::Same => Some(then.clone()),
                    Reading::Others(count, condition) => Some(half(n, which, 20..20 + count, condition)),
                    Reading::Now(condition) => Some(half(n, which, numbers, condition)),
                };
                if is_there {
                    whole.set_slice(&then.name.clone(), Some(Arc::new(then)));
                }
                if let Some(now) = now {
                    partial.set_slice(&now.name.clone(), Some(Arc::new(now)));
                }
            }
        }
        let kernel = load(&mut whole, &Ruleset::default());
        let alone = load(&mut partial, &kernel);
        let (desired, leftovers) = only_more(&mut partial, &kernel);
        assert_no_less(&kernel, &desired);
        // A restart in the same state changes nothing.
        leftovers.release(&mut partial);
        prop_assert_eq!(&load(&mut partial, &kernel), &alone);
        let (again, _) = only_more(&mut partial, &desired);
        let changes = diff(&"portolan".into(), &desired, &again);
        prop_assert!(changes.is_empty(), "{:#?}", changes);
    }
}
