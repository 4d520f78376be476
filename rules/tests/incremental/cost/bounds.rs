//! The maximum cost of Services, whatever they ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portolan_rules::{
    compile::{Compiler, Problem, Severity},
    incremental::plan::PART,
    model::{
        Endpoint, EndpointPort, EndpointSlice, LoadBalancing, Node, ObjectName, Protocol, Service,
        ServicePort, TrafficPolicy,
    },
    plane::{Config, PodDetector},
    ruleset::{Ruleset, Table, Transaction},
    state::State,
};
use proptest::{collection::vec, prelude::*};

use crate::plan::WholePlan;

/// Maximum number of slots, and of frontends, of a Service.
const MOST: usize = 65_536;

/// A Service as a hostile user may make it.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each stands for a field of its own")]
struct Asked {
    ports: u16,
    udp: bool,
    node_ports: bool,
    dual_stack: bool,
    load_balancers: u16,
    externals: u16,
    ranges: u16,
    timeout: Option<u32>,
    source_hash: bool,
    local: (bool, bool),
    endpoints: u16,
    weights: Vec<u16>,
}

impl Asked {
    /// A ClusterIP and one port.
    fn plain(endpoints: u16) -> Self {
        Self {
            ports: 1,
            udp: false,
            node_ports: false,
            dual_stack: false,
            load_balancers: 0,
            externals: 0,
            ranges: 0,
            timeout: None,
            source_hash: false,
            local: (false, false),
            endpoints,
            weights: vec![1],
        }
    }

    fn families(&self) -> usize {
        1 + usize::from(self.dual_stack)
    }

    /// The number of frontends in both families together.
    fn frontends(&self) -> usize {
        let addresses = usize::from(self.load_balancers + self.externals);
        usize::from(self.ports) * (self.families() * (1 + usize::from(self.node_ports)) + addresses)
    }

    fn weight(&self, endpoint: u16) -> u16 {
        self.weights[usize::from(endpoint) % self.weights.len()]
    }

    /// Maximum number of elements: twice for session affinity and twice for policy Local, for each endpoint of each
    /// frontend, and some for each frontend and endpoint.
    fn most_elements(&self) -> usize {
        let weights: usize = (0..self.endpoints).map(|n| usize::from(self.weight(n))).sum();
        let at_each = if self.source_hash { 65_521.min(1021.max(256 * weights)) } else { weights };
        let frontends = self.frontends().min(MOST);
        let slots = (2 * at_each * frontends).min(MOST);
        let guarded = usize::from(self.ports * self.load_balancers);
        let ranges = (usize::from(self.ranges) * guarded).min(8_192 * self.families());
        2 * slots + 6 * frontends + ranges + self.families() * (1 + usize::from(self.endpoints))
    }

    fn service(&self, n: u16) -> Service {
        let [high, low] = n.to_be_bytes();
        let port = |i: u16| ServicePort {
            name: i.to_string().into(),
            protocol: if self.udp { Protocol::Udp } else { Protocol::Tcp },
            port: 1 + i,
            node_port: self.node_ports.then_some(n.wrapping_mul(50).wrapping_add(i).saturating_add(10_000)),
        };
        let mut cluster_ips = vec![[10, 96, high, low].into()];
        if self.dual_stack {
            cluster_ips.push(format!("fd00::{n:x}").parse().expect("an address"));
        }
        let many = |first: u8, count: u16| {
            let address = move |i: u16| [first, low, i.to_be_bytes()[0], i.to_be_bytes()[1]].into();
            (0..count).map(address).collect()
        };
        let range = |i: u16| format!("172.{}.{}.0/28", 16 + i / 256, i % 256).parse().expect("a range");
        let policy = |local| if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
        Service {
            load_balancer_ips: many(192, self.load_balancers),
            external_ips: many(198, self.externals),
            source_ranges: (0..self.ranges).map(range).collect(),
            affinity_timeout: self.timeout,
            load_balancing: if self.source_hash { LoadBalancing::SourceHash } else { LoadBalancing::Random },
            internal_policy: policy(self.local.0),
            external_policy: policy(self.local.1),
            ..Service::cluster_ip(name(n), cluster_ips, (0..self.ports).map(port).collect())
        }
    }

    /// One slice per family.
    fn slices(&self, n: u16) -> Vec<EndpointSlice> {
        let protocol = if self.udp { Protocol::Udp } else { Protocol::Tcp };
        let port = |i: u16| EndpointPort { name: i.to_string().into(), protocol, port: 8000 + i };
        let slice = |v6: bool| {
            let endpoint = |i: u16| Endpoint {
                node: Some(if i.is_multiple_of(8) { "here" } else { "there" }.into()),
                weight: self.weight(i),
                ..Endpoint::ready(if v6 {
                    format!("fd01::{n:x}:{i:x}").parse().expect("an address")
                } else {
                    [10, n.to_be_bytes()[1], i.to_be_bytes()[0], i.to_be_bytes()[1]].into()
                })
            };
            EndpointSlice {
                name: ObjectName::new("default", format!("service-{n}-{v6}")),
                service: name(n).name,
                ports: (0..self.ports).map(port).collect(),
                endpoints: (0..self.endpoints).map(endpoint).collect(),
            }
        };
        (0..self.families()).map(|family| slice(family == 1)).collect()
    }
}

fn name(n: u16) -> ObjectName {
    ObjectName::new("default", format!("service-{n}"))
}

fn set(state: &mut State, n: u16, asked: &Asked) {
    for slice in asked.slices(n) {
        state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
    }
    state.set_service(&name(n), Some(Arc::new(asked.service(n))));
}

fn compiler() -> Compiler {
    let networks = vec!["10.0.0.0/8".parse().expect("a network"), "fd01::/64".parse().expect("a network")];
    Compiler::new(Config { pods: PodDetector::Networks(networks), ..Config::default() })
}

fn state() -> State {
    State::new(Node { name: "here".into(), ..Node::default() })
}

/// Compiled from nothing.
fn compile(asked: &[Asked]) -> (State, Compiler, Vec<Problem>) {
    let mut state = state();
    (0..).zip(asked).for_each(|(n, asked)| set(&mut state, n, asked));
    let mut compiler = compiler();
    let problems = compiler.load(&mut state, &Ruleset::default());
    (state, compiler, problems)
}

fn asked() -> impl Strategy<Value = Asked> {
    let frontends = (1u16..6, any::<[bool; 3]>(), 0u16..3, 0u16..3, prop_oneof![3 => Just(0), 1 => 1u16..30]);
    let picks = (proptest::option::of(1u32..=86_400), prop::bool::weighted(0.2), any::<(bool, bool)>());
    let weights = prop_oneof![3 => Just(vec![1]), 1 => vec(0u16..=100, 1..4)];
    (frontends, picks, 0u16..30, weights).prop_map(|(frontends, picks, endpoints, weights)| {
        let (ports, [udp, node_ports, dual_stack], load_balancers, externals, ranges) = frontends;
        let (timeout, source_hash, local) = picks;
        let source_hash_or_few = if source_hash { 1 } else { ports };
        Asked {
            ports: source_hash_or_few,
            udp,
            node_ports,
            dual_stack,
            load_balancers,
            externals,
            ranges,
            timeout,
            source_hash,
            local,
            endpoints,
            weights,
        }
    })
}

/// How many rules read or write each set.
fn bindings(table: &Table) -> BTreeMap<String, usize> {
    let mut bindings = BTreeMap::new();
    for rule in table.chains.values().flat_map(|chain| &chain.rules) {
        let sets: BTreeSet<_> = rule.statements.iter().flat_map(|statement| statement.sets()).collect();
        for set in sets {
            *bindings.entry(set.to_string()).or_default() += 1;
        }
    }
    bindings
}

fn elements(ruleset: &Ruleset) -> usize {
    let sets = ruleset.tables.values().flat_map(|table| table.sets.values());
    sets.filter(|set| !["classes", "direct-classes", "draws"].contains(&&*set.name))
        .map(|set| set.elements.len())
        .sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_services_have_few_chains_and_bindings_and_the_elements_of_their_endpoints(
        asked in vec(asked(), 1..60),
    ) {
        let ruleset = compile(&asked).1.ruleset();
        let empty = compiler().ruleset();
        for (family, table) in &ruleset.tables {
            let constant = &empty.tables[family];
            let of_timeouts = table.chains.keys().filter(|name| name.starts_with("affinity-remember-")).count();
            prop_assert!(of_timeouts <= 136);
            // The large maps are read by rules that exist anyway, except for two rules for each step of the timeouts.
            let mut expected = bindings(constant);
            *expected.entry("affinity".into()).or_default() += 2 * of_timeouts;
            let mut found = bindings(table);
            for bindings in [&mut expected, &mut found] {
                // Interval sets, which nothing walks: each restricted class reads the ranges.
                bindings.remove("allowed-sources");
            }
            prop_assert_eq!(&found, &expected);

            let slots = |table: &Table| table.sets["endpoints"].elements.len() + table.sets["attributes"].elements.len();
            // Different numbers of endpoints need different endpoints: this limits their number.
            let of_counts = (2 * slots(table)).isqrt() + 1;
            let most = constant.chains.len() + 12 * of_timeouts + 12 * of_counts;
            prop_assert!(table.chains.len() <= most, "{} chains, not {most}", table.chains.len());
            let rules = table.chains.values().map(|chain| chain.rules.len()).max();
            prop_assert!(rules <= Some(12), "{rules:?} rules in a chain");
        }
        let most: usize = asked.iter().map(Asked::most_elements).sum();
        let found = elements(&ruleset);
        prop_assert!(found <= most, "{found} elements, not {most}");
    }
}

/// The number of elements of one Service, and its problems.
fn alone(asked: &Asked) -> (usize, Vec<Problem>) {
    let (_, compiler, problems) = compile(std::slice::from_ref(asked));
    (elements(&compiler.ruleset()), problems)
}

#[test]
fn a_service_that_asks_for_too_much_has_what_fits_and_one_warning_that_names_the_field() {
    let plain = Asked::plain;
    let hash = Asked { ports: 20, source_hash: true, ..plain(65) };
    let weights = Asked { ports: 2, node_ports: true, weights: vec![97, 89], ..plain(700) };
    let endpoints = Asked { ports: 40, node_ports: true, ..plain(2_000) };
    let sticky = Asked { timeout: Some(60), ..endpoints.clone() };
    let externals = Asked { ports: 100, externals: 5_000, ..plain(3) };
    let ports = Asked { ports: 20_000, ..plain(3) };
    let ranges = Asked { ports: 5, load_balancers: 2, ranges: 2_000, ..plain(3) };
    for (asked, field, severity) in [
        (hash, "metadata.annotations[portolan.io/load-balancing]", Severity::Notice),
        (weights, "metadata.annotations[portolan.io/weights]", Severity::Notice),
        (endpoints, "spec.ports", Severity::Error),
        (sticky, "spec.ports", Severity::Error),
        (externals, "spec.externalIPs", Severity::Error),
        (ports, "spec.ports", Severity::Error),
        (ranges, "spec.loadBalancerSourceRanges", Severity::Error),
        (
            Asked { timeout: Some(3_601), ..plain(3) },
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            Severity::Notice,
        ),
    ] {
        let (found, problems) = alone(&asked);
        let said: Vec<_> = problems.iter().map(|problem| (&*problem.message, problem.severity)).collect();
        assert!(found <= asked.most_elements(), "{field}: {found} elements");
        let [(message, found_severity), rest @ ..] = &*said else { panic!("{field}: nothing is said") };
        assert!(message.starts_with(field) && *found_severity == severity, "{field}: {said:?}");
        // So many frontends leave little room for endpoints, which is a separate problem.
        assert!(rest.iter().all(|(message, _)| message.contains("slots")), "{field}: {said:?}");
        assert!(rest.len() <= usize::from(asked.frontends() > MOST), "{field}: {said:?}");
    }
}

#[test]
fn an_honest_service_has_all_that_it_asks_for() {
    for (asked, slots) in [
        (Asked { node_ports: true, load_balancers: 1, ..Asked::plain(10_000) }, 30_000),
        (Asked { node_ports: true, dual_stack: true, ..Asked::plain(10_000) }, 40_000),
        (
            Asked { ports: 3, node_ports: true, load_balancers: 1, source_hash: true, ..Asked::plain(65) },
            36_837,
        ),
        (Asked { ports: 4_000, udp: true, ..Asked::plain(10) }, 40_000),
        (Asked { weights: vec![100, 99], ..Asked::plain(600) }, 59_700),
        (Asked { timeout: Some(10_800), ..Asked::plain(10_000) }, 10_000),
    ] {
        let (_, compiler, problems) = compile(std::slice::from_ref(&asked));
        assert_eq!(problems, [], "{asked:?}");
        let ruleset = compiler.ruleset();
        let sets = ruleset.tables.values().flat_map(|table| table.sets.values());
        let endpoints = sets.filter(|set| ["endpoints", "node-endpoints"].contains(&&*set.name));
        assert_eq!(endpoints.map(|set| set.elements.len()).sum::<usize>(), slots, "{asked:?}");
    }
}

/// The plans for one more endpoint, and for one less.
fn grow_and_shrink(asked: &Asked) -> [WholePlan; 2] {
    let (mut state, mut compiler, known) = compile(std::slice::from_ref(asked));
    [asked.endpoints + 1, asked.endpoints].map(|endpoints| {
        set(&mut state, 0, &Asked { endpoints, ..asked.clone() });
        let update = compiler.update(&mut state);
        let news: Vec<_> = update.problems.iter().filter(|problem| !known.contains(problem)).collect();
        assert!(news.len() <= 1, "what is known is not reported again: {news:?}");
        WholePlan::of(&mut compiler, &update)
    })
}

#[test]
fn an_endpoint_of_a_service_that_asks_for_too_much_costs_no_more_than_its_slots() {
    // The table gets another size, which used to take two million operations.
    for endpoints in [16, 64, 128] {
        let hash = Asked { ports: 20, source_hash: true, ..Asked::plain(endpoints) };
        for plan in grow_and_shrink(&hash) {
            assert!(plan.len() <= 2 * MOST + 400, "{} operations", plan.len());
            assert!(plan.transactions().all(|part| part.len() <= PART + 512), "no part is large");
        }
    }
    // Beyond the bound, the last endpoints make room, one at each frontend.
    let endpoints = Asked { ports: 40, ..Asked::plain(2_000) };
    for plan in grow_and_shrink(&endpoints) {
        assert!(plan.len() <= 4 * 40, "{} operations", plan.len());
    }
}

/// Nanoseconds that this thread has been running.
fn cpu_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    text.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Processor time of `work`, run `times` times. The kernel counts in ticks, so the time should span several.
fn time(times: u32, mut work: impl FnMut()) -> u64 {
    let start = cpu_time();
    (0..times).for_each(|_| work());
    (cpu_time() - start).max(1)
}

#[test]
fn as_many_ports_cost_about_as_much_in_one_service_as_in_eight() {
    // Slices of a hundred ports, as the API has them.
    let many = |ports: u16, udp| {
        let mut state = state();
        let asked = Asked { ports, udp, ..Asked::plain(2) };
        let [slice] = &*asked.slices(0) else { panic!("one family") };
        for (i, of_slice) in slice.ports.chunks(100).enumerate() {
            let name = ObjectName::new("default", format!("service-0-{i}"));
            let part = EndpointSlice { name: name.clone(), ports: of_slice.to_vec(), ..slice.clone() };
            state.set_slice(&name, Some(Arc::new(part)));
        }
        state.set_service(&name(0), Some(Arc::new(asked.service(0))));
        state
    };
    let costs = |ports, times, udp| {
        let mut state = many(ports, udp);
        let load = time(times, || drop(compiler().load(&mut state.clone(), &Ruleset::default())));
        let mut compiler = compiler();
        compiler.load(&mut state, &Ruleset::default());
        let mut last = 1;
        let change = time(times, || {
            last = if last > 200 { 2 } else { last + 1 };
            for i in 0..ports.div_ceil(100) {
                let name = ObjectName::new("default", format!("service-0-{i}"));
                let mut slice =
                    state.get(&self::name(0)).and_then(|s| s.slice(&name.name)).expect("it is there").clone();
                slice.endpoints[1].address = [10, 0, 9, last].into();
                state.set_slice(&name, Some(Arc::new(slice)));
            }
            let update = compiler.update(&mut state);
            assert_eq!(update.steps.iter().map(Transaction::len).sum::<usize>(), 2 * usize::from(ports));
            if udp {
                assert_eq!(compiler.flows(update.stale.udp).destinations().len(), usize::from(ports));
            }
        });
        [load, change]
    };
    for udp in [false, true] {
        let (apart, together) = (costs(500, 40, udp), costs(4_000, 5, udp));
        for (apart, together) in apart.into_iter().zip(together) {
            // Sorting takes a little more; comparing each with each would take eight times as much.
            assert!(together < 4 * apart, "{apart} ns become {together} ns");
        }
    }
}
