//! All elements are compared in parts, and no change waits for more than one part.

use std::{
    cell::Cell,
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use portolan::{
    agent::{Agent, Ending, Event, queue, reconcile},
    config::settings::SyncSettings,
    kernel::nftables::{Commit, Error, Kernel, Tables, Wanted},
    observe::{events::Recorder, health::Health, metrics::Metrics},
    source::{Change, SourceEvent, Update},
};
use portolan_integration::{Around, Between};
use portolan_rules::{
    model::{Endpoint, EndpointPort, EndpointSlice, ObjectName, Protocol, Service, ServicePort},
    plane::SetName,
    ruleset::{Concat, Element, Elements, Family, Operation, Ruleset, Set, Table, Transaction, Value},
};

use crate::{
    isolation::settings,
    namespace::{commit, enter},
};

/// Enough Services for about ten parts.
const SERVICES: u16 = 6_000;
const PATIENCE: Duration = Duration::from_mins(2);

fn address(n: u16) -> Ipv4Addr {
    let [high, low] = n.to_be_bytes();
    Ipv4Addr::new(10, 96, high, low)
}

pub fn name(n: u16) -> ObjectName {
    ObjectName::new("default", format!("service-{n}").as_str())
}

pub fn service(n: u16) -> Arc<Service> {
    let ports = vec![ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: None }];
    Arc::new(Service::cluster_ip(name(n), vec![address(n).into()], ports))
}

/// Returns a slice of five endpoints, from the number `first` on.
pub fn slice(n: u16, first: u8) -> Arc<EndpointSlice> {
    let [high, low] = n.to_be_bytes();
    let endpoint = |i| Endpoint::ready(IpAddr::from([10, 128 + high, low, i]));
    Arc::new(EndpointSlice {
        name: name(n),
        service: name(n).name,
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: (first..first + 5).map(endpoint).collect(),
    })
}

/// Returns this number of Services and all their slices.
pub fn everything(services: u16) -> [Change; 2] {
    [
        Change::Services((0..services).map(|n| (name(n), service(n))).collect()),
        Change::Slices((0..services).map(|n| (name(n), slice(n, 0))).collect()),
    ]
}

pub fn agent<T: Tables>(kernel: T) -> Agent<T> {
    let (recorder, _) = Recorder::new();
    Agent::new(settings(), kernel, Health::default(), recorder, Metrics::default())
}

pub fn frontend(n: u16) -> Concat {
    Concat::new(&[Value::Ipv4(address(n)), Value::Proto(6), Value::Port(80)])
}

/// Runs an agent over many Services in its own namespace, which compares everything as often as possible, and calls
/// `test` meanwhile, with the initial tables.
fn while_comparing(test: impl FnOnce(&mut Kernel, &Ruleset, &dyn Fn(Change))) {
    enter();
    let (events, inbox) = queue(Health::default());
    let send = |changes: Vec<Change>| {
        events.send(Event::Source(SourceEvent::Update(Update { changes, ..Update::default() }))).unwrap();
    };
    send(everything(SERVICES).into());
    let running = thread::spawn(move || {
        let mut agent = agent(Kernel::open().unwrap());
        agent.set_sync(SyncSettings { full_period: Duration::from_millis(1), ..SyncSettings::default() });
        reconcile(&mut agent, &inbox)
    });
    let mut kernel = Kernel::open().unwrap();
    let is_hooked =
        |kernel: &mut Kernel| kernel.dump("portolan").unwrap().tables.len() == 2 && is_filled(kernel);
    eventually(|| is_hooked(&mut kernel).then_some(()));
    let tables = kernel.dump("portolan").unwrap();
    test(&mut kernel, &tables, &|change| send(vec![change]));
    events.send(Event::Stop(Ending::Asked)).unwrap();
    assert_eq!(running.join().unwrap(), Ending::Asked);
}

fn is_filled(kernel: &mut Kernel) -> bool {
    let tables = kernel.dump("portolan").unwrap().tables;
    let chains = &tables[&Family::Ip].chains;
    set(&tables[&Family::Ip], SetName::Endpoints).elements.len() == usize::from(SERVICES) * 5
        && chains.values().any(|chain| chain.base.is_some())
}

pub fn set(table: &Table, set: SetName) -> &Set {
    &table.sets[set.name()]
}

/// Waits until `look` returns something.
#[track_caller]
pub fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}");
        thread::sleep(Duration::from_micros(500));
    }
}

#[test]
fn no_change_waits_for_a_comparison_of_everything() {
    while_comparing(|kernel, tables, send| {
        let table = &tables.tables[&Family::Ip];
        let frontends = set(table, SetName::Frontends);
        let (mut waits, mut readings) = (Vec::new(), Vec::new());
        for n in SERVICES..SERVICES + 31 {
            let started = Instant::now();
            send(Change::Service(name(n), Some(service(n))));
            eventually(|| {
                let found = kernel.elements("portolan", Family::Ip, frontends, &[frontend(n)]).unwrap();
                (!found.is_empty()).then_some(())
            });
            waits.push(started.elapsed());
            // Measures the least time for reading everything, on this machine at this moment.
            let started = Instant::now();
            for set in table.sets.values().filter(|set| !set.flags.interval && !set.elements.is_empty()) {
                let keys: Vec<Concat> = set.elements.keys().cloned().collect();
                kernel.elements("portolan", Family::Ip, set, &keys).unwrap();
            }
            readings.push(started.elapsed());
        }
        waits.sort();
        readings.sort();
        let [wait, reading] = [&waits, &readings].map(|times| times[times.len() / 2]);
        println!("a change waits for {wait:?}, a reading of everything takes {reading:?}");
        assert!(wait < reading / 2, "{waits:?}, {readings:?}");
    });
}

#[test]
fn whatever_is_different_is_repaired_part_by_part() {
    while_comparing(|kernel, tables, _| {
        let endpoints = set(&tables.tables[&Family::Ip], SetName::Endpoints);
        let declared = Arc::new(Set { elements: Elements::new(), ..endpoints.clone() });
        let mut change = Transaction::new("portolan");
        let mut others = endpoints.elements.iter().step_by(1_000);
        for (key, element) in others.by_ref().take(10) {
            let (set, key, end) = (declared.clone(), key.clone(), element.end.clone());
            change.push(Family::Ip, Operation::DeleteElement { set, key, end });
        }
        for (key, _) in others.by_ref().take(10) {
            let (set, key) = (declared.clone(), key.clone());
            change
                .push(Family::Ip, Operation::DeleteElement { set: set.clone(), key: key.clone(), end: None });
            let element = Element::value(Concat::new(&[Value::Ipv4(address(1)), Value::Port(1)]));
            change.push(Family::Ip, Operation::AddElement { set, key, element });
        }
        for n in 0..10 {
            let key = frontend(SERVICES + n).with(Value::Class(portolan_rules::ruleset::ClassId(0)));
            let element = Element::value(Concat::new(&[Value::Ipv4(address(1)), Value::Port(1)]));
            change.push(Family::Ip, Operation::AddElement { set: declared.clone(), key, element });
        }
        commit(kernel, &change);
        eventually(|| (kernel.dump("portolan").unwrap() == *tables).then_some(()));
    });
}

/// Loses the outcome of a commit.
struct Unreliable {
    /// Whether the next commit's outcome is lost, and whether it reaches the kernel.
    lost: Rc<Cell<Option<bool>>>,
    /// The most elements that were read at once.
    read: Rc<Cell<usize>>,
}

impl Between for Unreliable {
    fn commit(&mut self, kernel: &mut Kernel, transaction: &Transaction) -> Result<Commit, Error> {
        let Some(is_committed) = self.lost.take() else { return kernel.commit(transaction) };
        if is_committed {
            kernel.commit(transaction)?;
        }
        Err(Error::Unknown("lost".to_owned()))
    }

    fn read(&mut self, kernel: &mut Kernel, table: &str, wanted: &mut dyn Wanted) -> Result<Ruleset, Error> {
        let read = kernel.read(table, wanted)?;
        let sets = read.tables.values().flat_map(|table| table.sets.values());
        self.read.set(self.read.get().max(sets.map(|set| set.elements.len()).sum()));
        Ok(read)
    }

    fn reads_at(&mut self, keys: &[Concat]) {
        self.read.set(self.read.get().max(keys.len()));
    }
}

#[test]
fn after_a_commit_that_failed_only_what_it_was_to_write_is_read() {
    for is_committed in [false, true] {
        thread::spawn(move || {
            enter();
            let (lost, read) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(0)));
            let kernel = Around::open(Unreliable { lost: lost.clone(), read: read.clone() }).unwrap();
            let mut agent = agent(kernel);
            agent.apply(everything(500));
            agent.sync().unwrap();
            read.set(0);
            // Endpoints change, one Service comes, another goes, and a third gets a class that no other Service has.
            agent.apply((0..20).map(|n| Change::Slice(name(n), Some(slice(n, 3)))));
            agent.apply([Change::Service(name(500), Some(service(500))), Change::Service(name(30), None)]);
            let mut many = EndpointSlice::clone(&slice(40, 0));
            many.endpoints = (0..50).map(|i| Endpoint::ready([10, 1, 1, i].into())).collect();
            agent.apply([Change::Slice(name(40), Some(Arc::new(many)))]);
            lost.set(Some(is_committed));
            agent.sync().unwrap_err();
            // Another change comes before the repair.
            agent.apply([Change::Slice(name(50), Some(slice(50, 2)))]);
            agent.sync().unwrap();
            assert!(read.get() < 500, "{} of 3,500 elements were read", read.get());
            agent.retire_all().unwrap();
            // Another agent over the same state has nothing to do.
            let mut kernel = Kernel::open().unwrap();
            let before = kernel.dump("portolan").unwrap();
            agent.sync_for(portolan::observe::report::Cause::Period).unwrap();
            assert_eq!(kernel.dump("portolan").unwrap(), before, "committed: {is_committed}");
            let found = set(&before.tables[&Family::Ip], SetName::Frontends);
            assert!(
                found.elements.contains_key(&frontend(500)) && !found.elements.contains_key(&frontend(30))
            );
        })
        .join()
        .unwrap();
    }
}
