//! The events that sources report, and their receiver.

use std::sync::Arc;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use portolan_rules::model::{EndpointSlice, Node, ObjectName, Service};

/// An event that a source reports.
#[derive(Debug)]
pub enum SourceEvent {
    /// The cluster, or manifests, changed.
    Update(Update),
    /// An address of this host was added or removed.
    Addresses,
    /// The source cannot continue, and has logged the reason.
    Failed,
}

/// Receives the events of sources, from any thread. Clones lead to the same receiver.
pub trait Inbox: Clone + Send + 'static {
    /// Takes an event; never blocks.
    ///
    /// # Errors
    /// The receiver is gone.
    fn report(&self, event: SourceEvent) -> Result<(), Closed>;
}

/// The receiver of events is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reconciler has ended")]
pub struct Closed;

/// A difference between two states of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A Service is new or different, or gone.
    Service(ObjectName, Option<Arc<Service>>),
    /// A slice is new or different, or gone. The slice may be derived from Pods.
    Slice(ObjectName, Option<Arc<EndpointSlice>>),
    /// All Services. Any other Service is gone.
    Services(Vec<(ObjectName, Arc<Service>)>),
    /// All slices. Any other slice is gone.
    Slices(Vec<(ObjectName, Arc<EndpointSlice>)>),
    /// The Node object of this node is new or different, or gone.
    Node(Option<Arc<Node>>),
    /// All ranges of all `ServiceCIDR` objects, in order.
    ServiceCidrs(Vec<IpNetwork>),
}

/// Changes that the API server reported together, or that were found in manifests.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// Differences, the oldest first.
    pub changes: Vec<Change>,
    /// When the endpoint changes in this update began, according to the endpoint controller (annotation
    /// `endpoints.kubernetes.io/last-change-trigger-time`); for `network_programming_duration_seconds`.
    pub triggers: Vec<Timestamp>,
    /// How complete the manifests are now, if that changed.
    pub completeness: Option<Completeness>,
}

/// How complete the manifests are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Completeness {
    /// No object that matters has been read, and that is not allowed
    /// ([`manifest::Source::allow_empty`](super::manifest::Source::allow_empty)).
    #[default]
    Nothing,
    /// There has been no good version of some path or file since it was first read.
    Partial,
    /// There is a good version of every path and file.
    Whole,
}
