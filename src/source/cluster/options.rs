//! What must be known to watch a cluster.

use std::sync::Arc;

use super::timing::Timing;
use crate::config::settings::{DetectLocal, Settings};

/// What must be known to watch a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of this node.
    pub node_name: Arc<str>,
    /// The value of the label `service.kubernetes.io/service-proxy-name` of the Services to watch; without it, those
    /// that lack the label.
    pub proxy_name: Option<Box<str>>,
    /// Whether nothing may be written before this node's object has `spec.podCIDRs` (`--detect-local-mode NodeCIDR`).
    pub needs_pod_networks: bool,
    /// Timeouts and intervals.
    pub timing: Timing,
}

impl From<&Settings> for Options {
    fn from(settings: &Settings) -> Self {
        Self {
            node_name: Arc::clone(&settings.node_name),
            proxy_name: settings.proxy_name.clone(),
            needs_pod_networks: settings.detect_local == DetectLocal::NodeCidr,
            timing: Timing::default(),
        }
    }
}
