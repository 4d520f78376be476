//! Random sequences of connections, changes, waiting and restarts: clients are remembered as promised.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    fmt::Write,
    net::IpAddr,
};

use portolan_rules::{
    model::{Endpoint, Service},
    ruleset::Family,
    simulate::{Fate, explain},
};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRunner},
};

use crate::{
    cluster::{Cluster, answer_of, lines},
    live::Live,
    manifest::{endpoint_line, manifest},
    packets::{Draft, draft},
    places::Place,
    strategies::{cluster, endpoint, every_port, service},
};

/// Number of sequences in a run, unless `PROPTEST_CASES` says otherwise.
const SEQUENCES: u32 = 400;

#[derive(Clone, Debug)]
enum Step {
    /// A connection, and the choice among the things that may happen.
    Connect(Draft, usize),
    /// The last connection once more.
    Again(usize),
    /// Milliseconds.
    Wait(u64),
    /// Other endpoints of a slice, by family.
    Endpoints(Index, [Vec<Endpoint>; 2]),
    Timeout(Index, Option<u32>),
    /// A Service that replaces the Service with the same name.
    Service(Box<Service>),
    DeleteService(Index),
    Zone(Option<&'static str>),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let timeout = option::of(select(vec![1, 17, 60, 61, 3600]));
    let endpoints = (vec(endpoint(Family::Ip), 0..6), vec(endpoint(Family::Ip6), 0..6));
    prop_oneof![
        16 => (draft(), 0..8usize).prop_map(|(draft, choice)| Step::Connect(draft, choice)),
        24 => (0..8usize).prop_map(Step::Again),
        4 => select(vec![1, 999, 1000, 8_000, 30_000, 60_000]).prop_map(Step::Wait),
        6 => (any::<Index>(), endpoints).prop_map(|(slice, (v4, v6))| Step::Endpoints(slice, [v4, v6])),
        1 => (any::<Index>(), timeout).prop_map(|(service, timeout)| Step::Timeout(service, timeout)),
        1 => service().prop_map(|service| Step::Service(Box::new(service))),
        1 => any::<Index>().prop_map(Step::DeleteService),
        1 => select(vec![Some("east"), Some("west"), None]).prop_map(Step::Zone),
        2 => Just(Step::Restart),
    ]
}

/// Makes Services valid and uncontested. Clusters in which little works remember few clients, and nothing is promised
/// to clients of a Service that is invalid or contested.
fn tidied(cluster: &mut Cluster) {
    for service in &mut cluster.services {
        let own = match (&*service.name.namespace, &*service.name.name) {
            ("one", "a") => 1,
            ("one", _) => 2,
            _ => 3,
        };
        let move_to = |addresses: &mut [IpAddr], place: Place| {
            for address in addresses {
                *address = place.address(Family::of(*address));
            }
        };
        move_to(&mut service.cluster_ips, Place::ClusterIp(own));
        move_to(&mut service.load_balancer_ips, Place::External(own));
        move_to(&mut service.external_ips, Place::External(10 + own));
        let mut names = HashSet::new();
        let mut numbers = HashSet::new();
        service
            .ports
            .retain(|port| names.insert(port.name.clone()) && numbers.insert((port.protocol, port.port)));
        for (number, port) in (30000 + 10 * u16::from(own)..).zip(&mut service.ports) {
            port.node_port = port.node_port.map(|_| number);
        }
        service.affinity_timeout = service.affinity_timeout.or(Some(60));
    }
    for slice in &mut cluster.slices {
        slice.ports = every_port();
    }
}

/// What happened, as far as the report of a failure needs it.
struct Play {
    live: Live,
    /// What happened, for people to read.
    story: String,
    last: Option<Draft>,
    connections: usize,
    remembered: usize,
}

impl Play {
    fn new(mut cluster: Cluster) -> Self {
        tidied(&mut cluster);
        Self { live: Live::new(cluster), story: String::new(), last: None, connections: 0, remembered: 0 }
    }

    /// Plays a step. Returns what went wrong, if anything did.
    fn step(&mut self, step: &Step) -> Option<String> {
        match step {
            Step::Connect(draft, choice) => {
                self.last = Some(draft.clone());
                return self.connect(draft, *choice);
            }
            Step::Again(choice) => {
                let draft = self.last.clone()?;
                return self.connect(&draft, *choice);
            }
            Step::Wait(milliseconds) => {
                self.note(format_args!("{milliseconds} ms pass"));
                self.live.wait(*milliseconds);
            }
            Step::Restart => {
                self.note(format_args!("the proxy restarts"));
                self.live.restart();
            }
            Step::Endpoints(index, families) => self.set_endpoints(*index, families),
            Step::Timeout(index, timeout) => {
                if let Some(i) = position(*index, &self.live.cluster.services) {
                    let name = self.live.cluster.services[i].name.clone();
                    self.note(format_args!("Service {name} remembers clients for {timeout:?} s"));
                    self.live.change(|cluster| cluster.services[i].affinity_timeout = *timeout);
                }
            }
            Step::Service(service) => {
                self.note(format_args!("Service {} becomes {service:?}", service.name));
                self.live.change(|cluster| {
                    cluster.services.retain(|other| other.name != service.name);
                    cluster.services.push(Service::clone(service));
                    tidied(cluster);
                });
            }
            Step::DeleteService(index) => {
                if let Some(i) = position(*index, &self.live.cluster.services) {
                    let name = self.live.cluster.services[i].name.clone();
                    self.note(format_args!("Service {name} is deleted"));
                    self.live.change(|cluster| drop(cluster.services.remove(i)));
                }
            }
            Step::Zone(zone) => {
                self.note(format_args!("the node's zone is {zone:?}"));
                self.live.change(|cluster| cluster.node.zone = zone.map(Into::into));
            }
        }
        None
    }

    fn note(&mut self, what: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.story, "{what}");
    }

    fn set_endpoints(&mut self, index: Index, [v4, v6]: &[Vec<Endpoint>; 2]) {
        let Some(i) = position(index, &self.live.cluster.slices) else { return };
        let slice = &self.live.cluster.slices[i];
        let is_v6 = slice.endpoints.first().is_some_and(|endpoint| endpoint.address.is_ipv6());
        let endpoints = if is_v6 { v6 } else { v4 };
        let lines: String = endpoints.iter().map(endpoint_line).collect();
        let name = slice.name.clone();
        self.note(format_args!("EndpointSlice {name} has\n{lines}"));
        self.live.change(|cluster| cluster.slices[i].endpoints.clone_from(endpoints));
    }

    fn connect(&mut self, draft: &Draft, choice: usize) -> Option<String> {
        let packet = draft.packet(&self.live.cluster);
        let cluster = self.live.cluster.clone();
        let connection = self.live.connect(&packet, choice);
        self.connections += 1;
        self.note(format_args!("{packet:?}: {}", connection.fate));
        let fresh = crate::reference::answer(&cluster, &crate::reference::Clients::default(), &packet);
        if matches!(connection.fate, Fate::Sent { .. }) && fresh.fates != connection.promise.fates {
            self.remembered += 1;
        }
        (!connection.is_as_promised()).then(|| {
            let mut report = manifest(&cluster);
            let (expected, actual) = (&connection.promise.fates, answer_of(&connection.outcome));
            let _ = writeln!(report, "\n{packet:?}\nthe API promises:\n{}", lines(expected));
            let _ = writeln!(report, "the rules give:\n{}\n{}", lines(&actual), explain(&connection.outcome));
            report
        })
    }
}

fn position<T>(index: Index, list: &[T]) -> Option<usize> {
    (!list.is_empty()).then(|| index.index(list.len()))
}

#[test]
fn clients_are_remembered_as_promised() {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = SEQUENCES;
    }
    config.failure_persistence = None;
    config.max_shrink_iters = 20_000;
    config.rng_algorithm = RngAlgorithm::XorShift;
    let (connections, remembered) = (Cell::new(0), Cell::new(0));
    let report = RefCell::new(String::new());

    let strategy = (vec(step(), 1..60), cluster());
    let outcome = TestRunner::new(config).run(&strategy, |(steps, cluster)| {
        let mut play = Play::new(cluster);
        for step in &steps {
            if let Some(difference) = play.step(step) {
                report.replace(difference);
                return Err(TestCaseError::fail("they differ"));
            }
        }
        connections.set(connections.get() + play.connections);
        remembered.set(remembered.get() + play.remembered);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(_, (steps, cluster))) => {
            let mut play = Play::new(cluster);
            let before = manifest(&play.live.cluster);
            let difference = steps.iter().find_map(|step| play.step(step));
            panic!("{before}\n{}\nso that\n{}", play.story, difference.unwrap_or_default());
        }
        Err(TestError::Abort(reason)) => panic!("no sequences to try: {reason}"),
    }
    let (connections, remembered) = (connections.get(), remembered.get());
    println!("{connections} connections, {remembered} of clients that were remembered");
    assert!(
        connections < 1000 || remembered * 50 > connections,
        "only {remembered} of {connections} were remembered"
    );
}
