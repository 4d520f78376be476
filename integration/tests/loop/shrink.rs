//! Looks for the smallest cluster in which one packet still has a wrong outcome.

use std::time::{Duration, Instant};

use portolan_rules::simulate::{Memory, explain};

use crate::{
    cluster::Cluster,
    probe::{self, Probe},
    world::World,
};

/// If an endpoint is chosen at random, it may take several packets for a failure to appear.
const ATTEMPTS: usize = 20;
/// How long an answer may take here. The failure is known, so a cluster that only seems to have it just gives a worse
/// report; a minute for each attempt without an answer would take hours.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest time for shrinking.
const LIMIT: Duration = Duration::from_mins(2);

/// Returns the smaller cluster and the packet's outcome there, or `None` if the failure does not appear again.
pub fn shrink(world: &mut World, cluster: &Cluster, probe: &Probe) -> Option<(Cluster, String)> {
    let mut text = failure(world, cluster, probe)?;
    let (mut smallest, start) = (cluster.clone(), Instant::now());
    'smaller: loop {
        for candidate in smaller(&smallest) {
            if start.elapsed() > LIMIT {
                break;
            }
            if let Some(still) = failure(world, &candidate, probe) {
                (smallest, text) = (candidate, still);
                continue 'smaller;
            }
        }
        return Some((smallest, text));
    }
}

/// Returns copies of the cluster without one of its parts, large parts first.
fn smaller(cluster: &Cluster) -> Vec<Cluster> {
    let mut candidates = Vec::new();
    let mut without = |change: &dyn Fn(&mut Cluster)| {
        let mut candidate = cluster.clone();
        change(&mut candidate);
        candidates.push(candidate);
    };
    for i in 0..cluster.services.len() {
        without(&|cluster| _ = cluster.services.remove(i));
    }
    for i in 0..cluster.slices.len() {
        without(&|cluster| _ = cluster.slices.remove(i));
    }
    for (i, service) in cluster.services.iter().enumerate() {
        for j in 0..service.ports.len() {
            without(&|cluster| _ = cluster.services[i].ports.remove(j));
        }
        for j in 0..service.cluster_ips.len() {
            without(&|cluster| _ = cluster.services[i].cluster_ips.remove(j));
        }
        for j in 0..service.external_ips.len() {
            without(&|cluster| _ = cluster.services[i].external_ips.remove(j));
        }
        for j in 0..service.load_balancer_ips.len() {
            without(&|cluster| _ = cluster.services[i].load_balancer_ips.remove(j));
        }
        for j in 0..service.source_ranges.len() {
            without(&|cluster| _ = cluster.services[i].source_ranges.remove(j));
        }
        if service.affinity_timeout.is_some() {
            without(&|cluster| cluster.services[i].affinity_timeout = None);
        }
    }
    for (i, slice) in cluster.slices.iter().enumerate() {
        for j in 0..slice.endpoints.len() {
            without(&|cluster| _ = cluster.slices[i].endpoints.remove(j));
        }
        for j in 0..slice.ports.len() {
            without(&|cluster| _ = cluster.slices[i].ports.remove(j));
        }
    }
    candidates
}

/// Returns the packet's wrong outcome in this cluster, if any. No clients are remembered: each attempt is the first
/// packet of its sender.
fn failure(world: &mut World, cluster: &Cluster, probe: &Probe) -> Option<String> {
    for _ in 0..ATTEMPTS {
        let rules = match world.apply(cluster) {
            Ok(rules) => rules,
            Err(error) => return Some(error),
        };
        let probe = world.again(probe);
        let outcome = probe.simulate(cluster, &rules, &Memory::new());
        let answer = probe::send(world, cluster, &probe, &outcome, PATIENCE);
        if probe.case(cluster, &outcome, &answer).is_none() {
            return Some(format!("{answer}, but the rules say\n{}", explain(&outcome)));
        }
    }
    None
}
