//! `trace` reports what the Service API promises.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use portolan_rules::{
    explanation::{Origin, Rules, View, Workloads, trace::Trace},
    model::{LoadBalancing, Protocol},
    ruleset::Ruleset,
    simulate::{Fate, Host, Memory, Packet},
};
use proptest::{
    collection::vec,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRunner},
};

use crate::{
    cluster::Cluster,
    manifest::manifest,
    packets::{Draft, draft},
    places::Place,
    reference::{Clients, Promise, answer},
    strategies::cluster,
};

/// Clusters in a run, unless `PROPTEST_CASES` says otherwise, and connections in each.
const CLUSTERS: u32 = 600;
const CONNECTIONS: usize = 30;

/// The Pods of the generated clusters are in the node's network of Pods.
fn with_pod_cidrs(mut cluster: Cluster) -> Cluster {
    cluster.node.pod_cidrs = ["10.1.1.0/24", "fd00:1:1::/48"].map(|text| text.parse().unwrap()).to_vec();
    cluster
}

/// The answer that `trace` must give according to the promise.
fn promised(promise: &Promise) -> String {
    let fates = &promise.fates;
    let sent = fates.keys().filter(|fate| matches!(fate, Fate::Sent { .. })).count();
    let masqueraded =
        fates.keys().filter(|fate| matches!(fate, Fate::Sent { masqueraded: true, .. })).count();
    let source = match masqueraded {
        0 => "source kept",
        all if all == fates.len() => "source becomes this node",
        _ => "source becomes this node for some",
    };
    match fates.keys().next() {
        Some(Fate::Sent { to, .. }) if sent == 1 => format!("reaches {to}; {source}"),
        Some(Fate::Sent { .. }) => {
            let shares: BTreeSet<_> = fates.values().collect();
            let each = match shares.first() {
                Some(share) if shares.len() == 1 => format!("{:.1} % each", share.to_f64() * 100.0),
                _ => "with the shares below".to_owned(),
            };
            format!("reaches one of {sent} endpoints, {each}; {source}")
        }
        Some(Fate::Rejected(_)) => "refused".to_owned(),
        Some(Fate::Dropped) => "dropped".to_owned(),
        _ => "left alone: goes where it was addressed to".to_owned(),
    }
}

/// The endpoints that have a share in the steps, with the share, and whether the source is masqueraded.
fn shares(steps: &[String]) -> BTreeMap<SocketAddr, (String, bool)> {
    let share = |step: &String| {
        let (endpoint, what) = step.strip_prefix("endpoint ")?.split_once(": ")?;
        let (share, rest) = what.split_once(" (")?;
        let is_number = share.starts_with(|letter: char| letter.is_ascii_digit());
        is_number.then(|| {
            let endpoint = endpoint.split(' ').next().unwrap().parse().unwrap();
            (endpoint, (share.to_owned(), rest.ends_with(", masqueraded")))
        })
    };
    steps.iter().filter_map(share).collect()
}

/// How `trace` differs from what is promised of a connection from an address.
fn difference(cluster: &Cluster, view: &View<'_>, packet: &Packet, protocol: Protocol) -> Option<String> {
    let to = SocketAddr::new(packet.destination, packet.destination_port);
    let trace = Trace::new(view, Origin::Address(packet.source), to, protocol);
    let promise = answer(cluster, &Clients::default(), &trace.packet);
    let (said, steps) = (trace.answer(), trace.ladder(view));
    let fail = |what: &str| Some(format!("{what}: {:?}: {said}\n{}", trace.packet, steps.join("\n")));
    let shares = shares(&steps);
    let is_sent = |fate: &&Fate| matches!(fate, Fate::Sent { .. });
    if trace.reaches() != promise.fates.keys().any(|fate| is_sent(&fate)) {
        return fail("the exit status");
    }
    if promise.choice == LoadBalancing::SourceHash && trace.reaches() {
        // The promise does not specify the endpoint.
        let one = shares
            .iter()
            .next()
            .map(|(to, (_, masqueraded))| Fate::Sent { to: *to, masqueraded: *masqueraded });
        let is_promised = one.is_some_and(|fate| promise.fates.contains_key(&fate)) && shares.len() == 1;
        return if is_promised { None } else { fail("the endpoint of source-hash") };
    }
    if said != promised(&promise) {
        return fail(&format!("the answer, not {:?}", promised(&promise)));
    }
    let promised: BTreeMap<SocketAddr, (String, bool)> = promise
        .fates
        .iter()
        .filter_map(|(fate, share)| match fate {
            Fate::Sent { to, masqueraded } => Some((*to, (share.to_string(), *masqueraded))),
            _ => None,
        })
        .collect();
    if shares != promised {
        return fail(&format!("the shares, not {promised:?}"));
    }
    // A connection that reaches no endpoint has a reason.
    let is_of_service = steps[0].contains(" of Service ");
    if is_of_service && !trace.reaches() && !steps.iter().any(|step| is_reason(step)) {
        return fail("no reason");
    }
    // With session affinity, a second connection meets the same endpoint.
    let affinity = steps.iter().find(|step| step.starts_with("sessionAffinity"));
    if affinity.is_some_and(|step| !step.contains("goes to the same one")) {
        return fail("the second connection");
    }
    let first = trace.outcome.cases.first().filter(|_| affinity.is_some())?;
    let mut memory = Memory::new();
    memory.remember(first);
    let second = Trace::remembering(view, Origin::Address(packet.source), to, protocol, &memory);
    let Fate::Sent { to: endpoint, .. } = first.fate else { return fail("affinity without an endpoint") };
    let expected = format!("client {} is remembered, and goes to {endpoint} again", packet.source);
    let steps = second.ladder(view);
    if !second.answer().starts_with(&format!("reaches {endpoint}; ")) || !steps.concat().contains(&expected) {
        return fail(&format!("the second connection: {}\n{}", second.answer(), steps.join("\n")));
    }
    None
}

fn is_reason(step: &str) -> bool {
    ["because ", "source "].iter().any(|start| step.starts_with(start)) || step.contains(": not used: ")
}

#[test]
fn random_connections_in_random_clusters_are_traced_as_the_api_promises() {
    let mut config =
        Config { failure_persistence: None, rng_algorithm: RngAlgorithm::XorShift, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CLUSTERS;
    }
    let clusters = config.cases;
    let traced = Cell::new(0_usize);
    let seen = RefCell::new(BTreeMap::new());
    let strategy = (vec(draft(), CONNECTIONS), cluster());
    let outcome = TestRunner::new(config).run(&strategy, |(drafts, cluster)| {
        each(&with_pod_cidrs(cluster), &drafts, |difference, said| {
            traced.set(traced.get() + 1);
            *seen.borrow_mut().entry(said).or_insert(0_usize) += 1;
            difference.map_or(Ok(()), |text| Err(TestCaseError::fail(text)))
        })
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, (_, cluster))) => {
            panic!("{reason}\n{}", manifest(&with_pod_cidrs(cluster)))
        }
        Err(TestError::Abort(reason)) => panic!("no clusters to try: {reason}"),
    }
    let (traced, seen) = (traced.get(), seen.into_inner());
    println!("{traced} connections in {clusters} clusters: {seen:?}");
    if clusters < 100 {
        return;
    }
    assert!(traced >= 10_000, "{traced} connections");
    for said in ["reaches", "refused", "dropped", "left"] {
        assert!(seen.get(said).is_some_and(|count| count * 50 >= traced), "{said}: {seen:?}");
    }
}

/// Traces each of these packets, and passes on how the trace differs, with the first word of the answer.
fn each(
    cluster: &Cluster,
    drafts: &[Draft],
    mut pass: impl FnMut(Option<String>, String) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let (compiler, state) = cluster.load(&Ruleset::default(), 0);
    let (rules, host) = (Rules::default(), Host { local_addresses: cluster.host.clone() });
    let workloads = Workloads::default();
    let view = View { state: &state, compiler: &compiler, rules: &rules, host: &host, workloads: &workloads };
    for packet in drafts.iter().map(|draft| draft.packet(cluster)) {
        let Some(protocol) = Protocol::from_number(packet.protocol) else { continue };
        let to = SocketAddr::new(packet.destination, packet.destination_port);
        let sent = view.packet(Origin::Address(packet.source), to, packet.protocol);
        let said = view.meet(&sent, &Memory::default());
        let said = portolan_rules::explanation::trace::answer(&said);
        let word = said.split([' ', ';']).next().unwrap_or_default().to_owned();
        pass(difference(cluster, &view, &packet, protocol), word)?;
    }
    Ok(())
}

/// Packets from an address of this node are sent by it, and packets from a Pod on it arrive at an interface of Pods.
#[test]
fn the_address_of_a_client_says_where_its_packets_come_from() {
    use portolan_rules::{plane::PodDetector, ruleset::Family, simulate::Input};
    let mut cluster = with_pod_cidrs(Cluster::default());
    cluster.host = [Place::ThisNode(1).address(Family::Ip)].into();
    cluster.config.pods = PodDetector::Interface { name: "cali".into(), prefix: true };
    let (compiler, state) = cluster.load(&Ruleset::default(), 0);
    let (rules, host) = (Rules::default(), Host { local_addresses: cluster.host.clone() });
    let workloads = Workloads::default();
    let view = View { state: &state, compiler: &compiler, rules: &rules, host: &host, workloads: &workloads };
    let to = SocketAddr::new(Place::ClusterIp(1).address(Family::Ip), 80);
    for (place, input) in [
        (Place::ThisNode(1), Input::Local),
        (Place::Pod(1), Input::Interface("cali".into())),
        (Place::RemotePod(1), Input::Interface("eth0".into())),
        (Place::Outside(1), Input::Interface("eth0".into())),
    ] {
        let address = place.address(Family::Ip);
        assert_eq!(view.packet(Origin::Address(address), to, 6).input, input, "{place:?}");
    }
}
