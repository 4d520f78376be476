//! The kernel in the loop: random clusters are compiled, applied by netlink and read back. Real packets must then
//! behave as the simulator predicts from the ruleset in the kernel, and as `trace` reports.
//!
//! Each cluster is one node's view of some Services, EndpointSlices and settings. The generators are shared with the
//! reference model, in the tests of `portolan-rules`, which compares the simulator with the Service API. Together these
//! tests cover the choice of endpoints, the masquerade, the refusal and the silence for every source, frontend, policy
//! and state of endpoints.
//!
//! `PORTOLAN_LOOP_PROBES` is the number of probes, `PORTOLAN_LOOP_SEED` the seed of the clusters: cargo sets it for
//! tests, so that each run uses the same clusters.

// Commands are short and built once; `write!` would add an error that cannot happen.
#![allow(clippy::format_push_string)]

#[path = "../../../rules/tests/model/cluster.rs"]
#[allow(dead_code, reason = "shared with the tests of portolan-rules, which use all of it")]
mod cluster;
#[path = "../../../rules/tests/model/manifest.rs"]
#[allow(dead_code, reason = "as above")]
mod manifest;
#[path = "../../../rules/tests/model/packets.rs"]
mod packets;
#[path = "../../../rules/tests/model/places.rs"]
mod places;
mod probe;
mod shrink;
#[path = "../../../rules/tests/model/strategies.rs"]
mod strategies;
mod traced;
mod world;
mod world_itself;

use std::{collections::BTreeMap, thread, time::Instant};

use portolan_integration::Answer;
use portolan_rules::simulate::{Fate, Memory, Outcome, explain};
use proptest::{
    collection::vec,
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use self::{
    cluster::Cluster,
    probe::{PATIENCE, Probe, SILENCE},
    traced::Explained,
    world::{Rules, World},
};

const PROBES: usize = 6000;
/// The number of drafts for each cluster. No host here can send some of them.
const DRAFTS: usize = 120;
/// Of the drafts that lead to no endpoint, which are the most, one in this number is sent.
const FEW: usize = 4;
/// The number of packets without an expected answer that are sent in parallel: each waits for its whole timeout.
const AT_ONCE: usize = 16;

#[test]
fn packets_in_random_clusters_meet_what_the_simulator_says() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let wanted = number("PORTOLAN_LOOP_PROBES").map_or(PROBES, |n| usize::try_from(n).unwrap());
    let seed = number("PORTOLAN_LOOP_SEED").unwrap_or_else(|| {
        let time = std::time::UNIX_EPOCH.elapsed().expect("a clock past 1970");
        u64::from(time.subsec_nanos()) << 16 | u64::from(std::process::id() & 0xffff)
    });
    println!("PORTOLAN_LOOP_SEED={seed}");
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..].copy_from_slice(&seed.rotate_left(32).to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = (strategies::cluster(), vec(packets::draft(), DRAFTS));

    let start = Instant::now();
    let mut world = World::new().unwrap_or_else(|error| panic!("{error}"));
    let (mut kinds_seen, mut clusters, mut probes, mut traced) = (BTreeMap::new(), 0, 0, 0);
    while probes < wanted {
        let (cluster, drafts) = strategy.new_tree(&mut runner).expect("a cluster").current();
        let cluster = probe::lasting(cluster);
        let rules = world.apply(&cluster).unwrap_or_else(|error| failed(&cluster, &error));
        let packets = drafts.iter().map(|draft| draft.packet(&cluster));
        let probes_here: Vec<Probe> = packets.filter_map(|packet| world.probe(&cluster, packet)).collect();
        let (kinds, traced_here) = check(&world, &cluster, &rules, &probes_here)
            .unwrap_or_else(|failure| report(&mut world, &cluster, &failure));
        clusters += 1;
        traced += traced_here;
        probes += kinds.len();
        for kind in kinds {
            *kinds_seen.entry(kind).or_insert(0_usize) += 1;
        }
    }
    println!(
        "{probes} probes, {traced} of them traced, in {clusters} clusters, {:?}: {kinds_seen:?}",
        start.elapsed()
    );
    assert!(traced * 3 >= probes, "{traced} of {probes} were traced");
    // Each kind of outcome must occur often enough.
    for kind in ["sent", "masqueraded", "rejected", "dropped", "untouched"] {
        let count = kinds_seen.get(kind).copied().unwrap_or_default();
        assert!(count * 100 >= probes, "{kind}: only {count} of {probes}");
    }
}

/// A wrong outcome of a packet.
pub struct Failure {
    probe: Probe,
    text: String,
}

impl Failure {
    fn new(probe: &Probe, outcome: &Outcome, answer: &Answer) -> Box<Self> {
        let text = format!("{answer}, but the rules say\n{}", explain(outcome));
        Box::new(Self { probe: probe.clone(), text })
    }
}

/// Sends the packets one after the other, because session affinity may make one decide the fate of the next. Returns
/// the kind of each outcome, and how many packets were traced.
fn check(
    world: &World,
    cluster: &Cluster,
    rules: &Rules,
    probes: &[Probe],
) -> Result<(Vec<&'static str>, usize), Box<Failure>> {
    let mut memory = Memory::new();
    let (explained, mut traced) = (Explained::new(cluster, rules.clone()), 0);
    let mut trace = |probe: &Probe, memory: &Memory, answer: &Answer| {
        let result = explained.contradiction(probe, memory, answer);
        traced += usize::from(result.is_some());
        result.unwrap_or(Ok(())).map_err(|text| Box::new(Failure { probe: probe.clone(), text }))
    };
    let (mut kinds, mut silent, mut elsewhere) = (Vec::new(), Vec::new(), 0);
    for probe in probes {
        let outcome = probe.simulate(cluster, rules, &memory);
        if matches!(outcome.only_fate(), Some(Fate::Rejected(_) | Fate::Untouched { .. })) {
            elsewhere += 1;
            if elsewhere % FEW != 0 {
                continue;
            }
        }
        if outcome.only_fate() == Some(Fate::Dropped) {
            silent.push((probe, outcome));
            continue;
        }
        let answer = probe::send(world, cluster, probe, &outcome, PATIENCE);
        let Some(case) = probe.case(cluster, &outcome, &answer) else {
            return Err(Failure::new(probe, &outcome, &answer));
        };
        trace(probe, &memory, &answer)?;
        kinds.push(probe::kind(case));
        memory.remember(case);
    }
    for silent in silent.chunks(AT_ONCE) {
        let answers = thread::scope(|scope| {
            let sent: Vec<_> = silent.iter().map(|(probe, _)| scope.spawn(|| probe.send(SILENCE))).collect();
            sent.into_iter().map(|sent| sent.join().expect("a probe")).collect::<Vec<_>>()
        });
        for ((probe, outcome), answer) in silent.iter().zip(answers) {
            if probe.case(cluster, outcome, &answer).is_none() {
                return Err(Failure::new(probe, outcome, &answer));
            }
            trace(probe, &memory, &answer)?;
            kinds.push("dropped");
        }
    }
    Ok((kinds, traced))
}

/// Shows the failure, then looks for a smaller cluster with the same failure.
fn report(world: &mut World, cluster: &Cluster, failure: &Failure) -> ! {
    let Failure { probe, text } = failure;
    let packet = probe.packet();
    println!("{}\n{packet:?}\n{text}\nlooking for a smaller cluster", manifest::manifest(cluster));
    match shrink::shrink(world, cluster, probe) {
        Some((smallest, text)) => failed(&smallest, &format!("{packet:?}\n{text}")),
        None => failed(cluster, &format!("{packet:?}, not with this packet alone\n{text}")),
    }
}

fn failed(cluster: &Cluster, text: &str) -> ! {
    panic!("{}\n{text}", manifest::manifest(cluster))
}
