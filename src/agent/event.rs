//! What wakes the reconciler.

use super::ForeignChange;
use crate::source::{Change, Update, manifest::Completeness};

/// Something that the reconciler must look at.
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
    /// It was told to.
    Asked,
    /// It cannot go on as it is, and has said why: its supervisor starts it anew.
    Failed,
}
