//! The changes of a transaction, and that they are one transaction.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use portolan::kernel::nftables::{Batch, Error, Kernel, Monitor, Notification, Tables};
use portolan_rules::ruleset::{
    Concat, Element, Elements, Family, Name, Operation, Ruleset, Set, Transaction,
};

use crate::{
    namespace::{commit, expect, kernel, nft},
    tables::{address, class, create, data_plane, endpoint, everything_else, frontend, frontends, ruleset},
};

const TABLE: &str = "portolan";

/// Returns the declaration of a set, which operations on its elements carry.
fn declaration(ruleset: &Ruleset, family: Family, name: &str) -> Arc<Set> {
    let set = &ruleset.tables[&family].sets[name];
    Arc::new(Set { elements: Elements::new(), ..set.clone() })
}

fn change(ruleset: &mut Ruleset, family: Family, name: &str, change: impl FnOnce(&mut Set)) {
    change(&mut ruleset.tables.get_mut(&family).unwrap().sets[name]);
}

#[test]
fn a_table_that_is_not_there_is_not_in_the_dump() {
    let mut kernel = kernel();
    expect(&mut kernel, &Ruleset::default());
    let mut ruleset = ruleset(data_plane);
    ruleset.tables.remove(&Family::Ip);
    commit(&mut kernel, &create(&ruleset));
    expect(&mut kernel, &ruleset);
    let mut transaction = Transaction::new(TABLE);
    transaction.push(Family::Ip6, Operation::DeleteTable);
    commit(&mut kernel, &transaction);
    expect(&mut kernel, &Ruleset::default());
}

#[test]
fn an_empty_transaction_does_nothing() {
    let mut kernel = kernel();
    let generation = kernel.generation().unwrap();
    let done = kernel.commit(&Transaction::new(TABLE)).unwrap();
    assert_eq!(done.messages, 0);
    assert_eq!(kernel.generation().unwrap().id, generation.id);
}

#[test]
fn an_element_is_replaced_within_one_transaction() {
    let mut kernel = kernel();
    let mut ruleset = ruleset(data_plane);
    commit(&mut kernel, &create(&ruleset));
    for family in Family::ALL {
        let set = declaration(&ruleset, family, "endpoints");
        let key = frontend(family, 2).with(class(0, 1));
        let element = Element::value(endpoint(family, 999)).with_comment(&"other/web:http".into());
        let mut transaction = Transaction::new(TABLE);
        let delete = Operation::DeleteElement { set: set.clone(), key: key.clone(), end: None };
        transaction.push(family, delete);
        transaction.push(family, Operation::AddElement { set, key: key.clone(), element: element.clone() });
        assert_eq!(kernel.commit(&transaction).unwrap().messages, 2);
        change(&mut ruleset, family, "endpoints", |set| {
            set.elements.insert(key, element);
        });
        expect(&mut kernel, &ruleset);
    }
}

#[test]
fn ranges_are_replaced_one_by_one() {
    let mut kernel = kernel();
    let mut ruleset = ruleset(|family| everything_else(family, false));
    commit(&mut kernel, &create(&ruleset));
    for family in Family::ALL {
        for name in ["cidrs", "sources", "range-classes"] {
            let set = declaration(&ruleset, family, name);
            let elements = ruleset.tables[&family].sets[name].elements.clone();
            for (key, element) in elements {
                let mut transaction = Transaction::new(TABLE);
                let (end, set) = (element.end.clone(), set.clone());
                transaction.push(family, Operation::DeleteElement { set, key: key.clone(), end });
                commit(&mut kernel, &transaction);
                change(&mut ruleset, family, name, |set| {
                    set.elements.remove(&key).unwrap();
                });
                expect(&mut kernel, &ruleset);
            }
        }
    }
}

#[test]
fn a_map_grows_within_one_transaction() {
    let mut kernel = kernel();
    let mut ruleset = ruleset(data_plane);
    commit(&mut kernel, &create(&ruleset));
    let mut transaction = Transaction::new(TABLE);
    for family in Family::ALL {
        let table = ruleset.tables.get_mut(&family).unwrap();
        let services: Name = "services".into();
        transaction.push(family, Operation::FlushChain(services.clone()));
        transaction.push(family, Operation::DeleteSet("frontends".into()));
        let larger = Arc::new(frontends(family, 8192));
        transaction.push(family, Operation::AddSet(Box::new((*larger).clone())));
        let map = &mut table.sets["frontends"];
        map.size = Some(8192);
        map.elements.insert(frontend(family, 77), Element::value(Concat::new(&[class(1, 3)])));
        for (key, element) in &map.elements {
            let (set, key, element) = (larger.clone(), key.clone(), element.clone());
            transaction.push(family, Operation::AddElement { set, key, element });
        }
        for rule in &table.chains[&services].rules {
            let (chain, rule) = (services.clone(), rule.clone());
            transaction.push(family, Operation::AddRule { chain, rule });
        }
    }
    commit(&mut kernel, &transaction);
    expect(&mut kernel, &ruleset);
}

#[test]
fn a_chain_goes_with_its_rules() {
    let mut kernel = kernel();
    let mut ruleset = ruleset(data_plane);
    commit(&mut kernel, &create(&ruleset));
    let mut transaction = Transaction::new(TABLE);
    for family in Family::ALL {
        let table = ruleset.tables.get_mut(&family).unwrap();
        let classes = &mut table.sets["classes"].elements;
        let key = classes.keys().last().unwrap().clone();
        classes.remove(&key).unwrap();
        let set = Arc::new(Set { elements: Elements::new(), ..table.sets["classes"].clone() });
        transaction.push(family, Operation::DeleteElement { set, key, end: None });
        transaction.push(family, Operation::FlushChain("cluster-3".into()));
        transaction.push(family, Operation::DeleteChain("cluster-3".into()));
        table.chains.shift_remove("cluster-3").unwrap();
    }
    commit(&mut kernel, &transaction);
    expect(&mut kernel, &ruleset);
}

/// Returns a transaction that creates a map with this many elements.
fn many(family: Family, count: u32) -> Transaction {
    let set = Arc::new(frontends(family, count));
    let comment = "namespace/a-service-of-common-length:http".into();
    let mut transaction = Transaction::new(TABLE);
    transaction.push(family, Operation::AddTable);
    transaction.push(family, Operation::AddSet(Box::new((*set).clone())));
    for n in 0..count {
        let element = Element::value(Concat::new(&[class(1, 3)])).with_comment(&comment);
        let key = frontend(family, n);
        transaction.push(family, Operation::AddElement { set: set.clone(), key, element });
    }
    transaction
}

#[test]
fn a_hundred_thousand_elements_are_one_transaction() {
    let mut kernel = kernel();
    let mut monitor = Monitor::open(TABLE).unwrap();
    let before = kernel.generation().unwrap().id;
    let transaction = many(Family::Ip6, 100_000);
    let done = kernel.commit(&transaction).unwrap();
    assert_eq!(kernel.generation().unwrap().id, before + 1);
    assert!(done.messages < 300, "{} messages", done.messages);
    let found = kernel.dump(TABLE).unwrap();
    let elements = &found.tables[&Family::Ip6].sets["frontends"].elements;
    assert_eq!(elements.len(), 100_000);
    for operation in &transaction.operations {
        if let (_, Operation::AddElement { key, element, .. }) = operation {
            assert_eq!(elements.get(key), Some(element));
        }
    }
    // There are more notifications than the buffer holds: the monitor reports the loss.
    let lost = loop {
        match monitor.receive() {
            Ok(Some(_)) => {}
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(lost || found.tables.len() == 1);
}

#[test]
fn consecutive_elements_share_a_message() {
    let mut batch = Batch::default();
    batch.encode(&many(Family::Ip, 100)).unwrap();
    assert_eq!(batch.messages(), 3);
    batch.encode(&Transaction::new(TABLE)).unwrap();
    assert_eq!(batch.messages(), 0);
}

#[test]
fn the_monitor_reports_every_commit() {
    let mut kernel = kernel();
    let mut monitor = Monitor::open(TABLE).unwrap();
    assert_eq!(monitor.receive().unwrap(), None);
    kernel.dump(TABLE).unwrap();
    assert_eq!(monitor.receive().unwrap(), None, "a dump writes nothing");
    let mut transaction = Transaction::new(TABLE);
    transaction.push(Family::Ip6, Operation::AddTable);
    commit(&mut kernel, &transaction);
    let table = monitor.receive().unwrap().unwrap();
    assert_eq!((table.family, table.table.as_deref()), (10, Some(TABLE)));
    let end = monitor.receive().unwrap().unwrap();
    let generation = end.generation.unwrap();
    assert_eq!(generation.id, kernel.generation().unwrap().id);
    assert_eq!(generation.thread, rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned());
    assert!(!generation.process.is_empty());
    assert_eq!(monitor.receive().unwrap(), None);
}

#[test]
fn a_transaction_is_refused_after_others_committed_if_that_matters() {
    let mut kernel = kernel();
    let generation = kernel.generation().unwrap().id;
    kernel.expect_generation(Some(generation));
    commit(&mut kernel, &many(Family::Ip, 10));
    commit(&mut kernel, &many(Family::Ip6, 10));
    nft(&["-f", "-"], Some("table ip other { }"));
    let mut last = Transaction::new(TABLE);
    last.push(Family::Ip, Operation::DeleteTable);
    let Err(Error::Refused { errno, .. }) = kernel.commit(&last) else { panic!("it is accepted") };
    assert_eq!(errno.raw_os_error(), 85, "ERESTART");
    assert!(kernel.dump(TABLE).unwrap().tables.contains_key(&Family::Ip));
    kernel.expect_generation(None);
    commit(&mut kernel, &last);
}

/// Returns all events of a monitor, or nothing if some were lost.
fn heard(monitor: &mut Monitor) -> Option<Vec<Notification>> {
    let mut events = Vec::new();
    while let Some(event) = monitor.receive().ok()? {
        events.push(event);
    }
    Some(events)
}

#[test]
fn a_neighbours_elements_take_no_room_in_the_monitor() {
    let mut kernel = kernel();
    let mut monitor = Monitor::open(TABLE).unwrap();
    for table in ["neighbour", "p", "portolan-and-more", "portolan-test"].map(Name::from) {
        let name = table.clone();
        kernel.commit(&Transaction { table, ..many(Family::Ip, 200_000) }).unwrap();
        let events = heard(&mut monitor).expect("nothing was lost");
        assert!(events.last().is_some_and(|event| event.generation.is_some()));
        let foreign = events.iter().filter(|event| event.table.is_some()).count();
        assert!(foreign < 10, "{foreign} notifications about {name}");
    }
}

#[test]
fn the_monitor_hears_of_our_elements_wherever_they_stand_in_a_commit() {
    let _kernel = kernel();
    let set = |table: &str| format!("add table ip {table}\nadd set ip {table} s {{ type ipv4_addr; }}\n");
    let mut monitor = Monitor::open(TABLE).unwrap();
    let names = ["a", "other", TABLE, "somebody-elses-table"];
    nft(&["-f", "-"], Some(&names.map(set).concat()));
    heard(&mut monitor).unwrap();
    for ours in 0..60 {
        let element = |n: u8| {
            let table = if n == ours { TABLE } else { names[[0, 1, 3][usize::from(n) % 3]] };
            format!("add element ip {table} s {{ 10.0.{ours}.{n} }}\n")
        };
        nft(&["-f", "-"], Some(&(0..60).map(element).collect::<String>()));
        let events = heard(&mut monitor).unwrap();
        let is_ours = |event: &&Notification| event.table.as_deref() == Some(TABLE);
        assert_eq!(events.iter().filter(is_ours).count(), 1, "as number {ours}");
    }
}

#[test]
fn the_monitor_can_be_waited_for() {
    let mut kernel = kernel();
    let monitor = Monitor::open(TABLE).unwrap();
    let ready = |monitor: &Monitor| {
        let mut fds = [rustix::event::PollFd::new(monitor, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())).unwrap()
    };
    assert_eq!(ready(&monitor), 0);
    commit(&mut kernel, &create(&ruleset(data_plane)));
    assert_eq!(ready(&monitor), 1);
}

#[test]
fn other_tables_are_neither_read_nor_touched() {
    let mut kernel = kernel();
    let other =
        "table ip other { chain c { ip saddr 10.0.0.1 accept; }\n }\ntable inet portolan { chain c { }\n }";
    crate::namespace::nft(&["-f", "-"], Some(other));
    let before = crate::namespace::list();
    expect(&mut kernel, &Ruleset::default());
    let ruleset = ruleset(data_plane);
    commit(&mut kernel, &create(&ruleset));
    expect(&mut kernel, &ruleset);
    let mut transaction = Transaction::new(TABLE);
    for family in Family::ALL {
        transaction.push(family, Operation::DeleteTable);
    }
    commit(&mut kernel, &transaction);
    assert_eq!(crate::namespace::list(), before);
}

#[test]
fn two_connections_see_each_others_work() {
    let mut one = kernel();
    let mut other = Kernel::open().unwrap();
    let ruleset = ruleset(data_plane);
    commit(&mut one, &create(&ruleset));
    expect(&mut other, &ruleset);
    let set = declaration(&ruleset, Family::Ip, "node-addresses");
    let key = Concat::new(&[address(Family::Ip, 7)]);
    let mut transaction = Transaction::new(TABLE);
    transaction.push(Family::Ip, Operation::DeleteElement { set, key, end: None });
    commit(&mut other, &transaction);
    assert!(one.dump(TABLE).unwrap().tables[&Family::Ip].sets["node-addresses"].elements.is_empty());
}

/// Runs `other` again and again on another thread in the same namespace, until `work` ends. `work` gets the number of
/// rounds.
fn meanwhile(mut other: impl FnMut(&mut Kernel) + Send, work: impl FnOnce(&AtomicU32)) {
    let (stop, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut kernel = Kernel::open().unwrap();
            while !stop.load(Ordering::Relaxed) {
                other(&mut kernel);
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&rounds)));
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn other_tables_may_change_during_a_dump() {
    let mut kernel = kernel();
    commit(&mut kernel, &many(Family::Ip, 20_000));
    let mut transaction = Transaction::new("other");
    transaction.push(Family::Ip, Operation::AddTable);
    transaction.push(Family::Ip, Operation::DeleteTable);
    meanwhile(
        |other| commit(other, &transaction),
        |rounds| {
            let mut dumps = 0;
            while dumps < 5 || rounds.load(Ordering::Relaxed) <= 5 {
                let dump = kernel.dump(TABLE).unwrap();
                assert_eq!(dump.tables[&Family::Ip].sets["frontends"].elements.len(), 20_000);
                dumps += 1;
            }
        },
    );
}

#[test]
fn a_dump_is_never_half_of_a_transaction() {
    let mut kernel = kernel();
    let ruleset = ruleset(data_plane);
    commit(&mut kernel, &create(&ruleset));
    let names = ["cluster-ips", "node-addresses"];
    let sets = names.map(|name| declaration(&ruleset, Family::Ip, name));
    let key = |n| Concat::new(&[address(Family::Ip, n)]);
    // Besides their initial address, the two sets always hold the same address.
    let mut last = 7;
    let change = |kernel: &mut Kernel| {
        let mut transaction = Transaction::new(TABLE);
        for set in &sets {
            let (set, element) = (set.clone(), Element::member());
            let delete = Operation::DeleteElement { set: set.clone(), key: key(last), end: None };
            transaction.push(Family::Ip, delete);
            transaction.push(Family::Ip, Operation::AddElement { set, key: key(last + 1), element });
        }
        last += 1;
        commit(kernel, &transaction);
        std::thread::sleep(std::time::Duration::from_micros(u64::from(last) * 37 % 5000));
    };
    meanwhile(change, |_| {
        let (mut tried, mut complete) = (0, 0);
        while tried < 200 || complete == 0 {
            match kernel.dump(TABLE) {
                Ok(dump) => {
                    let [one, other] = names.map(|name| &dump.tables[&Family::Ip].sets[name].elements);
                    assert_eq!(one, other);
                    complete += 1;
                }
                Err(error) => assert!(matches!(error, Error::Unknown(_)), "{error}"),
            }
            tried += 1;
            assert!(tried < 20_000, "no dump was ever complete");
        }
    });
}
