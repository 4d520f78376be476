//! The events that wake the reconciler.

use super::ForeignChange;
use crate::{observe::query::Query, source};

/// An event for the reconciler.
#[derive(Debug)]
pub enum Event {
    /// A source has news.
    Source(source::Event),
    /// A search for stale flows ended.
    Flows,
    /// Another process changed our tables.
    Foreign(ForeignChange),
    /// Somebody asks what the agent holds.
    Query(Query),
    /// Stop; the rules stay.
    Stop(Ending),
}

/// How the agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As asked.
    Asked,
    /// It cannot go on as it is, which has been logged: its supervisor starts it anew.
    Failed,
}
