//! Changes, and the transactions in which they are committed.
//!
//! `changed_slices` finds the endpoints whose entries in slices changed. The `tracker` notes which elements a change
//! adds and removes. [`plan`] turns these into transactions, so that no packet under way finds half of a change, and
//! keeps the objects that are to be deleted later. [`flows`] decides which flows of connection tracking a change leaves
//! stale.

mod changed_slices;
pub mod flows;
pub mod plan;
mod tracker;

pub(crate) use self::{
    changed_slices::{Slices, changed_addresses},
    tracker::{NetChanges, Tracker},
};
