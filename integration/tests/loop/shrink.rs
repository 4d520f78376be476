//! Looks for the smallest cluster in which one packet still meets what it should not.

use std::time::{Duration, Instant};

use portolan_rules::simulate::{Memory, explain};

use crate::{
    cluster::Cluster,
    probe::{self, Probe},
    world::World,
};

/// Where an endpoint is drawn, a failure may take some packets to show.
const ATTEMPTS: usize = 20;
/// How long an answer may take here. The failure is known: a cluster that only looks as if it had it costs a
/// larger report, and a minute for each attempt at a packet that meets silence costs hours.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to look at the most.
const LIMIT: Duration = Duration::from_mins(2);

/// The smaller cluster and what the packet meets there; none if the failure is not seen again.
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

/// The cluster without one of its parts, large parts first.
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

/// What the packet meets in this cluster that it should not, if anything. Without memory of clients: each
/// attempt is the first packet of its sender.
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
