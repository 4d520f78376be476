//! Everything from which state comes: the API server, manifests and the host. Each reports [`Event`]s to an [`Inbox`].

mod backlog;
pub mod cluster;
pub mod host;
pub mod manifest;

use std::sync::Arc;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use portolan_rules::model::{EndpointSlice, Node, ObjectName, Service};

pub use self::backlog::{Backlog, MOST_TRIGGERS};
use manifest::Completeness;

/// What a source reports.
#[derive(Debug)]
pub enum Event {
    /// Manifests changed.
    Manifests {
        /// Differences, the oldest first.
        changes: Vec<Change>,
        /// How much is known now, if that changed.
        completeness: Option<Completeness>,
    },
    /// The cluster changed.
    Cluster(Update),
    /// An address of this host came or went.
    Addresses,
    /// The source cannot go on, and has logged why.
    Failed,
}

/// Takes what sources report, from any thread; clones lead to the same place.
pub trait Inbox: Clone + Send + 'static {
    /// Takes an event; never waits.
    ///
    /// # Errors
    /// Nothing takes events up any more.
    fn report(&self, event: Event) -> Result<(), Closed>;
}

/// Nothing takes events up any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reconciler has ended")]
pub struct Closed;

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

/// What the API server reported at once.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// Differences, the oldest first.
    pub changes: Vec<Change>,
    /// When the changes of endpoints among them began, as the endpoint controller says (annotation
    /// `endpoints.kubernetes.io/last-change-trigger-time`); for `network_programming_duration_seconds`.
    pub triggers: Vec<Timestamp>,
}
