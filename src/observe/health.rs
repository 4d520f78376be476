//! Whether the kernel is in sync with the input, and whether the input is fresh.

mod report;
mod services;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::{api::Kind, config::settings::SyncSettings, observe::clock::Moment};

pub use self::{
    report::{FRESH, Report},
    services::{HealthChecks, ServiceHealth},
};

/// Facts about the health of the proxy, shared between the reconciler, the sources and the servers.
#[derive(Clone, Debug)]
pub struct Health {
    /// A queued change older than this makes the proxy unhealthy.
    patience: Duration,
    facts: Arc<Mutex<Facts>>,
}

#[derive(Clone, Debug, Default)]
struct Facts {
    /// Since when the oldest change that is not in the kernel has waited.
    waiting_since: Option<Moment>,
    /// Since when the oldest change that the reconciler has not taken up has waited.
    arrived: Option<Moment>,
    /// When the kernel was last made equal to the input.
    synced: Option<Timestamp>,
    node_eligible: bool,
    /// Whether another process keeps changing the tables, so that the repair has to wait.
    contested: bool,
    /// Number of Services that the kernel refuses.
    quarantined: usize,
    /// The kinds of which news is expected, and when the last news came.
    heard: BTreeMap<Kind, Option<Moment>>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new(SyncSettings::default().period)
    }
}

impl Health {
    /// The health of a proxy that is unhealthy once a change has waited for twice the sync period, as with kube-proxy.
    pub fn new(sync_period: Duration) -> Self {
        let facts = Facts { node_eligible: true, ..Facts::default() };
        Self { patience: sync_period.saturating_mul(2), facts: Arc::new(Mutex::new(facts)) }
    }

    /// Expects news of these kinds from now on: without any news for [`FRESH`], their objects are stale and the proxy
    /// is not ready. For sources that can fall silent, such as watches.
    pub fn expect_news_of(&self, kinds: impl IntoIterator<Item = Kind>) {
        let mut facts = self.facts();
        for kind in kinds {
            facts.heard.entry(kind).or_default();
        }
    }

    /// Notes that the API server sent something about objects of this kind, even if only a bookmark: the known objects
    /// are fresh.
    pub fn heard(&self, kind: Kind) {
        self.facts().heard.insert(kind, Some(Moment::now()));
    }

    /// Notes that a change waits to reach the kernel.
    pub fn queued(&self) {
        self.facts().waiting_since.get_or_insert_with(Moment::now);
    }

    /// Notes that a change waits for the reconciler.
    pub fn arrived(&self) {
        self.facts().arrived.get_or_insert_with(Moment::now);
    }

    /// Notes that the reconciler has taken up all changes: they now wait to reach the kernel.
    pub fn taken_up(&self) {
        let mut facts = self.facts();
        facts.waiting_since = [facts.waiting_since, facts.arrived.take()].into_iter().flatten().min();
    }

    /// Notes that the kernel may differ from the input: counts as a waiting change.
    pub fn out_of_sync(&self) {
        self.queued();
    }

    /// Notes a successful reconcile: all queued changes are in the kernel.
    pub fn synced(&self) {
        let mut facts = self.facts();
        facts.waiting_since = None;
        facts.synced = Some(Timestamp::now());
    }

    /// Notes whether another process keeps changing the tables, so that a repair has to wait.
    pub fn set_contested(&self, contested: bool) {
        self.facts().contested = contested;
    }

    /// Notes how many Services are left out because the kernel refuses them.
    pub fn set_quarantined(&self, services: usize) {
        self.facts().quarantined = services;
    }

    /// Notes whether load balancers may send traffic to this node: its object exists, is not being deleted, and
    /// has no taint `ToBeDeletedByClusterAutoscaler` (KEP-3836). Until the first call, they may.
    pub fn set_node_eligible(&self, eligible: bool) {
        self.facts().node_eligible = eligible;
    }

    /// The current health.
    pub fn report(&self) -> Report {
        self.report_at(Moment::now())
    }

    fn report_at(&self, now: Moment) -> Report {
        let facts = self.facts().clone();
        let waiting = [facts.waiting_since, facts.arrived].into_iter().flatten().min();
        let waiting = waiting.map(|since| now.saturating_duration_since(since));
        Report {
            now: Timestamp::now(),
            synced: facts.synced,
            waiting,
            healthy: waiting.is_none_or(|waiting| waiting < self.patience),
            node_eligible: facts.node_eligible,
            contested: facts.contested,
            quarantined: facts.quarantined,
            ages: facts
                .heard
                .into_iter()
                .map(|(kind, at)| (kind, at.map(|at| now.saturating_duration_since(at))))
                .collect(),
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        // A thread that panicked left valid values behind.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(30);

    /// The report this many seconds after the oldest waiting change; after now if no change waits.
    fn after(health: &Health, seconds: u64) -> Report {
        let since = health.facts().waiting_since.unwrap_or_else(Moment::now);
        health.report_at(since + Duration::from_secs(seconds))
    }

    #[test]
    fn nothing_queued_is_healthy_even_before_the_first_sync() {
        let health = Health::new(PERIOD);
        assert!(after(&health, 3600).healthy);
        assert!(!after(&health, 0).is_ready());
    }

    #[test]
    fn the_oldest_change_counts_until_a_sync() {
        let health = Health::new(PERIOD);
        health.queued();
        let report = |seconds| after(&health, seconds).healthy;
        assert!(report(59));
        assert!(!report(61));
        let since = health.facts().waiting_since;
        health.queued();
        assert_eq!(health.facts().waiting_since, since, "a second change does not hide the first");
        health.synced();
        assert!(report(3600));
    }

    #[test]
    fn a_sync_that_fails_with_nothing_queued_counts_as_a_change() {
        let health = Health::new(PERIOD);
        health.synced();
        health.out_of_sync();
        assert!(after(&health, 59).healthy && !after(&health, 61).healthy);
    }

    #[test]
    fn readiness_takes_a_sync_and_fresh_data() {
        let health = Health::new(PERIOD);
        health.expect_news_of([Kind::Service, Kind::EndpointSlice]);
        health.synced();
        assert!(!after(&health, 0).is_ready(), "nothing was heard yet");
        health.heard(Kind::Service);
        health.heard(Kind::EndpointSlice);
        assert!(after(&health, 0).is_ready());
        assert!(after(&health, FRESH.as_secs() - 60).is_ready());
        let stale = after(&health, FRESH.as_secs() + 1);
        assert!(!stale.is_ready());
        assert!(stale.healthy, "stale data does not take the node out of load balancers");
        health.heard(Kind::Service);
        assert_eq!(after(&health, 0).unready_reasons(), Vec::<String>::new());
        health.expect_news_of([Kind::ServiceCidr]);
        assert!(after(&health, 0).is_ready(), "what is programmed does not wait for these");
    }

    #[test]
    fn a_proxy_whose_tables_others_keep_changing_is_not_ready() {
        let health = Health::new(PERIOD);
        health.synced();
        health.set_contested(true);
        let report = after(&health, 0);
        assert!(!report.is_ready() && report.healthy);
        health.set_contested(false);
        assert!(after(&health, 0).is_ready());
    }

    #[test]
    fn manifests_do_not_grow_stale() {
        let health = Health::new(PERIOD);
        health.synced();
        assert!(after(&health, 1_000_000).is_ready());
    }

    #[test]
    fn an_ineligible_node_is_healthy_and_ready() {
        let health = Health::new(PERIOD);
        health.synced();
        health.set_node_eligible(false);
        let report = after(&health, 0);
        assert!(report.healthy && report.is_ready() && !report.node_eligible);
        assert!(!report.admits_traffic());
    }
}
