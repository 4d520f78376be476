//! Changes by another process during the commit of a large repair, of which the kernel sends no notification.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use portolan::{
    agent::{Ending, Event, queue, reconcile},
    kernel::nftables::{Commit, Error, Kernel, Tables},
    observe::health::Health,
    source::{SourceEvent, Update},
};
use portolan_integration::{Around, Between};
use portolan_rules::{
    plane::SetName,
    ruleset::{Elements, Family, Operation, Set, Transaction},
};

use crate::{
    namespace::{commit, enter},
    parts::{agent, eventually, everything, set},
};

const SERVICES: u16 = 1_000;
const ENDPOINTS: usize = SERVICES as usize * 5;

/// Deletes `count` endpoints, from the one with index `first`.
fn delete_endpoints(kernel: &mut Kernel, first: usize, count: usize) {
    let tables = kernel.dump("portolan").unwrap();
    let endpoints = set(&tables.tables[&Family::Ip], SetName::Endpoints);
    let declared = Arc::new(Set { elements: Elements::new(), ..endpoints.clone() });
    let mut change = Transaction::new("portolan");
    for key in endpoints.elements.keys().skip(first).take(count) {
        let (set, key) = (declared.clone(), key.clone());
        change.push(Family::Ip, Operation::DeleteElement { set, key, end: None });
    }
    commit(kernel, &change);
}

/// Another process, which deletes an endpoint right after the agent's next large commit.
struct Meddler(Arc<AtomicBool>);

impl Between for Meddler {
    fn commit(&mut self, kernel: &mut Kernel, transaction: &Transaction) -> Result<Commit, Error> {
        let outcome = kernel.commit(transaction);
        if transaction.len() > 2_000 && self.0.swap(false, Ordering::Relaxed) {
            thread::spawn(|| delete_endpoints(&mut Kernel::open().unwrap(), ENDPOINTS - 1, 1))
                .join()
                .unwrap();
        }
        outcome
    }
}

#[test]
fn what_changes_during_a_large_repair_is_repaired_as_well() {
    enter();
    let (events, inbox) = queue(Health::default());
    let update = Update { changes: everything(SERVICES).into(), ..Update::default() };
    events.send(Event::Source(SourceEvent::Update(update))).unwrap();
    let meddles = Arc::new(AtomicBool::new(false));
    let running = thread::spawn({
        let (between, events) = (Meddler(meddles.clone()), events.clone());
        move || {
            let mut agent = agent(Around::open(between).unwrap());
            agent.listen(events).unwrap();
            reconcile(&mut agent, &inbox)
        }
    });
    let mut kernel = Kernel::open().unwrap();
    let mut are_all_there = || {
        let tables = kernel.dump("portolan").unwrap().tables;
        let table = tables.get(&Family::Ip)?;
        let is_hooked = table.chains.values().any(|chain| chain.base.is_some());
        (is_hooked && set(table, SetName::Endpoints).elements.len() == ENDPOINTS).then_some(())
    };
    eventually(&mut are_all_there);
    meddles.store(true, Ordering::Relaxed);
    delete_endpoints(&mut Kernel::open().unwrap(), 0, 3_000);
    eventually(|| (!meddles.load(Ordering::Relaxed)).then_some(()));
    eventually(are_all_there);
    events.send(Event::Stop(Ending::Asked)).unwrap();
    assert_eq!(running.join().unwrap(), Ending::Asked);
}
