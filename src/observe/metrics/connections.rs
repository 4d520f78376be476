//! New connections of each Service and endpoint (`--endpoint-counters`).
//!
//! The metrics are totals, although the kernel's counters come and go: an element of a map counts from zero when an
//! endpoint is placed in a slot, and its count is lost when the endpoint leaves.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use portolan_rules::frontends::FrontendKey;
use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::register::{Register, metrics};
use crate::{
    kernel::nftables::{Count, Counts},
    observe::counts::Total,
};

/// Most series of endpoints.
const ENDPOINTS: usize = 2_000;
/// Most series of Services' ports.
const SERVICES: usize = 10_000;
/// Most endpoints of which totals are kept: more than the most elements, since totals of removed endpoints stay for a
/// while.
const TOTALS: usize = 200_000;
/// How long a series stays after its object is gone: longer than the interval between two scrapes.
const KEPT: Duration = Duration::from_mins(10);

metrics! {
    #[derive(Debug)]
    Table: "portolan_" {
        services: IntCounterVec("namespace", "service", "port") = "service_connections_total",
            "Number of new connections to a port of a Service, however addressed.";
        services_dropped: IntGauge() = "service_series_dropped",
            "Number of Service ports that get no series of connections because there are too many.";
        endpoints: IntCounterVec("namespace", "service", "port", "endpoint") = "endpoint_connections_total",
            "Number of new connections to a port of a Service that were sent to this endpoint.";
        endpoints_dropped: IntGauge() = "endpoint_series_dropped",
            "Number of endpoints that get no series of connections because there are too many.";
        refused: IntCounterVec("namespace", "service", "port") = "service_refused_connections_total",
            "Number of attempts to connect to a port of a Service that were refused or dropped because it had no endpoints.";
        refused_dropped: IntGauge() = "service_refused_series_dropped",
            "Number of Service ports that get no series of refused connections because there are too many.";
        readable: IntGauge() = "endpoint_counters_readable",
            "1 if connections are counted; 0 if the kernel's counters cannot be read, or there are too many of them.";
    }
}

/// The endpoint of an element and its count.
type Seen = (Option<SocketAddr>, u64);

/// Totals of connections, and the last reading.
#[derive(Debug)]
pub struct Connections {
    services: Series<Arc<str>>,
    endpoints: Series<(Arc<str>, SocketAddr)>,
    refused: Series<Arc<str>>,
    readable: IntGauge,
    /// The endpoint and the count of each element at the last reading. `None` before the first reading, whose counts
    /// belong to an earlier run.
    last: Option<HashMap<(FrontendKey, u32), Seen>>,
}

impl Connections {
    /// Registers the metrics.
    pub(super) fn new(register: &Register) -> Self {
        Self::with_limits(register, SERVICES, ENDPOINTS)
    }

    fn with_limits(register: &Register, most_services: usize, most_endpoints: usize) -> Self {
        let table = Table::new(register);
        Self {
            services: Series::new(table.services, table.services_dropped, most_services),
            endpoints: Series::new(table.endpoints, table.endpoints_dropped, most_endpoints),
            refused: Series::new(table.refused, table.refused_dropped, most_services),
            readable: table.readable,
            last: None,
        }
    }

    /// Adds the connections counted since the last reading.
    pub fn take(&mut self, counts: &Counts, now: Instant) {
        let (counts, complete) = match counts {
            Counts::All(counts) => (counts, true),
            Counts::Some(counts) => (counts, false),
            Counts::TooMany => return self.fail(),
        };
        if self.last.is_none() && !complete {
            return;
        }
        self.readable.set(1);
        let first = self.last.is_none();
        let last = self.last.get_or_insert_default();
        let (mut services, mut endpoints, mut refused) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut present = HashMap::with_capacity(counts.len());
        for Count { frontend, slot, endpoint, owner, connections } in counts {
            let before = match last.get(&(*frontend, *slot)) {
                _ if first => *connections,
                Some((there, before)) if there == endpoint && before <= connections => *before,
                _ => 0,
            };
            // An interrupted reading may contain an element twice; the later count is the newer.
            let found = (*endpoint, *connections);
            last.insert((*frontend, *slot), found);
            present.insert((*frontend, *slot), found);
            let more = connections - before;
            let Some(endpoint) = endpoint else {
                *refused.entry(owner.clone()).or_insert(0) += more;
                continue;
            };
            *services.entry(owner.clone()).or_insert(0) += more;
            *endpoints.entry((owner.clone(), *endpoint)).or_insert(0) += more;
        }
        if complete {
            // Elements that are gone count from zero if they return.
            *last = present;
        }
        let of_port = |owner: &Arc<str>| labels(owner).map(str::to_owned).into();
        self.services.add(services, complete, now, of_port);
        self.refused.add(refused, complete, now, of_port);
        self.endpoints.add(endpoints, complete, now, |(owner, endpoint)| {
            let [namespace, service, port] = labels(owner).map(str::to_owned);
            vec![namespace, service, port, endpoint.to_string()]
        });
    }

    /// The totals of all endpoints, and of refused connections.
    pub fn totals(&self) -> Vec<Total> {
        let total = |owner: &Arc<str>, endpoint: Option<SocketAddr>, known: &Known| Total {
            owner: owner.to_string(),
            endpoint,
            connections: known.total,
        };
        let endpoints = self.endpoints.known.iter();
        let endpoints = endpoints.map(|((owner, at), known)| total(owner, Some(*at), known));
        let refused = self.refused.known.iter().map(|(owner, known)| total(owner, None, known));
        endpoints.chain(refused).filter(|total| total.connections > 0).collect()
    }

    /// Notes that the counters could not be read.
    pub fn fail(&mut self) {
        self.readable.set(0);
    }
}

/// Namespace, Service and port from a comment. The only port of a Service need not have a name.
fn labels(comment: &str) -> [&str; 3] {
    let (namespace, rest) = comment.split_once('/').unwrap_or(("", comment));
    let (service, port) = rest.split_once(':').unwrap_or((rest, ""));
    [namespace, service, port]
}

/// Totals of one kind. Each has a series, up to a limit: first come, first served.
#[derive(Debug)]
struct Series<K> {
    counters: IntCounterVec,
    dropped: IntGauge,
    limit: usize,
    /// Number of series.
    count: usize,
    known: HashMap<K, Known>,
}

#[derive(Debug)]
struct Known {
    total: u64,
    /// The labels and the counter, if there is a series.
    series: Option<(Vec<String>, IntCounter)>,
    seen: Instant,
}

impl<K: Hash + Ord> Series<K> {
    fn new(counters: IntCounterVec, dropped: IntGauge, limit: usize) -> Self {
        Self { counters, dropped, limit, count: 0, known: HashMap::new() }
    }

    /// Adds to the totals. If `more` holds `all` objects, forgets totals whose objects have been gone for [`KEPT`].
    fn add(&mut self, more: BTreeMap<K, u64>, all: bool, now: Instant, labels: impl Fn(&K) -> Vec<String>) {
        if all {
            let Self { counters, count, known, .. } = self;
            known.retain(|key, known| {
                let stays = more.contains_key(key) || now.duration_since(known.seen) < KEPT;
                if let Some((labels, _)) = known.series.as_ref().filter(|_| !stays) {
                    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                    // The series exists: it was created with these labels.
                    let _ = counters.remove_label_values(&labels);
                    *count -= 1;
                }
                stays
            });
        }
        let mut dropped = 0;
        for (key, more) in more {
            if self.known.len() >= TOTALS && !self.known.contains_key(&key) {
                dropped += 1;
                continue;
            }
            let has_room = self.count < self.limit;
            let known = self.known.entry(key);
            let labels = has_room.then(|| labels(known.key()));
            let known = known.or_insert(Known { total: 0, series: None, seen: now });
            known.total += more;
            known.seen = now;
            match (&known.series, labels) {
                (Some((_, counter)), _) => counter.inc_by(more),
                (None, Some(labels)) => {
                    let counter = self.counters.with_label_values(&labels);
                    counter.inc_by(known.total);
                    known.series = Some((labels, counter));
                    self.count += 1;
                }
                (None, None) => dropped += 1,
            }
        }
        if all {
            self.dropped.set(dropped);
        }
    }
}

#[cfg(test)]
mod tests;
