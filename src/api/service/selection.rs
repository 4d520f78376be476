//! How a Service selects Pods.

use std::sync::Arc;

/// How a Service selects Pods and their ports, to derive its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// `selector`, not empty: a Pod must have all of these labels.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// `targetPort` of each port, in the order of `spec.ports`.
    pub targets: Vec<TargetPort>,
    /// `publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// Whether `type` is `LoadBalancer`.
    pub is_load_balancer: bool,
    /// Whether `status.loadBalancer.ingress` has an entry, even if the entry has only a name.
    pub has_load_balancer: bool,
}

/// A valid `targetPort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// The same number on every Pod.
    Number(u16),
    /// The container port with this name, whose number may be different on every Pod.
    Name(Arc<str>),
}
