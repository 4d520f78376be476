use std::net::{IpAddr, Ipv4Addr};

use proptest::{collection::btree_map, option, prelude::*, sample::select};

use super::*;
use crate::{
    frontends::{FrontendKey, FrontendKind},
    model::{Protocol, TrafficPolicy},
    ruleset::Family,
};

fn port() -> impl Strategy<Value = Port> {
    (1..4_u16, select(vec![Family::Ip, Family::Ip6])).prop_map(|(number, family)| Port {
        number,
        protocol: Protocol::Tcp,
        family,
    })
}

fn frontend() -> impl Strategy<Value = FrontendKey> {
    prop_oneof![
        (0..3_u8, 1..4_u16).prop_map(|(host, port)| FrontendKey::Address(
            IpAddr::V4(Ipv4Addr::new(10, 96, 0, host)),
            Protocol::Tcp,
            port
        )),
        (30_000..30_003_u16).prop_map(|port| FrontendKey::NodePort(Family::Ip, Protocol::Tcp, port)),
    ]
}

fn aspect() -> impl Strategy<Value = Aspect> {
    let parent = prop_oneof![port().prop_map(Parent::Port), frontend().prop_map(Parent::Frontend)];
    let kind = option::of(select(vec![FrontendKind::ClusterIp, FrontendKind::NodePort]));
    prop_oneof![
        port().prop_map(Aspect::Port),
        (option::of(frontend()), select(vec!["a", "b"]))
            .prop_map(|(of, field)| Aspect::Setting { of, field }),
        (frontend(), kind, option::of(port())).prop_map(|(key, kind, port)| Aspect::Frontend {
            key,
            kind,
            port
        }),
        (parent, 0..3_u8)
            .prop_map(|(of, host)| Aspect::Endpoint { of, at: (Ipv4Addr::new(10, 0, 0, host), 80).into() }),
    ]
}

fn fact() -> impl Strategy<Value = Fact> {
    (select(vec!["", "x", "y"]), any::<bool>())
        .prop_map(|(value, is_used)| Fact { value: value.to_owned(), is_used })
}

fn services() -> impl Strategy<Value = Services> {
    let name = select(vec!["a", "b", "c"]).prop_map(|name| ObjectName::new("default", name));
    btree_map(name, btree_map(aspect(), fact(), 0..8), 0..3)
}

/// Applies differences to the earlier state.
fn apply(mut services: Services, differences: &[Difference]) -> Services {
    for difference in differences {
        let facts = services.entry(difference.service.clone()).or_default();
        for Change { aspect, before, after } in &difference.changes {
            assert_eq!(facts.get(aspect), before.as_ref());
            match after {
                Some(after) => _ = facts.insert(aspect.clone(), after.clone()),
                None => _ = facts.remove(aspect),
            }
        }
        if difference.presence == Presence::Gone {
            services.remove(&difference.service);
        }
    }
    services
}

proptest! {
    #[test]
    fn equal_states_have_no_difference(state in services()) {
        prop_assert_eq!(compare(&state, &state), []);
    }

    #[test]
    fn differences_are_complete(before in services(), after in services()) {
        let differences = compare(&before, &after);
        prop_assert_eq!(apply(before, &differences), after);
    }

    #[test]
    fn every_difference_of_what_is_used_has_words(before in services(), after in services()) {
        for difference in compare(&before, &after) {
            let is_told = difference.presence != Presence::Both
                || difference.changes.iter().any(|change| {
                    let counts = |fact: &Option<Fact>| fact.as_ref().is_some_and(|fact| fact.is_used);
                    match change.aspect {
                        Aspect::Endpoint { .. } => counts(&change.before) != counts(&change.after),
                        Aspect::Port(_) => true,
                        _ => false,
                    }
                });
            prop_assert!(!is_told || !difference.sentences().is_empty(), "{:?}", difference);
        }
    }
}

/// A Service with one port, two frontends, and these endpoints.
fn service(endpoints: &[&str], policy: TrafficPolicy) -> Services {
    let port = Port { number: 80, protocol: Protocol::Tcp, family: Family::Ip };
    let mut facts = Facts::new();
    facts.insert(Aspect::Port(port), Fact::new(""));
    facts.insert(
        Aspect::Setting { of: None, field: "externalTrafficPolicy" },
        Fact::new(format!("{policy:?}")),
    );
    for at in endpoints {
        facts.insert(Aspect::Endpoint { of: Parent::Port(port), at: at.parse().unwrap() }, Fact::new(""));
    }
    [(ObjectName::new("default", "web"), facts)].into()
}

#[test]
fn a_difference_is_described_in_one_line() {
    let before = service(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"], TrafficPolicy::Cluster);
    let mut after = service(&["10.0.0.1:80", "10.0.0.2:80"], TrafficPolicy::Local);
    let gone = Port { number: 81, protocol: Protocol::Tcp, family: Family::Ip };
    let mut with_port = before.clone();
    with_port.values_mut().next().unwrap().insert(Aspect::Port(gone), Fact::new(""));
    let lines = |a: &Services, b: &Services| -> Vec<String> {
        compare(a, b).iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        lines(&with_port, &after),
        ["default/web: 3 → 2 endpoints (-10.0.0.3:80); port 81/tcp gone; externalTrafficPolicy now Local"]
    );
    after = service(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.4:80"], TrafficPolicy::Cluster);
    assert_eq!(
        lines(&before, &after),
        ["default/web: 1 of 3 endpoints replaced (-10.0.0.3:80 +10.0.0.4:80)"]
    );
    assert_eq!(lines(&Services::new(), &after), ["default/web: new: 0 frontends, 3 endpoints"]);
    assert_eq!(lines(&after, &Services::new()), ["default/web: gone: had 0 frontends, 3 endpoints"]);
}
