//! Transactions that the kernel refuses; the error names the faulty operation.

use std::sync::Arc;

use portolan::kernel::nftables::{Batch, Error, Kernel, Tables};
use portolan_rules::ruleset::{
    Concat, Element, Elements, Family, MatchValue, Operation, Rule, Ruleset, Set, Statement, Transaction,
    Value,
};
use rustix::io::Errno;

use crate::{
    namespace::{commit, expect, kernel},
    tables::{class, create, data_plane, everything_else, frontend, frontends, ruleset},
};

fn add(set: &Arc<Set>, family: Family, n: u32, minor: u32) -> Operation {
    let element = Element::value(Concat::new(&[class(1, minor)]));
    Operation::AddElement { set: set.clone(), key: frontend(family, n), element }
}

/// Commits, and expects that the kernel refuses this operation and has changed nothing.
#[track_caller]
fn expect_refusal(kernel: &mut Kernel, transaction: &Transaction, index: usize, expected: Errno) {
    let before = kernel.dump("portolan").unwrap();
    match kernel.commit(transaction) {
        Err(Error::Refused { operation, errno, .. }) => {
            assert_eq!((operation, errno), (Some(index), expected));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(kernel.dump("portolan").unwrap(), before);
}

#[test]
fn an_element_with_other_data_is_found_among_a_thousand() {
    let mut kernel = kernel();
    commit(&mut kernel, &create(&ruleset(data_plane)));
    for family in Family::ALL {
        let set = Arc::new(frontends(family, 1024));
        for at in [0, 1, 413, 999] {
            let mut transaction = Transaction::new("portolan");
            transaction.push(family, Operation::AddTable);
            for n in 0..1000 {
                // Key 4 exists with class 1:3.
                let key = if n == at { 4 } else { 5000 + n };
                transaction.push(family, add(&set, family, key, if n == at { 1 } else { 3 }));
            }
            expect_refusal(&mut kernel, &transaction, at as usize + 1, Errno::EXIST);
        }
    }
}

#[test]
fn an_element_is_found_beyond_the_first_message() {
    let mut kernel = kernel();
    let mut tables = ruleset(data_plane);
    for (family, table) in &mut tables.tables {
        table.add_set(Set {
            elements: table.sets["frontends"].elements.clone(),
            ..frontends(*family, 100_000)
        });
    }
    commit(&mut kernel, &create(&tables));
    let set = Arc::new(frontends(Family::Ip6, 100_000));
    let mut transaction = Transaction::new("portolan");
    for n in 0..50_000 {
        let n = if n == 43_210 { 1 } else { 10 + n };
        transaction.push(Family::Ip6, add(&set, Family::Ip6, n, 7));
    }
    expect_refusal(&mut kernel, &transaction, 43_210, Errno::EXIST);
}

#[test]
fn a_range_is_found_among_others() {
    let mut kernel = kernel();
    commit(&mut kernel, &create(&ruleset(|family| everything_else(family, false))));
    for family in Family::ALL {
        let set = Arc::new(Set {
            elements: Elements::new(),
            ..everything_else(family, false).sets["cidrs"].clone()
        });
        let mut transaction = Transaction::new("portolan");
        for n in 0..100 {
            let address = |n| Box::new(Concat::new(&[crate::tables::address(family, n)]));
            // This range begins within 10.0.0.0/24 and ends after it.
            let (first, last) = if n == 61 { (100, 500) } else { (10_000 + n * 10, 10_000 + n * 10 + 5) };
            let element = Element { end: Some(address(last)), ..Element::member() };
            let (set, key) = (set.clone(), *address(first));
            transaction.push(family, Operation::AddElement { set, key, element });
        }
        expect_refusal(&mut kernel, &transaction, 61, Errno::EXIST);
    }
}

#[test]
fn missing_objects_are_named() {
    let mut kernel = kernel();
    let set = Arc::new(frontends(Family::Ip, 1024));
    let mut transaction = Transaction::new("portolan");
    transaction.push(Family::Ip, Operation::DeleteTable);
    expect_refusal(&mut kernel, &transaction, 0, Errno::NOENT);
    commit(&mut kernel, &create(&ruleset(data_plane)));
    let to_nowhere =
        Operation::AddRule { chain: "services".into(), rule: Rule::new([Statement::goto("nowhere")]) };
    let in_nowhere =
        Operation::AddRule { chain: "nowhere".into(), rule: Rule::new([Statement::goto("send")]) };
    let missing_set = Arc::new(Set { name: "missing".into(), ..(*set).clone() });
    let missing_key = Operation::DeleteElement { set: set.clone(), key: frontend(Family::Ip, 99), end: None };
    for operation in [
        to_nowhere,
        in_nowhere,
        add(&missing_set, Family::Ip, 1, 3),
        missing_key,
        Operation::DeleteChain("nowhere".into()),
        Operation::FlushChain("nowhere".into()),
        Operation::DeleteSet("nowhere".into()),
    ] {
        let mut transaction = Transaction::new("portolan");
        transaction.push(Family::Ip6, add(&Arc::new(frontends(Family::Ip6, 1024)), Family::Ip6, 55, 3));
        transaction.push(Family::Ip, add(&set, Family::Ip, 55, 3));
        transaction.push(Family::Ip, operation);
        transaction.push(Family::Ip, add(&set, Family::Ip, 56, 3));
        let index = 2;
        expect_refusal(&mut kernel, &transaction, index, Errno::NOENT);
    }
}

#[test]
fn a_map_takes_no_more_than_its_size() {
    let mut kernel = kernel();
    let set = Arc::new(frontends(Family::Ip, 10));
    let mut transaction = Transaction::new("portolan");
    transaction.push(Family::Ip, Operation::AddTable);
    transaction.push(Family::Ip, Operation::AddSet(Box::new((*set).clone())));
    for n in 0..12 {
        transaction.push(Family::Ip, add(&set, Family::Ip, n, 3));
    }
    expect_refusal(&mut kernel, &transaction, 12, Errno::NFILE);
}

#[test]
fn objects_in_use_stay() {
    let mut kernel = kernel();
    commit(&mut kernel, &create(&ruleset(data_plane)));
    for operation in [Operation::DeleteChain("send".into()), Operation::DeleteSet("endpoints".into())] {
        let mut transaction = Transaction::new("portolan");
        transaction.push(Family::Ip, operation);
        expect_refusal(&mut kernel, &transaction, 0, Errno::BUSY);
    }
}

#[test]
fn a_loop_of_chains_is_refused() {
    let mut kernel = kernel();
    commit(&mut kernel, &create(&ruleset(data_plane)));
    let mut transaction = Transaction::new("portolan");
    let rule = Rule::new([Statement::goto("services")]);
    transaction.push(Family::Ip, Operation::AddTable);
    transaction.push(Family::Ip, Operation::AddRule { chain: "cluster-3".into(), rule });
    match kernel.commit(&transaction) {
        Err(Error::Refused { errno, .. }) => assert!([Errno::LOOP, Errno::MLINK].contains(&errno), "{errno}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refusal_leaves_no_reply_behind() {
    let mut kernel = kernel();
    let mut transaction = Transaction::new("portolan");
    for _ in 0..10_000 {
        transaction.push(Family::Ip, Operation::DeleteChain("nowhere".into()));
    }
    expect_refusal(&mut kernel, &transaction, 0, Errno::NOENT);
    let ruleset = ruleset(data_plane);
    commit(&mut kernel, &create(&ruleset));
    expect(&mut kernel, &ruleset);
}

/// Encodes a valid operation followed by this one; expects that the kernel has no form for this one.
fn unencodable(operation: Operation) {
    let mut transaction = Transaction::new("portolan");
    transaction.push(Family::Ip, Operation::AddTable);
    transaction.push(Family::Ip, operation);
    let error = Batch::default().encode(&transaction).unwrap_err();
    assert!(matches!(error, Error::Unencodable { operation: 1, .. }), "{error}");
}

#[test]
fn what_has_no_form_in_the_kernel_is_not_sent() {
    let rule = |statement| Operation::AddRule { chain: "c".into(), rule: Rule::new([statement]) };
    let set = Arc::new(frontends(Family::Ip, 10));
    let element = Element::value(Concat::new(&[class(1, 3)]));
    unencodable(rule(Statement::Foreign("counter".into())));
    unencodable(rule(Statement::equal(
        portolan_rules::ruleset::Field::SourceAddress,
        MatchValue::Prefix("fd00::/8".parse().unwrap()),
    )));
    unencodable(rule(Statement::goto("x".repeat(256))));
    unencodable(rule(Statement::goto("a\0b")));
    unencodable(Operation::DeleteChain("".into()));
    unencodable(Operation::AddRule { chain: "c".into(), rule: Rule::new(vec![Statement::Masquerade; 129]) });
    let short = Concat::new(&[Value::Port(80)]);
    unencodable(Operation::AddElement { set: set.clone(), key: short.clone(), element: element.clone() });
    let key = frontend(Family::Ip, 1);
    unencodable(Operation::AddElement { set: set.clone(), key: key.clone(), element: Element::member() });
    let long = Element { comment: Some("x".repeat(129).into()), ..element.clone() };
    unencodable(Operation::AddElement { set: set.clone(), key: key.clone(), element: long });
    let range = Element { end: Some(Box::new(key.clone())), ..element };
    unencodable(Operation::AddElement { set, key, element: range });
}

#[test]
fn without_the_capability_the_error_says_so() {
    crate::namespace::enter();
    // Only this thread loses the capability; the process keeps it.
    let mut sets = rustix::thread::capabilities(None).unwrap();
    sets.effective.remove(rustix::thread::CapabilitySet::NET_ADMIN);
    rustix::thread::set_capabilities(None, sets).unwrap();
    let error = Kernel::open().err().unwrap();
    assert!(matches!(error, Error::Permission), "{error}");
    assert_eq!(error.to_string(), "not permitted to use nf_tables: CAP_NET_ADMIN is needed");
}

#[test]
fn the_ruleset_of_no_operation_is_unchanged() {
    let mut kernel = kernel();
    commit(&mut kernel, &Transaction::new("portolan"));
    expect(&mut kernel, &Ruleset::default());
}
