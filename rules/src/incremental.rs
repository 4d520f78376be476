//! What changed, and the transactions that it is committed in.
//!
//! `changed_slices` finds the endpoints whose entries in slices changed. The `tracker` notes which elements a change
//! adds and removes. [`plan`] makes transactions of that, so that no packet under way finds half of it, and keeps what
//! is to be deleted later. [`flows`] decides which flows of connection tracking a change leaves stale.

mod changed_slices;
pub mod flows;
pub mod plan;
mod tracker;

pub(crate) use self::{
    changed_slices::{Slices, changed_addresses},
    tracker::{NetChanges, Tracker},
};
