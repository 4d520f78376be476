//! A Service that the kernel refuses is found, and all others are programmed.
//!
//! As far as is known, a healthy kernel refuses no Service. To simulate a refusal, another process adds a conflicting
//! element just before each commit, faster than any repair.

use std::{
    cell::Cell,
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    sync::Arc,
};

use portolan::{
    agent::Agent,
    config::settings::{DetectLocal, Settings},
    kernel::nftables::{Commit, Error, Kernel, Ownership, Tables as _},
    observe::{events::Recorder, health::Health, metrics::Metrics, report::Cause},
    source::Change,
};
use portolan_integration::{Around, Between};
use portolan_rules::{
    model::{Endpoint, EndpointPort, EndpointSlice, ObjectName, Protocol, Service, ServicePort},
    plane::{Config, SetName},
    ruleset::{ClassId, Concat, DataType, Element, ElementData, Family, Operation, Transaction, Value},
};

use crate::namespace::enter;

/// Another process that makes the kernel refuse commits.
struct Contested {
    stranger: Kernel,
    /// The `ClusterIP` for which the stranger adds a conflicting element.
    address: Rc<Cell<Option<Ipv4Addr>>>,
    /// Whether to hide which operation the kernel refused.
    silent: bool,
    /// Whether the refusal is made up: other processes cannot put anything into a table with an owner.
    made_up: bool,
}

impl Contested {
    /// Returns the transactions that add and remove an element that conflicts with this transaction.
    fn obstacle(&self, transaction: &Transaction) -> Option<(Transaction, Transaction)> {
        let (set, key) = transaction.operations.iter().find_map(|(_, operation)| match operation {
            Operation::AddElement { set, key, .. } if &*set.name == SetName::Frontends.name() => {
                let first = key.values(&set.key)?.first().copied()?;
                (first == Value::Ipv4(self.address.get()?)).then(|| (set.clone(), key.clone()))
            }
            _ => None,
        })?;
        let element = Element::value(Concat::new(&[Value::Class(ClassId(0xbad))]));
        let mut add = Transaction::new("portolan");
        add.push(Family::Ip, Operation::AddElement { set: set.clone(), key: key.clone(), element });
        let mut remove = Transaction::new("portolan");
        remove.push(Family::Ip, Operation::DeleteElement { set, key, end: None });
        Some((add, remove))
    }
}

impl Between for Contested {
    fn commit(&mut self, kernel: &mut Kernel, transaction: &Transaction) -> Result<Commit, Error> {
        let obstacle = self.obstacle(transaction);
        if self.made_up && obstacle.is_some() {
            return Err(Error::Refused { operation: None, errno: rustix::io::Errno::EXIST, reason: None });
        }
        let obstacle = obstacle.filter(|(add, _)| self.stranger.commit(add).is_ok());
        let outcome = kernel.commit(transaction);
        if let Some((_, remove)) = obstacle {
            self.stranger.commit(&remove).expect("no other process removes it");
        }
        match outcome {
            Err(Error::Refused { errno, reason, .. }) if self.silent => {
                Err(Error::Refused { operation: None, errno, reason })
            }
            other => other,
        }
    }
}

fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, 0, n)
}

fn service(n: u8, port: u16) -> Change {
    let name = ObjectName::new("default", format!("service-{n}").as_str());
    let ports = vec![ServicePort { name: "".into(), protocol: Protocol::Tcp, port, node_port: None }];
    let service = Service::cluster_ip(name.clone(), vec![address(n).into()], ports);
    Change::Service(name, Some(Arc::new(service)))
}

pub fn settings() -> Settings {
    Settings {
        node_name: "node".into(),
        node_port_addresses: "primary".parse().unwrap(),
        proxy_name: None,
        detect_local: DetectLocal::ClusterCidr(Vec::new()),
        service_cidrs: Vec::new(),
        config: Config::default(),
    }
}

/// Returns the addresses of the kernel's frontends.
fn answered() -> Vec<Ipv4Addr> {
    let tables = Kernel::open().unwrap().dump("portolan").unwrap().tables;
    let frontends = &tables[&Family::Ip].sets[SetName::Frontends.name()];
    let address = |key: &Concat| match key.values(&frontends.key).unwrap()[0] {
        Value::Ipv4(address) => address,
        ref other => panic!("{other:?}"),
    };
    frontends.elements.keys().map(address).collect()
}

#[test]
fn a_service_that_the_kernel_refuses_is_left_out_and_reported() {
    for silent in [false, true] {
        std::thread::spawn(move || {
            enter();
            let (recorder, mut warnings) = Recorder::new();
            let address_wanted = Rc::new(Cell::new(None));
            let kernel = Around::open(Contested {
                stranger: Kernel::open().unwrap(),
                address: address_wanted.clone(),
                silent,
                made_up: false,
            })
            .unwrap();
            let mut agent = Agent::new(settings(), kernel, Health::default(), recorder, Metrics::default());
            agent.apply((0..40).map(|n| service(n, 80)));
            agent.sync().unwrap();
            assert_eq!(answered().len(), 40);
            address_wanted.set(Some(address(23)));
            agent.apply((0..40).map(|n| service(n, 81)));
            while agent.sync().unwrap().unfinished {}
            let expected: Vec<_> = (0..40).filter(|n| *n != 23).map(address).collect();
            assert_eq!(answered(), expected, "all but one; silent: {silent}");
            let warning = warnings.try_recv().unwrap();
            assert_eq!(&*warning.service.name, "service-23");
            assert_eq!(warning.reason, "FailedToProgram");
            assert!(warning.note.contains("File exists"), "{}", warning.note);
            assert!(warnings.try_recv().is_err(), "no other Service is blamed");
            if !silent {
                assert!(
                    warning.note.contains("element ip portolan frontends { 10.96.0.23"),
                    "{}",
                    warning.note
                );
            }
            // The stranger goes away; nothing happens until the next full comparison.
            address_wanted.set(None);
            agent.sync().unwrap();
            assert_eq!(answered().len(), 39);
            agent.sync_for(Cause::Period).unwrap();
            assert_eq!(answered().len(), 40);
        })
        .join()
        .unwrap();
    }
}

/// Returns the addresses of the kernel's endpoints.
fn endpoints(family: Family) -> Vec<IpAddr> {
    let tables = Kernel::open().unwrap().dump("portolan").unwrap().tables;
    let Some(set) = tables.get(&family).and_then(|table| table.sets.get(SetName::Endpoints.name())) else {
        return Vec::new();
    };
    let of = |element: &Element| match &element.data {
        ElementData::Value(value) => value.values(&[family.address_type(), DataType::InetService]),
        _ => None,
    };
    set.elements.values().map(|element| of(element).unwrap()[0].address().unwrap()).collect()
}

fn endpoint(n: u8, address: IpAddr) -> Change {
    let service = format!("service-{n}");
    let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    let name = ObjectName::new("default", format!("{service}-{family}").as_str());
    let slice = EndpointSlice {
        name: name.clone(),
        service: service.as_str().into(),
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: vec![Endpoint::ready(address)],
    };
    Change::Slice(name, Some(Arc::new(slice)))
}

#[test]
fn one_family_is_served_though_the_kernel_refuses_what_is_for_the_other() {
    for refused in Family::ALL {
        std::thread::spawn(move || {
            enter();
            let served = if refused == Family::Ip { Family::Ip6 } else { Family::Ip };
            let (recorder, _warnings) = Recorder::new();
            let mut agent = Agent::new(
                settings(),
                Kernel::open().unwrap(),
                Health::default(),
                recorder,
                Metrics::default(),
            );
            let ports =
                vec![ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: None }];
            let both = vec![address(1).into(), "fd00::1".parse().unwrap()];
            let name = ObjectName::new("default", "service-1");
            let service = Service::cluster_ip(name.clone(), both, ports);
            agent.apply([Change::Service(name, Some(Arc::new(service)))]);
            let addresses = |n: u16| -> [IpAddr; 2] {
                [[10, 1, 0, n as u8].into(), [0xfd01, 0, 0, 0, 0, 0, 0, n].into()]
            };
            agent.apply(addresses(1).map(|address| endpoint(1, address)));
            agent.sync().unwrap();
            for family in Family::ALL {
                assert_eq!(endpoints(family), [addresses(1)[family as usize]]);
            }
            // Another process becomes the owner of the table of one family.
            let mut other = Kernel::open().unwrap();
            assert!(other.own_tables().unwrap());
            let mut take = Transaction::new("portolan");
            take.push(refused, Operation::DeleteTable);
            take.push(refused, Operation::AddTable);
            other.commit(&take).unwrap();
            for n in 2..5 {
                agent.apply(addresses(n).map(|address| endpoint(1, address)));
                let error = agent.sync().unwrap_err();
                assert!(error.to_string().contains("belongs to"), "{error}");
                assert_eq!(endpoints(served), [addresses(n)[served as usize]], "{served} is served");
                assert_eq!(endpoints(refused), [] as [IpAddr; 0]);
            }
            // The other process deletes its table.
            let mut give_back = Transaction::new("portolan");
            give_back.push(refused, Operation::DeleteTable);
            other.commit(&give_back).unwrap();
            while agent.sync().is_err() {}
            for family in Family::ALL {
                assert_eq!(endpoints(family), [addresses(4)[family as usize]]);
            }
        })
        .join()
        .unwrap();
    }
}

#[test]
fn tables_become_ours_though_a_service_is_refused() {
    for is_orphan in [false, true] {
        std::thread::spawn(move || {
            enter();
            let agent = |contested: Contested| {
                let (recorder, _) = Recorder::new();
                let kernel = Around::open(contested).unwrap();
                let mut agent =
                    Agent::new(settings(), kernel, Health::default(), recorder, Metrics::default());
                agent.apply((0..5).map(|n| service(n, 80)));
                agent
            };
            let contested = |address| Contested {
                stranger: Kernel::open().unwrap(),
                address: Rc::new(Cell::new(address)),
                silent: false,
                made_up: true,
            };
            // An earlier run left tables: with an owner, which is gone, or without one.
            let mut before = agent(contested(None));
            if is_orphan {
                before.own_tables().unwrap();
            }
            before.sync().unwrap();
            drop(before);
            let mut now = agent(contested(Some(address(3))));
            now.own_tables().unwrap();
            now.apply((0..5).map(|n| service(n, 81)));
            while now.sync().unwrap().unfinished {}
            assert_eq!(answered(), [0, 1, 2, 4].map(address), "orphan: {is_orphan}");
            let whose = Kernel::open().unwrap().ownership("portolan").unwrap();
            assert_eq!(whose, Family::ALL.map(|family| (family, Ownership::Others)).into());
        })
        .join()
        .unwrap();
    }
}
