//! UDP: endpoints that no longer serve, and flows that are not translated.

use std::sync::Arc;

use portolan_rules::model::{Protocol, Service, TrafficPolicy};

use crate::{
    BOTH,
    Condition::{Drained, Draining, Gone, NotReady, Ready},
    Dns, OTHER_NODE_ADDRESS, service, slice,
};

#[test]
fn a_replaced_backend_leaves_stale_flows_behind() {
    let mut dns = Dns::new(&[(1, Ready), (2, Ready)]);
    dns.set_endpoints(53, &[(2, Ready), (3, Ready)]);
    assert_eq!(dns.stale(), BOTH);
    for destination in BOTH {
        assert!(dns.is_stale(destination, "10.0.0.1:53"));
        assert!(!dns.is_stale(destination, "10.0.0.2:53"));
        assert!(!dns.is_stale(destination, "10.0.0.3:53"));
    }
}

#[test]
fn another_backend_makes_no_translated_flow_stale() {
    let mut dns = Dns::new(&[(1, Ready)]);
    dns.set_endpoints(53, &[(1, Ready), (2, Ready)]);
    assert_eq!(dns.stale(), BOTH, "the class changed");
    for destination in BOTH {
        assert!(!dns.is_stale(destination, "10.0.0.1:53"));
        assert!(dns.is_stale(destination, destination), "it passed untranslated during the change");
    }
    assert_eq!(dns.stale(), [""; 0]);
}

#[test]
fn a_frontend_whose_class_changed_is_looked_at() {
    let with = |change: fn(&mut Service)| {
        let mut service = service("dns", 1, Protocol::Udp, 53, Some(30_053));
        change(&mut service);
        Some(service)
    };
    let sticky = |service: &mut Service| service.affinity_timeout = Some(600);
    let mut dns = Dns::new(&[(1, Ready), (2, Ready)]);
    dns.set_service(with(sticky));
    assert_eq!(dns.stale(), BOTH);
    dns.set_endpoints(53, &[(1, Ready), (2, Ready), (3, Ready)]);
    assert_eq!(dns.stale(), BOTH, "new clients have other endpoints to draw from");
    dns.set_service(with(|service| service.external_policy = TrafficPolicy::Local));
    assert_eq!(dns.stale(), BOTH, "session affinity is gone");
    dns.set_service(with(|service| service.internal_policy = TrafficPolicy::Local));
    assert_eq!(dns.stale(), BOTH);
    dns.set_service(with(|service| service.external_policy = TrafficPolicy::Cluster));
    assert_eq!(dns.stale(), [BOTH[0]], "node ports did not change");
    dns.set_endpoints(53, &[(1, Ready), (2, NotReady), (4, Ready), (3, Ready)]);
    assert_eq!(dns.stale(), [""; 0], "the number of endpoints is the same");
}

#[test]
fn a_changed_target_port_makes_flows_to_the_old_one_stale() {
    let mut dns = Dns::new(&[(1, Ready)]);
    dns.set_endpoints(5353, &[(1, Ready)]);
    assert_eq!(dns.stale(), BOTH);
    assert!(dns.is_stale(BOTH[0], "10.0.0.1:53") && !dns.is_stale(BOTH[0], "10.0.0.1:5353"));
}

#[test]
fn a_backend_keeps_its_flows_for_as_long_as_it_serves() {
    let mut dns = Dns::new(&[(1, Ready), (2, Ready)]);
    for condition in [Draining, NotReady, Drained] {
        dns.set_endpoints(53, &[(1, condition), (2, Ready)]);
        dns.stale();
        assert!(!dns.is_stale(BOTH[0], "10.0.0.1:53"), "{condition:?}");
    }
    dns.set_endpoints(53, &[(1, Gone), (2, Ready)]);
    assert_eq!(dns.stale(), BOTH);
    assert!(dns.is_stale(BOTH[0], "10.0.0.1:53"));
    // The endpoint may have new flows when it is ready again.
    dns.set_endpoints(53, &[(1, Ready), (2, Ready)]);
    dns.stale();
    assert!(!dns.is_stale(BOTH[0], "10.0.0.1:53"));
}

#[test]
fn without_its_last_backend_every_flow_is_stale() {
    let mut dns = Dns::new(&[(1, Ready)]);
    dns.set_endpoints(53, &[]);
    assert_eq!(dns.stale(), BOTH);
    assert!(dns.is_stale(BOTH[0], "10.0.0.1:53") && dns.is_stale(BOTH[0], BOTH[0]));
}

#[test]
fn a_deleted_service_loses_its_translated_flows_only() {
    let mut dns = Dns::new(&[(1, Ready)]);
    dns.set_service(None);
    assert_eq!(dns.stale(), BOTH);
    for destination in BOTH {
        assert!(dns.is_stale(destination, "10.0.0.1:53"));
        assert!(!dns.is_stale(destination, destination), "it may be another Service's by now");
    }
}

#[test]
fn a_new_service_takes_over_the_untranslated_flows() {
    let mut dns = Dns::new(&[(1, Ready)]);
    dns.set_service(None);
    dns.stale();
    dns.set_service(Some(service("dns", 1, Protocol::Udp, 53, Some(30_053))));
    assert_eq!(dns.stale(), BOTH);
    assert!(dns.is_stale(BOTH[0], BOTH[0]) && !dns.is_stale(BOTH[0], "10.0.0.1:53"));
}

#[test]
fn a_node_port_that_moves_is_stale_at_both_places() {
    let mut dns = Dns::new(&[(1, Ready)]);
    dns.set_service(Some(service("dns", 1, Protocol::Udp, 53, Some(30_054))));
    assert_eq!(dns.stale(), ["192.0.2.1:30053", "192.0.2.1:30054"]);
    assert!(dns.is_stale("192.0.2.1:30053", "10.0.0.1:53"));
    assert!(!dns.is_stale("192.0.2.1:30053", "192.0.2.1:30053"));
    assert!(dns.is_stale("192.0.2.1:30054", "192.0.2.1:30054"));
    assert!(!dns.is_stale("192.0.2.1:30054", "10.0.0.1:53"));
}

#[test]
fn node_ports_follow_the_addresses_of_the_node() {
    let mut dns = Dns::new(&[(1, Ready)]);
    dns.compiler.set_node_addresses(&[OTHER_NODE_ADDRESS.parse().unwrap()].into());
    assert_eq!(dns.stale(), ["192.0.2.1:30053", "192.0.2.2:30053"]);
    assert!(dns.is_stale("192.0.2.1:30053", "10.0.0.1:53"));
    assert!(!dns.is_stale("192.0.2.1:30053", "192.0.2.1:30053"));
    assert!(!dns.is_stale("192.0.2.2:30053", "10.0.0.1:53"));
    assert!(dns.is_stale("192.0.2.2:30053", "192.0.2.2:30053"));
}

#[test]
fn a_frontend_that_passes_to_another_service_takes_its_flows_along() {
    let mut dns = Dns::new(&[(1, Ready)]);
    let other = service("other", 1, Protocol::Udp, 53, None);
    let endpoints = slice("other", 53, &[(2, Ready)]);
    dns.state.set_service(&other.name.clone(), Some(Arc::new(other)));
    dns.state.set_slice(&endpoints.name.clone(), Some(Arc::new(endpoints)));
    assert_eq!(dns.stale(), [""; 0], "the older Service keeps it");
    dns.set_service(None);
    assert_eq!(dns.stale(), BOTH);
    assert!(dns.is_stale(BOTH[0], "10.0.0.1:53") && !dns.is_stale(BOTH[0], "10.0.0.2:53"));
}
