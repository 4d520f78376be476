//! The reconciler against a kernel in memory that refuses what a test sets.

#[path = "../../rules/tests/model/apply.rs"]
mod apply;
mod doubt;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use portolan_rules::{
    compile::Compiler,
    incremental::plan::PART,
    model::{Endpoint, EndpointPort, EndpointSlice, ObjectName, Protocol, Service, ServicePort},
    plane::{Config, SetName},
    ruleset::{Concat, Elements, Family, Name, Operation, Ruleset, Set, Transaction, Value},
};
use rustix::io::Errno;

use self::apply::Apply as _;
use super::Agent;
use crate::{
    config::settings::{DetectLocal, Settings},
    kernel::nftables::{Commit, Error, Generation, Ownership, Scope, Tables, Wanted},
    observe::{
        events::{Recorder, Warning},
        health::Health,
        metrics::Metrics,
        report::Cause,
    },
    source::Change,
};

/// What the kernel in memory holds and was asked.
#[derive(Default)]
struct Fake {
    ruleset: Ruleset,
    generation: u32,
    /// The generation that commits must find, if that matters.
    expected: Option<u32>,
    /// `ClusterIP`s whose elements it refuses.
    poison: BTreeSet<IpAddr>,
    /// Chains that it refuses.
    poisoned_chains: BTreeSet<String>,
    /// Whether it does not name the operation that it refuses.
    silent: bool,
    /// The error that every commit fails with, if any.
    broken: Option<Errno>,
    commits: usize,
    /// The smallest number of frontends that it held after any commit.
    fewest: Option<usize>,
    /// The sets whose elements were read, for each reading.
    reads: Vec<Scope>,
    /// How many elements were asked for by their keys.
    asked: usize,
    /// What another process does right after each of the next readings.
    after_read: Vec<fn(&mut Ruleset)>,
}

#[derive(Clone, Default)]
struct FakeKernel(Rc<RefCell<Fake>>);

impl Fake {
    fn refuses(&self, operation: &Operation) -> bool {
        match operation {
            Operation::AddElement { set, key, .. } => {
                let address = key.values(&set.key).and_then(|values| values.first().copied());
                matches!(address, Some(Value::Ipv4(address)) if self.poison.contains(&address.into()))
            }
            Operation::AddChain(chain) => self.poisoned_chains.contains(&*chain.name),
            _ => false,
        }
    }
}

impl Tables for FakeKernel {
    fn read(&mut self, _: &str, wanted: &mut dyn Wanted) -> Result<Ruleset, Error> {
        let mut fake = self.0.borrow_mut();
        let mut ruleset = fake.ruleset.clone();
        let mut read = Scope::new();
        for (family, table) in &mut ruleset.tables {
            for set in table.sets.values_mut() {
                if wanted.wants(*family, set, Some(set.elements.len() as u32)) {
                    read.insert((*family, set.name.clone()));
                } else {
                    set.elements = portolan_rules::ruleset::Elements::new();
                }
            }
        }
        fake.reads.push(read);
        if let Some(change) = fake.after_read.pop() {
            change(&mut fake.ruleset);
            fake.generation += 1;
        }
        Ok(ruleset)
    }

    fn elements(&mut self, _: &str, family: Family, set: &Set, keys: &[Concat]) -> Result<Elements, Error> {
        let mut fake = self.0.borrow_mut();
        fake.asked += keys.len();
        let set = fake.ruleset.tables.get(&family).and_then(|table| table.sets.get(&set.name));
        let Some(set) = set else { return Err(Error::Unknown("no such set".to_owned())) };
        let at = |key: &Concat| Some((key.clone(), set.elements.get(key)?.clone()));
        Ok(keys.iter().filter_map(at).collect())
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<Commit, Error> {
        let mut fake = self.0.borrow_mut();
        fake.commits += 1;
        let refused = |operation, errno| {
            let operation = Some(operation).filter(|_| !fake.silent);
            Err(Error::Refused { operation, errno, reason: None })
        };
        if let Some(errno) = fake.broken {
            return refused(0, errno);
        }
        if fake.expected.is_some_and(|expected| expected != fake.generation) {
            return refused(0, Errno::RESTART);
        }
        if let Some(at) = transaction.operations.iter().position(|(_, operation)| fake.refuses(operation)) {
            return refused(at, Errno::INVAL);
        }
        match transaction.apply(&fake.ruleset) {
            Ok(ruleset) => fake.ruleset = ruleset,
            Err(refusal) => return refused(refusal.operation, Errno::EXIST),
        }
        fake.generation += 1;
        fake.expected = fake.expected.map(|expected| expected + 1);
        let frontends = fake.ruleset.tables[&Family::Ip].sets[SetName::Frontends.name()].elements.len();
        fake.fewest = Some(fake.fewest.map_or(frontends, |fewest| fewest.min(frontends)));
        let time = Duration::from_micros(1);
        Ok(Commit { messages: transaction.len(), bytes: 1, encode: time, kernel: time })
    }

    fn expect_generation(&mut self, generation: Option<u32>) {
        self.0.borrow_mut().expected = generation;
    }

    fn exchange(&mut self, family: Family) {
        let ruleset = &mut self.0.borrow_mut().ruleset;
        if let Some(table) = ruleset.tables.remove(&family) {
            ruleset.tables.insert(family, table.swapped());
        }
    }

    fn plain_name(&self, _: Family, name: &Name) -> Name {
        name.clone()
    }

    fn generation(&mut self) -> Result<Generation, Error> {
        Ok(Generation { id: self.0.borrow().generation, thread: 1, process: "test".into() })
    }

    fn own_tables(&mut self) -> Result<bool, Error> {
        Ok(false)
    }

    fn ownership(&mut self, _: &str) -> Result<BTreeMap<Family, Ownership>, Error> {
        Ok(BTreeMap::new())
    }
}

fn settings() -> Settings {
    Settings {
        node_name: "node".into(),
        node_port_addresses: "primary".parse().unwrap(),
        detect_local: DetectLocal::ClusterCidr(Vec::new()),
        service_cidrs: Vec::new(),
        proxy_name: None,
        config: Config::default(),
    }
}

struct World {
    kernel: FakeKernel,
    agent: Agent<FakeKernel>,
    warnings: tokio::sync::mpsc::Receiver<Warning>,
}

fn cluster_ip(n: u16) -> IpAddr {
    Ipv4Addr::new(10, 96, (n >> 8) as u8, n as u8).into()
}

fn name(n: u16) -> ObjectName {
    ObjectName::new("default", format!("service-{n:04}").as_str())
}

fn service(n: u16) -> Service {
    let ports = vec![ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: None }];
    Service { created: Some(n.into()), ..Service::cluster_ip(name(n), vec![cluster_ip(n)], ports) }
}

impl World {
    /// Creates a world with this many Services in the state, and nothing in the kernel.
    fn new(services: u16) -> Self {
        let kernel = FakeKernel::default();
        let (recorder, warnings) = Recorder::new();
        let mut agent =
            Agent::new(settings(), kernel.clone(), Health::default(), recorder, Metrics::default());
        let all = (0..services).map(|n| Change::Service(name(n), Some(Arc::new(service(n)))));
        agent.apply(all);
        let mut world = Self { kernel, agent, warnings };
        for n in 0..services {
            world.endpoints(n, 1);
        }
        world
    }

    /// Gives a Service this many endpoints.
    fn endpoints(&mut self, n: u16, count: u8) {
        let endpoint = |i| Endpoint::ready(Ipv4Addr::new(10, 128 + (n >> 8) as u8, i, n as u8).into());
        let slice = EndpointSlice {
            name: name(n),
            service: name(n).name,
            ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
            endpoints: (0..count).map(endpoint).collect(),
        };
        self.agent.apply([Change::Slice(name(n), Some(Arc::new(slice)))]);
    }

    fn fake(&self) -> std::cell::RefMut<'_, Fake> {
        self.kernel.0.borrow_mut()
    }

    fn poison(&self, services: impl IntoIterator<Item = u16>) {
        self.fake().poison = services.into_iter().map(cluster_ip).collect();
    }

    /// Reconciles until nothing is left to do.
    fn sync(&mut self) {
        while self.agent.sync().unwrap().unfinished {}
    }

    /// Checks that the kernel answers for all Services but the missing ones, and that these are in quarantine.
    #[track_caller]
    fn expect_all_but(&self, services: u16, missing: &[u16]) {
        let fake = self.fake();
        let table = &fake.ruleset.tables[&Family::Ip];
        let frontends = &table.sets[SetName::Frontends.name()];
        let answered: BTreeSet<IpAddr> = frontends
            .elements
            .keys()
            .filter_map(|key| match key.values(&frontends.key)?[0] {
                Value::Ipv4(address) => Some(address.into()),
                _ => None,
            })
            .collect();
        let expected: BTreeSet<IpAddr> =
            (0..services).filter(|n| !missing.contains(n)).map(cluster_ip).collect();
        assert_eq!(answered, expected);
        let quarantined: BTreeSet<ObjectName> = missing.iter().map(|n| name(*n)).collect();
        assert_eq!(self.agent.state.quarantined(), &quarantined);
    }

    /// Checks that the kernel holds exactly what a compiler that never knew the missing Services would give it.
    #[track_caller]
    fn expect_clean(&mut self) {
        while let Some(last) = self.agent.compiler.retiring() {
            let retired = self.agent.compiler.retire(last, PART);
            self.agent.kernel.commit(&retired).unwrap();
        }
        let mut fresh = Compiler::new(Config::default());
        let facts = super::NodeFacts::new(&self.agent.settings, self.agent.state.node());
        let mut state = self.agent.state.clone();
        facts.apply(&mut fresh, &mut state);
        let kernel = self.fake().ruleset.clone();
        fresh.load(&mut state, &kernel);
        assert!(fresh.ruleset() == kernel, "something is left of what was held back");
        assert!(self.agent.compiler.ruleset() == kernel, "the compiler thinks otherwise than the kernel");
    }

    fn warned(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.warnings.try_recv().ok())
            .map(|warning| warning.service.name.to_string())
            .collect()
    }
}

#[test]
fn a_service_that_the_kernel_refuses_does_not_stop_the_others() {
    for silent in [false, true] {
        for bad in [&[7][..], &[0, 1, 2, 99], &[3, 40, 41, 77, 98]] {
            let mut world = World::new(100);
            world.fake().silent = silent;
            world.poison(bad.iter().copied());
            world.sync();
            world.expect_all_but(100, bad);
            world.expect_clean();
            let commits = world.fake().commits;
            // The first part of a cold start, the part that is refused, and everything at once, which is refused as
            // well.
            let parts = 3;
            let most = parts + if silent { 4 + 2 * bad.len() * 7 } else { 1 + bad.len() };
            assert!(commits <= most, "{commits} commits for {bad:?}, silent: {silent}");
            let mut warned = world.warned();
            warned.sort();
            assert_eq!(warned, bad.iter().map(|n| format!("service-{n:04}")).collect::<Vec<_>>());
        }
    }
}

#[test]
fn more_bad_services_than_the_kernel_is_asked_about_one_by_one() {
    let bad: Vec<u16> = (0..80).map(|n| n * 3).collect();
    let mut world = World::new(300);
    world.poison(bad.iter().copied());
    world.sync();
    world.expect_all_but(300, &bad);
    world.expect_clean();
}

#[test]
fn a_change_that_is_refused_costs_only_its_service() {
    for silent in [false, true] {
        let mut world = World::new(50);
        world.fake().silent = silent;
        world.sync();
        world.expect_all_but(50, &[]);
        world.poison([20]);
        for n in 0..50 {
            world.endpoints(n, 2);
        }
        world.sync();
        world.expect_all_but(50, &[20]);
        world.expect_clean();
        // Later changes are programmed without a full comparison.
        let reads = world.fake().reads.len();
        world.endpoints(3, 3);
        world.sync();
        assert_eq!(world.fake().reads.len(), reads);
        world.expect_clean();
    }
}

#[test]
fn services_that_are_held_back_keep_their_rules_meanwhile() {
    let mut world = World::new(20);
    world.sync();
    world.fake().silent = true;
    world.poison([5]);
    for n in 0..20 {
        world.endpoints(n, 2);
    }
    world.fake().fewest = None;
    world.sync();
    world.expect_all_but(20, &[5]);
    assert!(world.fake().commits > 5, "it takes a search");
    assert_eq!(world.fake().fewest, Some(19), "after every commit, all but the bad one are answered");
}

#[test]
fn no_service_is_blamed_for_a_chain_that_the_kernel_refuses() {
    let mut world = World::new(30);
    world.sync();
    world.endpoints(11, 9);
    world.fake().poisoned_chains.insert("cluster-9".into());
    let before = world.fake().ruleset.clone();
    let error = world.agent.sync().unwrap_err().to_string();
    assert!(error.contains("cluster-9") && !error.contains("Service"), "{error}");
    assert!(world.agent.state.quarantined().is_empty() && world.warned().is_empty());
    assert!(world.fake().ruleset == before, "nothing is changed");
    world.fake().poisoned_chains.clear();
    world.sync();
    world.expect_all_but(30, &[]);
}

#[test]
fn a_bad_service_is_tried_again_when_it_changes_and_once_in_a_while() {
    let mut world = World::new(10);
    world.poison([4]);
    world.sync();
    world.expect_all_but(10, &[4]);
    world.warned();
    world.endpoints(4, 2);
    world.sync();
    world.expect_all_but(10, &[4]);
    world.agent.sync_for(Cause::Period).unwrap();
    world.expect_all_but(10, &[4]);
    assert!(world.warned().len() <= 1, "the same reason is reported once for each change");
    world.poison([]);
    world.agent.sync().unwrap();
    world.expect_all_but(10, &[4]);
    world.agent.sync_for(Cause::Period).unwrap();
    world.expect_all_but(10, &[]);
    world.expect_clean();
}

#[test]
fn no_service_is_quarantined_for_an_error_that_it_did_not_cause() {
    for errno in [Errno::NOMEM, Errno::INVAL] {
        let mut world = World::new(10);
        world.fake().broken = Some(errno);
        world.fake().silent = true;
        assert!(world.agent.sync().is_err());
        assert!(world.agent.sync().is_err());
        assert!(world.agent.state.quarantined().is_empty());
        assert!(world.warned().is_empty());
        world.fake().broken = None;
        world.sync();
        world.expect_all_but(10, &[]);
    }
}

#[test]
fn a_change_between_reading_and_writing_is_not_blamed_on_a_service() {
    let mut world = World::new(10);
    world.sync();
    // What the agent is about to change disappears first.
    world.fake().after_read = vec![|ruleset| ruleset.tables.clear()];
    world.endpoints(3, 0);
    world.agent.note(super::belief::Observation::Failed);
    world.sync();
    world.expect_all_but(10, &[]);
    world.expect_clean();
}

#[test]
fn a_service_that_loses_a_frontend_gets_one_event() {
    let mut world = World::new(3);
    world.sync();
    assert_eq!(world.warnings.try_recv().ok(), None);
    // The oldest Service lists the ClusterIP of the youngest.
    let thief = Arc::new(Service { external_ips: vec![cluster_ip(2)], ..service(0) });
    world.agent.apply([Change::Service(name(0), Some(thief))]);
    world.sync();
    let said = format!(
        "spec.externalIPs: {} is the ClusterIP of Service {}; not programmed for this one",
        cluster_ip(2),
        name(2)
    );
    let expected =
        Warning { service: name(0), reason: "PartlyProgrammed", action: "SyncProxyRules", note: said.into() };
    assert_eq!(world.warnings.try_recv().ok(), Some(expected));
    world.endpoints(0, 2);
    world.sync();
    assert_eq!(world.warnings.try_recv().ok(), None, "it is reported once");
    world.expect_all_but(3, &[]);
}
