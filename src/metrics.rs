//! Metrics in the Prometheus text format: kube-proxy's, which dashboards know, and those of Portolan.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::agent::Reconcile;

/// All metrics; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    registry: Registry,
}

impl Metrics {
    /// Counts one reconcile.
    pub fn reconciled(&self, _reconcile: &Reconcile) {}

    /// What `GET /metrics` answers.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.0.registry);
        text
    }
}
