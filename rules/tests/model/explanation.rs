//! The explanation of every endpoint matches what the rules do.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use portolan_rules::{
    explanation::{Origin, Reason, Rules, View, Workloads},
    frontends::{FrontendKey, FrontendKind},
    model::LoadBalancing,
    ruleset::Ruleset,
    simulate::{Fate, Host, Probability},
};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRunner};

use crate::{manifest::manifest, strategies::cluster};

/// For every frontend of a Service, in random clusters: connections from outside are sent to exactly the endpoints
/// without a reason against them under the frontend's policy.
#[test]
fn endpoints_without_a_reason_are_those_that_connections_reach() {
    let mut config =
        Config { failure_persistence: None, rng_algorithm: RngAlgorithm::XorShift, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 600;
    }
    let (frontends, left_out, without) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let outcome = TestRunner::new(config).run(&cluster(), |cluster| {
        let (compiler, state) = cluster.load(&Ruleset::default(), 0);
        let (rules, host) = (Rules::default(), Host { local_addresses: cluster.host.clone() });
        let workloads = Workloads::default();
        let view =
            View { state: &state, compiler: &compiler, rules: &rules, host: &host, workloads: &workloads };
        for explained in view.services() {
            for port in &explained.ports {
                let meant = port.frontends.iter().filter(|frontend| frontend.left_out.is_none());
                // Source ranges decide before endpoints do.
                let is_open =
                    |kind| kind != FrontendKind::LoadBalancer || explained.service.source_ranges.is_empty();
                // An externalIP may be this node's address, and its port the node port.
                let is_external = |key: &FrontendKey| match *key {
                    FrontendKey::Address(..) => false,
                    FrontendKey::NodePort(family, protocol, port) => {
                        let address = view.node_address(family);
                        let key = address.map(|address| FrontendKey::Address(address, protocol, port));
                        key.is_some_and(|key| compiler.owner_of(&key).is_some())
                    }
                };
                let meant = meant.filter(|frontend| is_open(frontend.kind) && !is_external(&frontend.key));
                for frontend in meant {
                    let Some(outcome) = view.connect(Origin::Outside, &frontend.key) else { continue };
                    frontends.set(frontends.get() + 1);
                    let reached: BTreeSet<SocketAddr> = outcome
                        .fates()
                        .into_keys()
                        .filter_map(|fate| match fate {
                            Fate::Sent { to, .. } => Some(to),
                            _ => None,
                        })
                        .collect();
                    let shares = view.shares_of(&explained, &frontend.key);
                    let sent = outcome.fates().into_iter().filter_map(|(fate, share)| match fate {
                        Fate::Sent { to, .. } => Some((to, share)),
                        _ => None,
                    });
                    let mut simulated = BTreeMap::new();
                    for (to, share) in sent {
                        *simulated.entry(to).or_insert_with(|| Probability::new(0, 1)) += &share;
                    }
                    let is_random = explained.service.load_balancing == LoadBalancing::Random;
                    if is_random && shares != simulated {
                        let text = format!("{}: {shares:?} but {simulated:?}", frontend.key);
                        return Err(TestCaseError::fail(format!("{text}\n{}", manifest(&cluster))));
                    }
                    let (kept, gone): (Vec<_>, Vec<_>) =
                        port.endpoints.iter().partition(|e| e.left_out(frontend.policy).is_none());
                    left_out.set(left_out.get() + gone.len());
                    without.set(without.get() + usize::from(kept.is_empty()));
                    let kept: BTreeSet<SocketAddr> = kept.iter().map(|endpoint| endpoint.at).collect();
                    // The client's address chooses one of these.
                    let is_hashed = explained.service.load_balancing == LoadBalancing::SourceHash;
                    let is_right = if is_hashed {
                        reached.is_subset(&kept) && reached.is_empty() == kept.is_empty()
                    } else {
                        reached == kept
                    };
                    if !is_right {
                        let text =
                            format!("{}: {kept:?} but {reached:?}\n{}", frontend.key, manifest(&cluster));
                        return Err(TestCaseError::fail(text));
                    }
                }
                // A Service without an endpoint has a finding that says why.
                let is_served = port.endpoints.iter().any(|endpoint| endpoint.cluster.is_none());
                let subject = format!("{}/{}", port.port.port, port.port.protocol);
                let is_said = explained.findings.iter().any(|finding| finding.subject.contains(&subject));
                if !is_served && !is_said {
                    return Err(TestCaseError::fail(format!(
                        "{subject}: no finding\n{}",
                        manifest(&cluster)
                    )));
                }
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let (frontends, left_out, without) = (frontends.get(), left_out.get(), without.get());
    assert!(frontends > 1000 && left_out > 500 && without > 100, "{frontends} {left_out} {without}");
}

#[test]
fn every_reason_has_a_code_of_its_own_a_sentence_and_a_hint() {
    let reasons = Reason::examples();
    let codes: BTreeSet<&str> = reasons.iter().map(Reason::code).collect();
    assert_eq!(codes.len(), reasons.len());
    for reason in &reasons {
        assert!(!reason.to_string().is_empty() && !reason.hint().is_empty() && !reason.field().is_empty());
        assert!(reason.code().chars().all(|letter| letter.is_ascii_lowercase() || letter == '-'));
    }
}
