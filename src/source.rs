//! What a source of Services and endpoints tells the agent, whether manifests or the API server.

mod backlog;
pub mod cluster;
pub mod host;
pub mod manifest;

use std::sync::Arc;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use portolan_rules::model::{EndpointSlice, Node, ObjectName, Service};

pub use self::backlog::{Backlog, MOST_TRIGGERS};

/// A difference between two states of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A Service is new or different, or gone.
    Service(ObjectName, Option<Arc<Service>>),
    /// A slice is new or different, or gone; slices derived from Pods are among them.
    Slice(ObjectName, Option<Arc<EndpointSlice>>),
    /// These are all Services there are: what is not among them is gone.
    Services(Vec<(ObjectName, Arc<Service>)>),
    /// These are all slices there are: what is not among them is gone.
    Slices(Vec<(ObjectName, Arc<EndpointSlice>)>),
    /// The Node object of this node is new or different, or gone.
    Node(Option<Arc<Node>>),
    /// All ranges of all `ServiceCIDR` objects, in order.
    ServiceCidrs(Vec<IpNetwork>),
}

/// What the API server told at once.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// Differences, the oldest first.
    pub changes: Vec<Change>,
    /// When the changes of endpoints among them began, as the endpoint controller says (annotation
    /// `endpoints.kubernetes.io/last-change-trigger-time`); for `network_programming_duration_seconds`.
    pub triggers: Vec<Timestamp>,
}
