//! The events that wake the reconciler.

use std::collections::{BTreeMap, BTreeSet};

use portolan_rules::{
    incremental::plan::PART,
    ruleset::{Concat, Family, Name},
};

use crate::{
    kernel::nftables::{Generation, Scope},
    observe::query::Query,
    source::SourceEvent,
};

/// An event for the reconciler.
#[derive(Debug)]
pub enum Event {
    /// A source has news.
    Source(SourceEvent),
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
    /// As requested.
    Asked,
    /// The agent cannot continue, and has logged why: its supervisor restarts it.
    Failed,
}

/// A change of our tables by another process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignChange {
    /// The last commit; `None` if notifications were lost, so that there may have been others.
    pub by: Option<Generation>,
    /// The sets that are known to have been touched.
    pub sets: Scope,
    /// The elements of these sets that were touched; `None` unless it is known that nothing else was.
    pub elements: Option<Touched>,
}

/// Elements that were touched: some keys of some sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched(BTreeMap<(Family, Name), BTreeSet<Concat>>);

impl Touched {
    /// Adds keys of a set. Returns false if there are too many keys in total to look at them one by one.
    pub(super) fn add(&mut self, set: (Family, Name), keys: impl IntoIterator<Item = Concat>) -> bool {
        self.0.entry(set).or_default().extend(keys);
        self.0.values().map(BTreeSet::len).sum::<usize>() <= PART
    }

    /// The sets.
    pub(super) fn sets(&self) -> impl Iterator<Item = &(Family, Name)> {
        self.0.keys()
    }

    /// The sets, and their keys.
    pub(super) fn into_sets(self) -> impl Iterator<Item = ((Family, Name), BTreeSet<Concat>)> {
        self.0.into_iter()
    }

    /// Adds other elements. Returns `None` if there are too many in total.
    pub(super) fn and(mut self, others: Self) -> Option<Self> {
        others.0.into_iter().all(|(set, keys)| self.add(set, keys)).then_some(self)
    }
}

impl ForeignChange {
    /// Adds a later change.
    pub(super) fn append(&mut self, later: Self) {
        self.by = self.by.take().and(later.by);
        self.sets.extend(later.sets);
        self.elements = self.elements.take().zip(later.elements).and_then(|(all, more)| all.and(more));
    }
}
