//! Random clusters and packets: the reference and the rules agree.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use portolan_rules::simulate::{Fate, Packet, explain};
use proptest::{
    collection::vec,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRunner},
};

use crate::{
    cluster::{Answer, Cluster, answer_of, lines},
    manifest::manifest,
    packets::draft,
    reference::{Clients, answer},
    strategies::cluster,
};

/// Clusters in a run, unless `PROPTEST_CASES` says otherwise, and the average number of packets for each.
const CLUSTERS: u32 = 1150;
const PACKETS: usize = 100;

#[test]
fn random_packets_in_random_clusters_meet_what_the_api_promises() {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CLUSTERS;
    }
    config.failure_persistence = None;
    config.max_shrink_iters = 5000;
    // The default algorithm would take a third of the time.
    config.rng_algorithm = RngAlgorithm::XorShift;
    let clusters = config.cases;
    let cases = Cell::new(0_usize);
    let seen = RefCell::new(BTreeMap::new());

    // The packets come first, so that shrinking leaves one of them before it looks at the cluster.
    let strategy = (vec(draft(), 1..2 * PACKETS), cluster());
    let outcome = TestRunner::new(config).run(&strategy, |(drafts, cluster)| {
        let rules = cluster.compile();
        for packet in drafts.iter().map(|draft| draft.packet(&cluster)) {
            cases.set(cases.get() + 1);
            let expected = answer(&cluster, &Clients::default(), &packet);
            if !expected.is_kept_by(&answer_of(&cluster.simulate(&rules, &packet))) {
                return Err(TestCaseError::fail("they differ"));
            }
            *seen.borrow_mut().entry(kind(&expected.fates)).or_insert(0_usize) += 1;
        }
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(_, (drafts, cluster))) => {
            let packets = drafts.iter().map(|draft| draft.packet(&cluster));
            let reports: Vec<String> = packets.filter_map(|packet| difference(&cluster, &packet)).collect();
            panic!("{}\n{}", manifest(&cluster), reports.concat());
        }
        Err(TestError::Abort(reason)) => panic!("no clusters to try: {reason}"),
    }

    let (cases, seen) = (cases.get(), seen.into_inner());
    println!("{cases} packets in {clusters} clusters: {seen:?}");
    if clusters < 100 {
        return;
    }
    assert!(cases * 10 >= clusters as usize * PACKETS * 9, "{cases} packets in {clusters} clusters");
    // Agreement means little if nothing ever happens.
    for kind in ["sent", "masqueraded", "some masqueraded", "rejected", "dropped", "untouched"] {
        let share = seen.get(kind).copied().unwrap_or_default();
        let least = if kind == "some masqueraded" { 1000 } else { 50 };
        assert!(share * least >= cases, "{kind}: only {share} of {cases}");
    }
}

/// The kind of an answer, in a word.
fn kind(answer: &Answer) -> &'static str {
    let masqueraded = |fate: &&Fate| matches!(fate, Fate::Sent { masqueraded: true, .. });
    match answer.keys().next() {
        Some(Fate::Sent { .. }) => match answer.keys().filter(masqueraded).count() {
            0 => "sent",
            n if n == answer.len() => "masqueraded",
            _ => "some masqueraded",
        },
        Some(Fate::Rejected(_)) => "rejected",
        Some(Fate::Dropped) => "dropped",
        Some(Fate::Untouched { .. }) => "untouched",
        Some(Fate::Unknown(_)) | None => "unknown",
    }
}

/// How the answers to a packet differ, if they do.
fn difference(cluster: &Cluster, packet: &Packet) -> Option<String> {
    let expected = answer(cluster, &Clients::default(), packet);
    let outcome = cluster.simulate(&cluster.compile(), packet);
    let actual = answer_of(&outcome);
    (!expected.is_kept_by(&actual)).then(|| {
        format!(
            "{packet:?}\nthe API promises:\n{}the rules give:\n{}as follows:\n{}\n",
            lines(&expected.fates),
            lines(&actual),
            explain(&outcome)
        )
    })
}
