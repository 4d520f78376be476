//! TCP and SCTP: endpoints that are no longer in a slice.

use std::sync::Arc;

use portolan_rules::{
    incremental::flows::{Destination, Flows, destinations},
    model::{EndpointSlice, ObjectName, Protocol},
};

use crate::{
    BOTH,
    Condition::{Drained, Draining, Gone, NotReady, Ready},
    Dns, at, follow, slice,
};

const OTHERS: [Protocol; 2] = [Protocol::Tcp, Protocol::Sctp];

#[test]
fn of_other_protocols_what_no_slice_lists_any_more_is_named() {
    for protocol in OTHERS {
        let mut dns = Dns::of(protocol, &[(1, Ready), (2, Ready), (3, Draining)]);
        for condition in [Draining, NotReady, Drained, Gone] {
            dns.set_endpoints(53, &[(1, condition), (2, Ready), (3, NotReady)]);
            assert_eq!(dns.gone(), [""; 0], "{protocol} {condition:?}: a slice lists it");
        }
        dns.set_endpoints(53, &[(2, Ready), (4, Ready)]);
        assert_eq!(dns.gone(), ["10.0.0.1:53", "10.0.0.3:53"], "{protocol}");
        dns.set_endpoints(5353, &[(2, Ready), (4, Ready)]);
        assert_eq!(dns.gone(), ["10.0.0.2:53", "10.0.0.4:53"], "{protocol}: the port changed");
        // The Service goes, together with the endpoint that was draining.
        dns.set_endpoints(5353, &[(2, Draining), (4, Ready)]);
        assert_eq!(dns.gone(), [""; 0]);
        dns.set_endpoints(5353, &[]);
        dns.set_service(None);
        assert_eq!(dns.gone(), ["10.0.0.2:5353", "10.0.0.4:5353"], "{protocol}: the Service went");
        assert!(destinations(&dns.compiler.ruleset()).is_empty());
    }
}

#[test]
fn the_short_way_names_them_too() {
    for protocol in OTHERS {
        let mut dns = Dns::of(protocol, &[(1, Ready), (2, Ready), (3, Draining)]);
        // Endpoint 3 had no slot any more.
        for (left, gone) in
            [(&[(1, Ready), (4, Ready), (3, Draining)][..], "10.0.0.2:53"), (&[(1, Ready)], "10.0.0.3:53")]
        {
            dns.set_endpoints(53, left);
            let update = dns.compiler.update(&mut dns.state);
            assert_eq!(update.recompiled, 0, "only what changed is looked at");
            for destination in BOTH {
                let moved = &update.stale.moved[&Destination::new(protocol, at(destination))];
                assert!(moved.gone.contains(&at(gone)), "{gone} {moved:?}");
                assert!(!moved.gone.contains(&at("10.0.0.1:53")));
            }
        }
    }
}

#[test]
fn what_moves_to_another_slice_is_still_listed() {
    for protocol in OTHERS {
        let mut dns = Dns::of(protocol, &[(1, Ready), (2, Ready)]);
        let other =
            EndpointSlice { name: ObjectName::new("default", "dns-2"), ..slice("dns", 53, &[(2, Ready)]) };
        dns.set_endpoints(53, &[(1, Ready)]);
        dns.state.set_slice(&other.name.clone(), Some(Arc::new(other.clone())));
        assert_eq!(dns.gone(), [""; 0]);
        // The endpoint is in two slices at once, and then in one.
        dns.set_endpoints(53, &[(1, Ready), (2, Draining)]);
        assert_eq!(dns.gone(), [""; 0]);
        dns.state.set_slice(&other.name.clone(), None);
        assert_eq!(dns.gone(), [""; 0]);
        dns.set_endpoints(53, &[(1, Ready)]);
        assert_eq!(dns.gone(), ["10.0.0.2:53"]);
    }
}

#[test]
fn what_comes_back_has_no_stale_flows() {
    for protocol in OTHERS {
        let mut dns = Dns::of(protocol, &[(1, Ready), (2, Ready)]);
        let (destination, mut flows) = (Destination::new(protocol, at(BOTH[0])), Flows::default());
        for (endpoints, stale) in [(&[(2, Ready)][..], true), (&[(1, NotReady), (2, Ready)], false)] {
            dns.set_endpoints(53, endpoints);
            let update = dns.compiler.update(&mut dns.state).stale;
            follow(&mut flows, &dns.compiler, &update);
            assert_eq!(flows.is_stale(destination, at("10.0.0.1:53")), stale, "{endpoints:?}");
        }
        assert!(flows.is_empty(), "nothing is left to look for");
    }
}

#[test]
fn flows_that_an_earlier_run_left_are_judged_by_the_slices() {
    for protocol in OTHERS {
        let mut dns = Dns::of(protocol, &[(1, Ready), (2, Draining)]);
        let before = dns.compiler.ruleset();
        let unlisted = |dns: &Dns, destination: &str, source: &str| {
            let destination = Destination::new(protocol, at(destination));
            let flow = (destination, at(source));
            let ceased = dns.compiler.ceased(&before);
            dns.compiler.unlisted(&dns.state, &ceased, [flow]).is_stale(destination, at(source))
        };
        for destination in BOTH {
            assert!(!unlisted(&dns, destination, "10.0.0.1:53"));
            assert!(!unlisted(&dns, destination, "10.0.0.2:53"), "it drains");
            assert!(unlisted(&dns, destination, "10.0.0.3:53"));
            assert!(unlisted(&dns, destination, "10.0.0.1:5353"));
            assert!(unlisted(&dns, destination, destination), "untranslated");
        }
        assert!(!unlisted(&dns, "10.96.0.2:53", "10.0.0.3:53"), "it was no Service's frontend");
        dns.set_service(None);
        dns.compiler.update(&mut dns.state);
        for destination in BOTH {
            assert!(unlisted(&dns, destination, "10.0.0.1:53"));
            assert!(!unlisted(&dns, destination, destination), "it may be another Service's by now");
        }
    }
}
