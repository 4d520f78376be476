//! What wakes the reconciler.

use super::ForeignChange;
use crate::source;

/// Something that the reconciler must look at.
#[derive(Debug)]
pub enum Event {
    /// A source has news.
    Source(source::Event),
    /// Stale flows were looked for.
    Flows,
    /// Somebody else changed our tables.
    Foreign(ForeignChange),
    /// Stop; the rules stay.
    Stop(Ending),
}

/// How the agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As asked.
    Asked,
    /// It cannot go on as it is, and has said why: its supervisor starts it anew.
    Failed,
}
