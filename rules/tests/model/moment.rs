//! A packet that is in flight while an update is committed gets what the old or the new rules specify, and nothing
//! else.

mod meant;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    fmt::Write,
    net::IpAddr,
    sync::Arc,
};

use ipnetwork::IpNetwork;
use portolan_rules::{
    compile::Compiler,
    incremental::plan::{Act, PART},
    model::{Endpoint, LoadBalancing, Service, TrafficPolicy},
    plane::planes::is_swapped,
    ruleset::{Family, Ruleset, Transaction},
    simulate::{Case, Host, Lookups, Memory, Moment, Packet},
    state::State,
};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRunner},
};

use crate::{
    apply::Apply as _,
    cluster::Cluster,
    manifest::{endpoint_line, manifest},
    packets::{Draft, draft},
    places::Place,
    strategies::{cluster, endpoint, service, source_range},
};
use meant::{Meant, Rulesets};

/// Number of sequences in a run, unless `PROPTEST_CASES` says otherwise, and the average number of updates in each.
const SEQUENCES: u32 = 1_300;
const UPDATES: usize = 40;
/// Number of ways through each commit that are tried for each packet.
const WAYS: u64 = 6;

/// What changes in a cluster.
#[derive(Clone, Debug)]
enum Change {
    Service(Box<Service>),
    DeleteService(Index),
    Endpoints(Index, [Vec<Endpoint>; 2]),
    Affinity(Index, Option<u32>),
    Policies(Index, TrafficPolicy, TrafficPolicy),
    Ranges(Index, Vec<IpNetwork>),
    NodePorts(Index, bool),
    Zone(Option<&'static str>),
    NodeAddresses(Vec<u8>),
    ServiceCidrs(Vec<&'static str>),
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local])
}

fn change() -> impl Strategy<Value = Change> {
    let endpoints = (vec(endpoint(Family::Ip), 0..6), vec(endpoint(Family::Ip6), 0..6));
    let timeout = option::of(select(vec![1, 60, 3600]));
    let networks =
        ["10.96.0.0/16", "10.96.0.0/12", "10.97.0.0/16", "10.96.0.0/24", "fd00:96::/64", "fd00:96::/112"];
    prop_oneof![
        2 => service().prop_map(|service| Change::Service(Box::new(service))),
        1 => any::<Index>().prop_map(Change::DeleteService),
        8 => (any::<Index>(), endpoints).prop_map(|(slice, (v4, v6))| Change::Endpoints(slice, [v4, v6])),
        2 => (any::<Index>(), timeout).prop_map(|(service, timeout)| Change::Affinity(service, timeout)),
        2 => (any::<Index>(), policy(), policy()).prop_map(|(service, i, e)| Change::Policies(service, i, e)),
        2 => (any::<Index>(), vec(source_range(), 0..4)).prop_map(|(service, ranges)| Change::Ranges(service, ranges)),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(service, has)| Change::NodePorts(service, has)),
        1 => select(vec![Some("east"), Some("west"), None]).prop_map(Change::Zone),
        1 => vec(1..=2u8, 0..3).prop_map(Change::NodeAddresses),
        1 => vec(select(networks.to_vec()), 0..3).prop_map(Change::ServiceCidrs),
    ]
}

/// Tables of `source-hash` are large, and take most of the time: few sequences have them.
fn small_cluster() -> impl Strategy<Value = Cluster> {
    (cluster(), prop::bool::weighted(0.05)).prop_map(|(mut cluster, has_tables)| {
        if !has_tables {
            cluster.services.iter_mut().for_each(without_table);
        }
        cluster
    })
}

fn without_table(service: &mut Service) {
    service.load_balancing = LoadBalancing::Random;
}

/// Some changes that are made at once, the packets that are in flight then, and what else happens.
#[derive(Clone, Debug)]
struct Step {
    changes: Vec<Change>,
    packets: Vec<Draft>,
    seed: u64,
    /// Whether a second has passed, so that what is no longer referred to is removed.
    later: bool,
    /// After this many acts one fails, and the kernel's ruleset is compared as a whole.
    fails: Option<usize>,
}

fn step() -> impl Strategy<Value = Step> {
    let fails = option::weighted(0.1, 0..4usize);
    (vec(change(), 1..3), vec(draft(), 1..4), any::<u64>(), any::<bool>(), fails)
        .prop_map(|(changes, packets, seed, later, fails)| Step { changes, packets, seed, later, fails })
}

/// A node whose rules follow its cluster.
struct Node {
    cluster: Cluster,
    state: State,
    compiler: Compiler,
    /// What the kernel holds.
    kernel: Ruleset,
    memory: Memory,
    has_tables: bool,
    updates: usize,
    ways: usize,
    rebuilds: usize,
    lookups: Lookups,
}

/// What was wrong.
struct Fault {
    packet: Packet,
    case: Case,
    allowed: BTreeSet<String>,
    commit: Transaction,
}

impl Node {
    fn new(cluster: Cluster, lookups: Lookups) -> Self {
        let (compiler, state) = cluster.load(&Ruleset::default(), 0);
        let kernel = compiler.ruleset();
        let has_tables =
            cluster.services.iter().any(|service| service.load_balancing == LoadBalancing::SourceHash);
        Self {
            cluster,
            state,
            compiler,
            kernel,
            memory: Memory::new(),
            has_tables,
            updates: 0,
            ways: 0,
            rebuilds: 0,
            lookups,
        }
    }

    fn host(&self) -> Host {
        Host { local_addresses: self.cluster.host.clone() }
    }

    fn change(&mut self, change: &Change) {
        let cluster = &mut self.cluster;
        let at = |index: &Index, list: &[Service]| (!list.is_empty()).then(|| index.index(list.len()));
        match change {
            Change::Service(service) => {
                cluster.services.retain(|other| other.name != service.name);
                let mut service = Service::clone(service);
                if !self.has_tables {
                    without_table(&mut service);
                }
                cluster.services.push(service);
            }
            Change::DeleteService(index) => {
                at(index, &cluster.services).map(|i| cluster.services.remove(i));
            }
            Change::Endpoints(index, families) => {
                let count = cluster.slices.len();
                if let Some(slice) = (count > 0).then(|| &mut cluster.slices[index.index(count)]) {
                    let is_v6 = slice.endpoints.first().is_some_and(|endpoint| endpoint.address.is_ipv6());
                    slice.endpoints.clone_from(&families[usize::from(is_v6)]);
                }
            }
            Change::Affinity(index, timeout) => {
                if let Some(i) = at(index, &cluster.services) {
                    cluster.services[i].affinity_timeout = *timeout;
                }
            }
            Change::Policies(index, internal, external) => {
                if let Some(i) = at(index, &cluster.services) {
                    cluster.services[i].internal_policy = *internal;
                    cluster.services[i].external_policy = *external;
                }
            }
            Change::Ranges(index, ranges) => {
                if let Some(i) = at(index, &cluster.services) {
                    cluster.services[i].source_ranges.clone_from(ranges);
                }
            }
            Change::NodePorts(index, has) => {
                if let Some(i) = at(index, &cluster.services) {
                    for (number, port) in (30080..).zip(&mut cluster.services[i].ports) {
                        port.node_port = has.then_some(number);
                    }
                }
            }
            Change::Zone(zone) => cluster.node.zone = zone.map(Into::into),
            Change::NodeAddresses(numbers) => {
                let addresses =
                    numbers.iter().flat_map(|n| Family::ALL.map(|f| Place::ThisNode(*n).address(f)));
                cluster.host = addresses.collect();
            }
            Change::ServiceCidrs(networks) => {
                cluster.service_cidrs = networks.iter().map(|network| network.parse().unwrap()).collect();
            }
        }
    }

    /// Passes the current cluster to the state, as a source would.
    fn note(&mut self, before: &Cluster) {
        let cluster = &self.cluster;
        for service in &before.services {
            if cluster.services.iter().all(|kept| kept.name != service.name) {
                self.state.set_service(&service.name, None);
            }
        }
        for service in &cluster.services {
            self.state.set_service(&service.name, Some(Arc::new(service.clone())));
        }
        for slice in &cluster.slices {
            self.state.set_slice(&slice.name, Some(Arc::new(slice.clone())));
        }
        self.state.set_node(cluster.node.clone());
        self.compiler.set_node_ips(&mut self.state, cluster.node_ips());
        let host: Vec<IpAddr> = cluster.host.iter().copied().collect();
        self.compiler.set_node_addresses(&cluster.node_port_addresses.select(&cluster.node, &host));
        self.compiler.set_service_cidrs(&mut self.state, &cluster.service_cidrs);
    }

    /// Makes the changes, and sends packets during every commit.
    fn step(&mut self, step: &Step) -> Result<(), Box<Fault>> {
        let before = self.cluster.clone();
        let (old, old_host) = (self.compiler.ruleset(), self.host());
        for change in &step.changes {
            self.change(change);
        }
        let mut packets: Vec<Packet> = step.packets.iter().map(|draft| draft.packet(&before)).collect();
        packets.extend(step.packets.iter().map(|draft| draft.packet(&self.cluster)));
        packets.dedup();
        self.note(&before);
        self.updates += 1;
        let steps = self.compiler.update(&mut self.state).steps;
        let (new, new_host) = (self.compiler.ruleset(), self.host());
        let updates = Rulesets::new((old, old_host), (new, new_host), self.memory.clone());
        let meant: Vec<Meant<'_>> = packets.into_iter().map(|packet| Meant::new(&updates, packet)).collect();
        let mut acts: Vec<Act> = steps.into_iter().map(Act::Commit).collect();
        self.compiler.rebuild(&mut |act| {
            acts.push(act);
            true
        });
        if let Some(fails) = step.fails.filter(|fails| *fails < acts.len()) {
            acts.truncate(fails);
            self.carry_out(acts, step.seed, &meant)?;
            // As in the agent, which reads back what the kernel holds under the names of the plane in force.
            for table in self.kernel.tables.values_mut().filter(|table| is_swapped(table)) {
                *table = table.clone().swapped();
            }
            self.compiler.forget_retiring();
            let (kernel, desired) = (self.kernel.clone(), self.compiler.ruleset());
            let mut rest = Vec::new();
            self.compiler.make_equal(&kernel, desired, &mut |act| {
                rest.push(act);
                true
            });
            acts = rest;
        }
        self.carry_out(acts, step.seed, &meant)?;
        for (family, table) in &self.compiler.ruleset().tables {
            for set in ["frontends", "node-ports", "cluster-ips", "service-cidrs"] {
                let elements = &self.kernel.tables[family].sets[set].elements;
                assert_eq!(elements, &table.sets[set].elements, "sets that are read first are as compiled");
            }
        }
        if step.later {
            while let Some(last) = self.compiler.retiring() {
                let part = self.compiler.retire(last, PART);
                self.commit(part, step.seed, &meant, true)?;
            }
            assert_eq!(self.kernel, self.compiler.ruleset(), "nothing else is left");
        }
        // Clients of session affinity are remembered.
        let still = Moment { before: &self.kernel, after: &self.kernel, lookups: self.lookups };
        let host = self.host();
        let cases: Vec<Case> =
            meant.iter().map(|meant| still.sample(&host, &meant.packet, &self.memory, step.seed)).collect();
        for case in &cases {
            self.memory.remember(case);
        }
        Ok(())
    }

    fn carry_out(&mut self, acts: Vec<Act>, seed: u64, packets: &[Meant<'_>]) -> Result<(), Box<Fault>> {
        for act in acts {
            match act {
                Act::Commit(part) => self.commit(part, seed, packets, false)?,
                Act::Exchange(family) => {
                    self.rebuilds += 1;
                    if let Some(table) = self.kernel.tables.remove(&family) {
                        self.kernel.tables.insert(family, table.swapped());
                    }
                }
            }
        }
        Ok(())
    }

    /// Commits a transaction while packets are in flight. `is_done` states that it comes after the last switch.
    fn commit(
        &mut self,
        commit: Transaction,
        seed: u64,
        packets: &[Meant<'_>],
        is_done: bool,
    ) -> Result<(), Box<Fault>> {
        let after = commit.apply(&self.kernel).unwrap_or_else(|refusal| panic!("{refusal}: {commit:?}"));
        let moment = Moment { before: &self.kernel, after: &after, lookups: self.lookups };
        let host = Host { local_addresses: self.cluster.host.clone() };
        for meant in packets {
            for way in 0..WAYS {
                self.ways += 1;
                let case = moment.sample(&host, &meant.packet, &self.memory, seed.wrapping_add(way << 32));
                if meant.usual.contains(&case.fate) {
                    continue;
                }
                let allowed = if is_done { meant.after() } else { meant.either() };
                if !allowed.contains(case.fate) {
                    let (packet, allowed) = (meant.packet.clone(), allowed.words());
                    return Err(Box::new(Fault { packet, case, allowed, commit }));
                }
            }
        }
        self.kernel = after;
        Ok(())
    }
}

fn play(cluster: Cluster, lookups: Lookups, steps: &[Step]) -> (Node, Result<(), (usize, Box<Fault>)>) {
    let mut node = Node::new(cluster, lookups);
    for (n, step) in steps.iter().enumerate() {
        if let Err(fault) = node.step(step) {
            return (node, Err((n, fault)));
        }
    }
    (node, Ok(()))
}

#[test]
fn a_packet_under_way_meets_what_the_old_or_the_new_rules_say() {
    packets_under_way(Lookups::Repeated);
}

#[test]
fn so_it_does_on_kernels_that_may_miss_what_is_replaced() {
    packets_under_way(Lookups::Once);
}

fn packets_under_way(lookups: Lookups) {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = SEQUENCES;
    }
    config.failure_persistence = None;
    config.max_shrink_iters = 1_000;
    config.rng_algorithm = RngAlgorithm::XorShift;
    let (updates, ways, rebuilds) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let report = RefCell::new(String::new());
    let strategy = (vec(step(), 1..2 * UPDATES), small_cluster());
    let outcome = TestRunner::new(config).run(&strategy, |(steps, cluster)| {
        let (node, result) = play(cluster, lookups, &steps);
        updates.set(updates.get() + node.updates);
        ways.set(ways.get() + node.ways);
        rebuilds.set(rebuilds.get() + node.rebuilds);
        result.map_err(|(n, fault)| {
            let mut text = String::new();
            for step in &steps[..=n] {
                for change in &step.changes {
                    let _ = writeln!(text, "{}", describe(change));
                }
            }
            let _ = writeln!(text, "{}\n{:?}", manifest(&node.cluster), fault.packet);
            let _ = writeln!(text, "{} ({lookups:?})", fault.case.fate);
            let _ = writeln!(text, "allowed: {:?}", fault.allowed);
            for step in &fault.case.steps {
                let _ = writeln!(
                    text,
                    "  {} {}: {} -> {} {:?}",
                    step.chain, step.rule, step.text, step.decision, step.effects
                );
            }
            for (family, operation) in &fault.commit.operations {
                let _ = writeln!(text, "  {}", portolan_rules::print::operation(operation, *family, "t"));
            }
            report.replace(text);
            TestCaseError::fail("a packet goes astray")
        })
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(..)) => panic!("{}", report.into_inner()),
        Err(TestError::Abort(reason)) => panic!("no sequences to try: {reason}"),
    }
    println!(
        "{} updates, {} ways through commits, {} families made anew",
        updates.get(),
        ways.get(),
        rebuilds.get()
    );
}

fn describe(change: &Change) -> String {
    match change {
        Change::Endpoints(slice, families) => {
            let lines: String = families.iter().flatten().map(endpoint_line).collect();
            format!("endpoints of {slice:?}:\n{lines}")
        }
        other => format!("{other:?}"),
    }
}
