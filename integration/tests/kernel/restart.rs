//! A start over tables of an earlier run, on a kernel that does not report how many elements sets have.

use std::{net::Ipv4Addr, sync::Arc};

use portolan::{
    kernel::nftables::{Kernel, Tables},
    observe::report::Cause,
    source::Change,
};
use portolan_integration::{Around, Counting};
use portolan_rules::{
    plane::SetName,
    ruleset::{ClassId, Concat, Element, Elements, Family, Operation, Set, Transaction, Value},
};

use crate::{
    namespace::{commit, enter},
    parts::{agent, everything, frontend, name, service, set, slice},
};

/// With five endpoints each, enough that the endpoints are not dumped.
const SERVICES: u16 = 1_000;
const ENDPOINTS: usize = 5;

/// Returns the key of the first endpoint of a Service.
fn first_endpoint(kernel: &mut Kernel, n: u16) -> Concat {
    let tables = kernel.dump("portolan").unwrap();
    let of_service = frontend(n);
    let found = set(&tables.tables[&Family::Ip], SetName::Endpoints).elements.keys();
    let mut found = found.filter(|key| key.as_bytes().starts_with(of_service.as_bytes()));
    found.next().unwrap().clone()
}

/// Writes an endpoint of no Service at these keys.
fn write_endpoints(kernel: &mut Kernel, keys: &[&Concat]) {
    let tables = kernel.dump("portolan").unwrap();
    let endpoints = set(&tables.tables[&Family::Ip], SetName::Endpoints);
    let declared = Arc::new(Set { elements: Elements::new(), ..endpoints.clone() });
    let mut change = Transaction::new("portolan");
    for key in keys {
        let element =
            Element::value(Concat::new(&[Value::Ipv4(Ipv4Addr::new(192, 0, 2, 1)), Value::Port(1)]));
        change
            .push(Family::Ip, Operation::AddElement { set: declared.clone(), key: (*key).clone(), element });
    }
    commit(kernel, &change);
}

#[test]
fn endpoints_are_read_by_their_keys_and_what_no_packet_meets_goes_at_the_next_full_comparison() {
    enter();
    let mut kernel = Kernel::open().unwrap();
    let mut earlier = agent(Kernel::open().unwrap());
    earlier.apply(everything(SERVICES));
    earlier.sync().unwrap();
    drop(earlier);
    // Leftovers of an interrupted run: one at a key to which nothing leads, and one at a key of a new Service.
    let [first, last] = [0, SERVICES - 1].map(|n| first_endpoint(&mut kernel, n));
    let slot = |n: u16| {
        let (_, slot) = first.as_bytes().split_at(frontend(0).as_bytes().len());
        Concat::from_bytes(&[frontend(n).as_bytes(), slot].concat())
    };
    assert_eq!(slot(SERVICES - 1), last, "all Services are of one class");
    let unmet = frontend(0).with(ClassId(0x00ff_ffff).into());
    write_endpoints(&mut kernel, &[&unmet, &slot(SERVICES)]);

    let mut later = agent(Around::open(Counting(false)).unwrap());
    later.apply(everything(SERVICES + 1));
    later.apply((0..10).map(|n| Change::Service(name(n * 7), None)));
    later.apply([Change::Slice(name(1), Some(slice(1, 100))), Change::Service(name(2), Some(service(2)))]);
    later.sync().unwrap();
    later.retire_all().unwrap();
    let elements = |kernel: &mut Kernel, name| {
        let tables = kernel.dump("portolan").unwrap().tables;
        set(&tables[&Family::Ip], name).elements.clone()
    };
    let services = usize::from(SERVICES) + 1 - 10;
    assert_eq!(elements(&mut kernel, SetName::Frontends).len(), services);
    let endpoints = elements(&mut kernel, SetName::Endpoints);
    assert_eq!(
        endpoints.len(),
        services * ENDPOINTS + 1,
        "all endpoints of the Services, and the one that no packet meets"
    );
    assert!(endpoints.contains_key(&unmet), "the set was not dumped");

    later.sync_for(Cause::Period).unwrap();
    let endpoints = elements(&mut kernel, SetName::Endpoints);
    assert_eq!(endpoints.len(), services * ENDPOINTS);
    // A new process over the same state, which dumps everything, has nothing to do.
    let mut other = agent(Kernel::open().unwrap());
    let before = kernel.generation().unwrap().id;
    other.apply(everything(SERVICES + 1));
    other.apply((0..10).map(|n| Change::Service(name(n * 7), None)));
    other.apply([Change::Slice(name(1), Some(slice(1, 100)))]);
    other.sync().unwrap();
    assert_eq!(kernel.generation().unwrap().id, before);
}
