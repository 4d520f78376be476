//! What wakes the reconciler.

use super::ForeignChange;
use crate::{manifest, source};

/// Something that the reconciler must look at.
#[derive(Debug)]
pub enum Event {
    /// Manifests changed.
    Manifests(manifest::Update),
    /// The cluster changed.
    Cluster(source::Update),
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
