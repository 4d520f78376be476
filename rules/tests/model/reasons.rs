//! Every reason occurs in some cluster.

use std::{collections::BTreeSet, sync::Arc};

use portolan_rules::{
    explanation::{Pod, Reason, Rules, Selector, View, Workloads},
    model::{ObjectName, Protocol, Service, ServicePort, TrafficPolicy},
    ruleset::{Family, Ruleset},
    simulate::Host,
};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::{Config, TestRunner},
};

use crate::{cluster::Cluster, places::Place, strategies::cluster};

/// Number of random clusters that are examined.
const CLUSTERS: usize = 400;

/// The codes of all reasons that the explanation of a cluster gives.
fn codes(
    cluster: &Cluster,
    workloads: &Workloads,
    quarantined: Option<&ObjectName>,
) -> BTreeSet<&'static str> {
    let (mut compiler, mut state) = cluster.load(&Ruleset::default(), 0);
    if let Some(name) = quarantined {
        state.quarantine(name, true);
        compiler.update(&mut state);
    }
    let (rules, host) = (Rules::default(), Host { local_addresses: cluster.host.clone() });
    let view = View { state: &state, compiler: &compiler, rules: &rules, host: &host, workloads };
    let mut codes = BTreeSet::new();
    for service in view.services() {
        codes.extend(service.findings.iter().map(|finding| finding.reason.code()));
        for port in &service.ports {
            codes.extend(
                port.frontends.iter().filter_map(|frontend| Some(frontend.left_out.as_ref()?.code())),
            );
            let endpoints = port.endpoints.iter().flat_map(|endpoint| [&endpoint.cluster, &endpoint.local]);
            codes.extend(endpoints.flatten().map(Reason::code));
        }
    }
    codes
}

/// A Service at the nth ClusterIP.
fn service(name: &str, n: u8) -> Service {
    let port = ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: None };
    Service::cluster_ip(
        ObjectName::new("shop", name),
        vec![Place::ClusterIp(n).address(Family::Ip)],
        vec![port],
    )
}

/// Services whose selectors, load balancers and rules show why they are not reached.
fn with_workloads() -> (Cluster, Workloads) {
    let selector = |labels: &[(&str, &str)], target: Option<&str>, is_load_balancer| Selector {
        labels: labels.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect(),
        targets: target.map(|target| ("".into(), target.into())).into_iter().collect(),
        is_load_balancer,
        has_load_balancer: false,
    };
    let of = |name: &str| ObjectName::new("shop", name);
    let selectors = [
        (of("typo"), selector(&[("app", "wbe")], None, false)),
        (of("named"), selector(&[("app", "web")], Some("htttp"), false)),
        (of("pending"), selector(&[("app", "web")], None, true)),
    ];
    let pod = Pod {
        name: of("web-1"),
        labels: vec![("app".into(), "web".into())],
        addresses: vec![Place::Pod(1).address(Family::Ip)],
        ready: true,
        condition: None,
        node: Some("here".into()),
        port_names: vec!["http".into()],
    };
    let mut pending = service("pending", 3);
    pending.external_policy = TrafficPolicy::Local;
    let mut named = service("named", 2);
    named.ports[0].node_port = Some(8080);
    let services = vec![service("typo", 1), named, pending, service("refused", 4)];
    let mut workloads = Workloads::new(selectors.into(), vec![pod]);
    workloads.is_of_manifests = true;
    workloads.ignored.insert(of("typo"), vec![("spec.selektor".into(), "is not a field of spec".into())]);
    let service_cidrs = vec!["203.0.113.0/24".parse().unwrap()];
    (Cluster { services, service_cidrs, ..Cluster::default() }, workloads)
}

#[test]
fn every_reason_is_given_by_some_cluster() {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let mut seen = BTreeSet::new();
    for _ in 0..CLUSTERS {
        let cluster = cluster().new_tree(&mut runner).expect("a cluster").current();
        seen.extend(codes(&cluster, &Workloads::default(), None));
    }
    let (cluster, workloads) = with_workloads();
    seen.extend(codes(&cluster, &workloads, Some(&ObjectName::new("shop", "refused"))));
    // An unusable object is in no cluster; `check` adds it to what is read.
    seen.insert(Reason::UnusableObject { message: "".into() }.code());
    let all: BTreeSet<&str> = Reason::examples().iter().map(Reason::code).collect();
    let missing: Vec<_> = all.difference(&seen).collect();
    assert!(missing.is_empty(), "no cluster has these reasons: {missing:?}");
}
