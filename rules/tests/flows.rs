//! Which UDP flows are stale after a change: every one that leads astray is named, and nothing else is.
#![allow(missing_docs, reason = "a test has no readers of its interface")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use portolan_rules::{
    compile::{Compiler, Config},
    flows::destinations,
    model::{Endpoint, EndpointPort, EndpointSlice, Node, ObjectName, Protocol, Service, ServicePort},
    ruleset::Ruleset,
    state::State,
};
use proptest::{collection::vec, option, prelude::*};

const NODE: &str = "192.0.2.1";
const OTHER_NODE_ADDRESS: &str = "192.0.2.2";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn service(name: &str, cluster_ip: u8, protocol: Protocol, port: u16, node_port: Option<u16>) -> Service {
    let cluster_ips = vec![[10, 96, 0, cluster_ip].into(), format!("fd00::{cluster_ip}").parse().unwrap()];
    let ports = vec![ServicePort { name: "".into(), protocol, port, node_port }];
    Service::cluster_ip(ObjectName::new("default", name), cluster_ips, ports)
}

#[derive(Clone, Copy, Debug)]
enum Condition {
    Ready,
    Draining,
    NotReady,
    /// Ready, but with weight 0.
    Drained,
    Gone,
}

impl Condition {
    fn endpoint(self, address: IpAddr) -> Endpoint {
        Endpoint {
            ready: matches!(self, Self::Ready | Self::Drained),
            serving: !matches!(self, Self::Gone),
            terminating: matches!(self, Self::Draining),
            node: Some("elsewhere".into()),
            weight: u16::from(!matches!(self, Self::Drained)),
            ..Endpoint::ready(address)
        }
    }
}

fn slice(service: &str, port: u16, endpoints: &[(u8, Condition)]) -> EndpointSlice {
    let addresses = |n: u8| [IpAddr::from([10, 0, 0, n]), format!("fd01::{n}").parse().unwrap()];
    EndpointSlice {
        name: ObjectName::new("default", service),
        service: service.into(),
        ports: [Protocol::Udp, Protocol::Tcp]
            .map(|protocol| EndpointPort { name: "".into(), protocol, port })
            .into(),
        endpoints: endpoints
            .iter()
            .flat_map(|(n, condition)| addresses(*n).map(|address| condition.endpoint(address)))
            .collect(),
    }
}

/// One Service `dns` at 10.96.0.1:53 and node port 30053, and what each change of it makes stale.
struct Dns {
    state: State,
    compiler: Compiler,
}

impl Dns {
    fn new(endpoints: &[(u8, Condition)]) -> Self {
        let mut dns = Self { state: State::new(Node::default()), compiler: Compiler::new(Config::default()) };
        dns.compiler.set_node_addresses(&[NODE.parse().unwrap()].into());
        dns.set_service(Some(service("dns", 1, Protocol::Udp, 53, Some(30_053))));
        dns.set_endpoints(53, endpoints);
        dns.compiler.load(&mut dns.state, &Ruleset::default());
        dns
    }

    fn set_service(&mut self, service: Option<Service>) {
        self.state.set_service(&ObjectName::new("default", "dns"), service.map(Arc::new));
    }

    fn set_endpoints(&mut self, port: u16, endpoints: &[(u8, Condition)]) {
        let slice = slice("dns", port, endpoints);
        self.state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
    }

    /// The IPv4 destinations that the next update names.
    fn stale(&mut self) -> Vec<String> {
        let stale = self.compiler.update(&mut self.state).stale;
        let v4: Vec<_> = stale.iter().filter(|at| at.is_ipv4()).map(ToString::to_string).collect();
        let v6 = stale.iter().filter(|at| at.is_ipv6() && at.port() == 53).count();
        assert_eq!(v6, v4.iter().filter(|at| at.ends_with(":53")).count(), "the families do not differ");
        v4
    }

    fn is_stale(&self, destination: &str, source: &str) -> bool {
        self.compiler.flows([at(destination)]).is_stale(at(destination), at(source))
    }
}

const BOTH: [&str; 2] = ["10.96.0.1:53", "192.0.2.1:30053"];

use Condition::{Drained, Draining, Gone, NotReady, Ready};

#[test]
fn a_replaced_backend_leaves_stale_flows_behind() {
    let mut dns = Dns::new(&[(1, Ready), (2, Ready)]);
    dns.set_endpoints(53, &[(2, Ready), (3, Ready)]);
    assert_eq!(dns.stale(), BOTH);
    for destination in BOTH {
        assert!(dns.is_stale(destination, "10.0.0.1:53"));
        assert!(!dns.is_stale(destination, "10.0.0.2:53"));
        assert!(!dns.is_stale(destination, "10.0.0.3:53"));
    }
}

#[test]
fn another_backend_leaves_none() {
    let mut dns = Dns::new(&[(1, Ready)]);
    dns.set_endpoints(53, &[(1, Ready), (2, Ready)]);
    assert_eq!(dns.stale(), [""; 0]);
    assert_eq!(dns.stale(), [""; 0]);
}

#[test]
fn a_changed_target_port_makes_flows_to_the_old_one_stale() {
    let mut dns = Dns::new(&[(1, Ready)]);
    dns.set_endpoints(5353, &[(1, Ready)]);
    assert_eq!(dns.stale(), BOTH);
    assert!(dns.is_stale(BOTH[0], "10.0.0.1:53") && !dns.is_stale(BOTH[0], "10.0.0.1:5353"));
}

#[test]
fn a_backend_keeps_its_flows_for_as_long_as_it_serves() {
    let mut dns = Dns::new(&[(1, Ready), (2, Ready)]);
    for condition in [Draining, NotReady, Drained] {
        dns.set_endpoints(53, &[(1, condition), (2, Ready)]);
        assert_eq!(dns.stale(), [""; 0], "{condition:?}");
        assert!(!dns.is_stale(BOTH[0], "10.0.0.1:53"));
    }
    dns.set_endpoints(53, &[(1, Gone), (2, Ready)]);
    assert_eq!(dns.stale(), BOTH);
    assert!(dns.is_stale(BOTH[0], "10.0.0.1:53"));
    // And may have new ones when it is ready again.
    dns.set_endpoints(53, &[(1, Ready), (2, Ready)]);
    assert_eq!(dns.stale(), [""; 0]);
    assert!(!dns.is_stale(BOTH[0], "10.0.0.1:53"));
}

#[test]
fn without_its_last_backend_every_flow_is_stale() {
    let mut dns = Dns::new(&[(1, Ready)]);
    dns.set_endpoints(53, &[]);
    assert_eq!(dns.stale(), BOTH);
    assert!(dns.is_stale(BOTH[0], "10.0.0.1:53") && dns.is_stale(BOTH[0], BOTH[0]));
}

#[test]
fn a_deleted_service_loses_its_translated_flows_only() {
    let mut dns = Dns::new(&[(1, Ready)]);
    dns.set_service(None);
    assert_eq!(dns.stale(), BOTH);
    for destination in BOTH {
        assert!(dns.is_stale(destination, "10.0.0.1:53"));
        assert!(!dns.is_stale(destination, destination), "it may be somebody else's by now");
    }
}

#[test]
fn a_new_service_takes_over_the_untranslated_flows() {
    let mut dns = Dns::new(&[(1, Ready)]);
    dns.set_service(None);
    dns.stale();
    dns.set_service(Some(service("dns", 1, Protocol::Udp, 53, Some(30_053))));
    assert_eq!(dns.stale(), BOTH);
    assert!(dns.is_stale(BOTH[0], BOTH[0]) && !dns.is_stale(BOTH[0], "10.0.0.1:53"));
}

#[test]
fn a_node_port_that_moves_is_stale_at_both_places() {
    let mut dns = Dns::new(&[(1, Ready)]);
    dns.set_service(Some(service("dns", 1, Protocol::Udp, 53, Some(30_054))));
    assert_eq!(dns.stale(), ["192.0.2.1:30053", "192.0.2.1:30054"]);
    assert!(dns.is_stale("192.0.2.1:30053", "10.0.0.1:53"));
    assert!(!dns.is_stale("192.0.2.1:30053", "192.0.2.1:30053"));
    assert!(dns.is_stale("192.0.2.1:30054", "192.0.2.1:30054"));
    assert!(!dns.is_stale("192.0.2.1:30054", "10.0.0.1:53"));
}

#[test]
fn node_ports_follow_the_addresses_of_the_node() {
    let mut dns = Dns::new(&[(1, Ready)]);
    dns.compiler.set_node_addresses(&[OTHER_NODE_ADDRESS.parse().unwrap()].into());
    assert_eq!(dns.stale(), ["192.0.2.1:30053", "192.0.2.2:30053"]);
    assert!(dns.is_stale("192.0.2.1:30053", "10.0.0.1:53"));
    assert!(!dns.is_stale("192.0.2.1:30053", "192.0.2.1:30053"));
    assert!(!dns.is_stale("192.0.2.2:30053", "10.0.0.1:53"));
    assert!(dns.is_stale("192.0.2.2:30053", "192.0.2.2:30053"));
}

#[test]
fn a_frontend_that_passes_to_another_service_takes_its_flows_along() {
    let mut dns = Dns::new(&[(1, Ready)]);
    let other = service("other", 1, Protocol::Udp, 53, None);
    let endpoints = slice("other", 53, &[(2, Ready)]);
    dns.state.set_service(&other.name.clone(), Some(Arc::new(other)));
    dns.state.set_slice(&endpoints.name.clone(), Some(Arc::new(endpoints)));
    assert_eq!(dns.stale(), [""; 0], "the elder one keeps it");
    dns.set_service(None);
    assert_eq!(dns.stale(), BOTH);
    assert!(dns.is_stale(BOTH[0], "10.0.0.1:53") && !dns.is_stale(BOTH[0], "10.0.0.2:53"));
}

#[test]
fn tcp_is_left_alone() {
    let mut dns = Dns::new(&[(1, Ready)]);
    dns.set_service(Some(service("dns", 1, Protocol::Tcp, 53, Some(30_053))));
    assert_eq!(dns.stale(), BOTH, "it was UDP");
    dns.set_endpoints(53, &[]);
    assert_eq!(dns.stale(), [""; 0]);
    dns.set_service(None);
    assert_eq!(dns.stale(), [""; 0]);
    assert!(destinations(&dns.compiler.ruleset()).is_empty());
}

#[derive(Clone, Debug)]
enum Change {
    Service { name: u8, service: Option<(u8, bool, Option<u8>)> },
    Endpoints { service: u8, port: bool, endpoints: Vec<(u8, Condition)> },
    NodeAddresses(BTreeSet<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let condition = prop_oneof![4 => Just(Ready), 1 => Just(Draining), 1 => Just(NotReady), 1 => Just(Drained), 2 => Just(Gone)];
    prop_oneof![
        3 => (0u8..4, option::weighted(0.8, (0u8..4, any::<bool>(), option::of(0u8..3))))
            .prop_map(|(name, service)| Change::Service { name, service }),
        5 => (0u8..4, any::<bool>(), vec((0u8..5, condition), 0..4))
            .prop_map(|(service, port, endpoints)| Change::Endpoints { service, port, endpoints }),
        1 => proptest::collection::btree_set(1u8..4, 0..3).prop_map(Change::NodeAddresses),
    ]
}

fn apply(state: &mut State, compiler: &mut Compiler, change: &Change) {
    match change {
        Change::Service { name, service: shape } => {
            let name = format!("svc-{name}");
            let made = shape.map(|(cluster_ip, udp, node_port)| {
                let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
                service(&name, cluster_ip, protocol, 53, node_port.map(|n| 30_000 + u16::from(n)))
            });
            state.set_service(&ObjectName::new("default", name), made.map(Arc::new));
        }
        Change::Endpoints { service, port, endpoints } => {
            let slice = slice(&format!("svc-{service}"), if *port { 53 } else { 5353 }, endpoints);
            state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
        }
        Change::NodeAddresses(last) => {
            compiler.set_node_addresses(&last.iter().map(|n| [192, 0, 2, *n].into()).collect());
        }
    }
}

/// Who serves each UDP destination, as the compiler says of all that its ruleset answers.
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
    let serves = |at: SocketAddr| endpoints.iter().copied().filter(|e| !flows.is_stale(at, *e)).collect();
    destinations(&compiler.ruleset()).into_iter().map(|at| (at, serves(at))).collect()
}

/// A flow in the kernel's table: where it was sent, and who answers it.
type Flow = (SocketAddr, SocketAddr);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_named_destinations_are_all_that_changed_hands(steps in vec(vec(change(), 1..4), 1..12)) {
        let mut state = State::new(Node::default());
        let mut compiler = Compiler::new(Config::default());
        compiler.load(&mut state, &Ruleset::default());
        // Every destination that could ever be, and a flow to each that nobody translated.
        let addresses = (0..4).flat_map(|n| [format!("10.96.0.{n}:53"), format!("[fd00::{n}]:53")]);
        let node_ports = (1..4).flat_map(|n| (0..3).map(move |port| format!("192.0.2.{n}:3000{port}")));
        let everywhere: BTreeSet<SocketAddr> = addresses.chain(node_ports).map(|text| at(&text)).collect();
        let mut flows: BTreeSet<Flow> = everywhere.iter().map(|at| (*at, *at)).collect();
        let mut before = serving(&compiler, &everywhere);
        for step in steps {
            for change in &step {
                apply(&mut state, &mut compiler, change);
            }
            let stale = compiler.update(&mut state).stale;
            let after = serving(&compiler, &everywhere);

            // Named are exactly those that began or ceased, or lost an endpoint; or that touched addresses of
            // the node came back within one step, which is seldom and harmless.
            let addresses_changed = step.iter().any(|change| matches!(change, Change::NodeAddresses(_)));
            let changed: BTreeSet<_> = everywhere.iter().copied().filter(|at| match (before.get(at), after.get(at)) {
                (None, None) => false,
                (Some(before), Some(after)) => !before.is_subset(after),
                _ => true,
            }).collect();
            prop_assert!(stale.is_superset(&changed), "{:?} of {:?}", stale, changed);
            for at in stale.difference(&changed) {
                prop_assert!(addresses_changed && at.port() >= 30_000, "{} is named needlessly", at);
            }

            // Removing what is stale at those alone leaves no stale flow anywhere.
            let named = compiler.flows(stale);
            flows.retain(|(destination, source)| !named.is_stale(*destination, *source));
            let all = compiler.flows(everywhere.iter().copied());
            let left: Vec<_> = flows.iter().filter(|(d, s)| all.is_stale(*d, *s)).collect();
            prop_assert_eq!(left, Vec::<&Flow>::new());

            // Clients go on: to endpoints where there are some, untranslated where nobody answers.
            for at in &everywhere {
                match after.get(at) {
                    Some(endpoints) => flows.extend(endpoints.iter().map(|endpoint| (*at, *endpoint))),
                    None => drop(flows.insert((*at, *at))),
                }
            }
            before = after;
        }
    }
}
