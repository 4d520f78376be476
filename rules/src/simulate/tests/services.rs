//! The data plane that the compiler writes.

use std::net::SocketAddr;

use super::{Fate, TCP, UDP, host, only, packet, run};
use crate::{
    ruleset::{ClassId, Family, RejectWith, Value},
    simulate::{Input, Memory, Outcome, Packet, Probability, explain, simulate},
    tests::fixture::{address, concat, services},
};

/// The distribution over endpoints `1.LAST:8080`, with whether the source is masqueraded.
fn endpoints(outcome: &Outcome, family: Family) -> Vec<(u8, bool, Probability)> {
    let last = |to: SocketAddr| {
        (0..=255).find(|last| to == SocketAddr::new(address(family, 1, *last), 8080)).unwrap()
    };
    let fates = outcome.fates().into_iter().map(|(fate, probability)| match fate {
        Fate::Sent { to, masqueraded } => (last(to), masqueraded, probability),
        other => panic!("not sent but {other}"),
    });
    let mut fates: Vec<_> = fates.collect();
    fates.sort();
    fates
}

fn third() -> Probability {
    Probability::new(1, 3)
}

#[test]
fn a_pod_reaches_each_endpoint_alike_and_itself_masqueraded() {
    for family in Family::ALL {
        let from_pod = packet(address(family, 1, 2), address(family, 96, 2), 80);
        let expected = [(2, true, third()), (3, false, third()), (4, false, third())];
        assert_eq!(endpoints(&run(&services(), &from_pod), family), expected);
    }
}

#[test]
fn the_node_itself_reaches_each_endpoint_alike() {
    for family in Family::ALL {
        let own = packet(address(family, 0, 1), address(family, 96, 2), 80);
        let outcome = run(&services(), &Packet { input: Input::Local, ..own });
        let expected = [2, 3, 4].map(|last| (last, true, third()));
        assert_eq!(endpoints(&outcome, family), expected, "from outside the pods' range: masqueraded");
    }
}

#[test]
fn an_external_address_and_a_node_port_are_masqueraded() {
    for family in Family::ALL {
        let client = "192.0.2.1".parse().unwrap();
        let client = if family == Family::Ip { client } else { "2001:db8::1".parse().unwrap() };
        for (last, port) in [(9, 80), (1, 30080)] {
            let outcome = run(&services(), &packet(client, address(family, 0, last), port));
            let expected = [2, 3, 4].map(|last| (last, true, third()));
            assert_eq!(endpoints(&outcome, family), expected);
        }
    }
}

#[test]
fn a_frontend_without_endpoints_and_a_wrong_port_refuse() {
    for family in Family::ALL {
        for (last, port) in [(3, 80), (2, 81)] {
            let tcp = packet(address(family, 1, 2), address(family, 96, last), port);
            assert_eq!(only(&services(), &tcp).fate, Fate::Rejected(RejectWith::TcpReset));
            let udp = Packet { protocol: UDP, ..tcp };
            assert_eq!(only(&services(), &udp).fate, Fate::Rejected(RejectWith::PortUnreachable));
        }
    }
}

#[test]
fn what_is_no_service_is_untouched() {
    for family in Family::ALL {
        for (net, port) in [(1, 8080), (0, 22), (7, 80)] {
            let case = only(&services(), &packet(address(family, 1, 2), address(family, net, 1), port));
            assert_eq!(case.fate, Fate::Untouched { masqueraded: false });
            assert!(case.is_certain());
        }
    }
}

#[test]
fn a_missing_slot_falls_back_to_the_first() {
    let mut ruleset = services();
    let endpoints_map = ruleset.tables.get_mut(&Family::Ip).unwrap().sets.get_mut("endpoints").unwrap();
    let slot = Value::Class(ClassId(2));
    let key = concat([address(Family::Ip, 96, 2).into(), Value::Proto(TCP), Value::Port(80), slot]);
    assert!(endpoints_map.elements.remove(&key).is_some());
    let outcome = run(&ruleset, &packet(address(Family::Ip, 1, 9), address(Family::Ip, 96, 2), 80));
    let expected = [(2, false, Probability::new(2, 3)), (3, false, third())];
    assert_eq!(endpoints(&outcome, Family::Ip), expected);
}

#[test]
fn without_a_table_nothing_happens() {
    let packet = packet(address(Family::Ip, 1, 2), address(Family::Ip, 96, 2), 80);
    let outcome = simulate(&crate::ruleset::Ruleset::default(), &host(), &packet, &Memory::new());
    assert_eq!(outcome.only_fate(), Some(Fate::Untouched { masqueraded: false }));
}

#[test]
fn an_explanation_shows_fates_and_the_way_there() {
    let outcome = run(&services(), &packet(address(Family::Ip, 1, 2), address(Family::Ip, 96, 2), 80));
    insta::assert_snapshot!(explain(&outcome));
}
