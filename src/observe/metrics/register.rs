//! Registering metrics.

use prometheus::{Registry, core::Collector};

/// The values of the label `ip_family`, in the order of [`portolan_rules::ruleset::Family::ALL`].
pub const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// Registers a metric.
///
/// # Panics
/// If its name or labels are invalid or not unique. They are constants, and tests register all of them.
pub fn registered<M: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<M>) -> M {
    let metric = metric.expect("names and labels are valid");
    registry.register(Box::new(metric.clone())).expect("names are unique");
    metric
}
