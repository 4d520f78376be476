//! The options for watching a cluster.

use std::{sync::Arc, time::Duration};

use super::timing::Timing;
use crate::{
    api::Label,
    config::settings::{DetectLocal, Settings},
};

/// Labels of slices that belong to a Service with a `ClusterIP`.
const SLICE_LABELS: &str = "!service.kubernetes.io/headless,kubernetes.io/service-name";

/// The longest delay before the first request of an agent.
const SPREAD: Duration = Duration::from_secs(1);

/// The options for watching a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of this node.
    pub node_name: Arc<str>,
    /// The value of the label `service.kubernetes.io/service-proxy-name` of the Services to watch. With `None`,
    /// Services that lack the label are watched.
    pub proxy_name: Option<Box<str>>,
    /// Whether nothing may be written before this node's object has `spec.podCIDRs` (`--detect-local-mode NodeCIDR`).
    pub needs_pod_networks: bool,
    /// The longest delay before the first request, so that nodes that start together do not send requests together.
    pub spread: Duration,
    /// The key of the taint that this Node keeps until its Services are programmed.
    pub startup_taint: Option<Box<str>>,
    /// Timeouts and intervals.
    pub timing: Timing,
}

impl Options {
    /// The label selectors of the Services to watch, and of their slices. A slice without the label of a proxy may
    /// belong to a Service with that label, since not all writers of slices copy the Service's labels.
    pub(super) fn labels(&self) -> (String, String) {
        match &self.proxy_name {
            Some(name) => (format!("{}={name}", Label::ProxyName), SLICE_LABELS.to_owned()),
            None => (format!("!{}", Label::ProxyName), format!("{SLICE_LABELS},!{}", Label::ProxyName)),
        }
    }
}

impl From<&Settings> for Options {
    fn from(settings: &Settings) -> Self {
        Self {
            node_name: Arc::clone(&settings.node_name),
            proxy_name: settings.proxy_name.clone(),
            needs_pod_networks: settings.detect_local == DetectLocal::NodeCidr,
            spread: SPREAD,
            startup_taint: None,
            timing: Timing::default(),
        }
    }
}
