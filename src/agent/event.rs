//! The events that wake the reconciler.

use crate::{
    kernel::nftables::{Generation, Scope},
    observe::query::Query,
    source,
};

/// An event for the reconciler.
#[derive(Debug)]
pub enum Event {
    /// A source has news.
    Source(source::Event),
    /// A search for stale flows ended.
    Flows,
    /// Another process changed our tables.
    Foreign(ForeignChange),
    /// A request for what the agent holds.
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

/// A change of our tables by another process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignChange {
    /// The last commit; `None` if notifications were lost, so that there may have been others.
    pub by: Option<Generation>,
    /// The sets that are known to be touched.
    pub sets: Scope,
}

impl ForeignChange {
    /// Adds a later change.
    pub(super) fn append(&mut self, later: Self) {
        self.by = self.by.take().and(later.by);
        self.sets.extend(later.sets);
    }
}
