//! The reconciler: keeps the kernel equal to the state.
//!
//! Normally each change is compiled and committed alone, without reading the kernel. The tables are read back, and the
//! whole difference is committed, whenever it is uncertain what the kernel holds: at the start, after a commit that
//! failed or whose outcome is unknown, and after another process changed our tables.

mod answer;
mod back_off;
mod belief;
mod carry_out;
mod check;
mod cold_start;
mod compiled;
mod core;
mod describe;
mod desired;
mod elements;
mod event;
mod first;
mod foreign;
mod isolate;
mod isolation;
mod large;
pub mod memory;
mod node;
mod queue;
mod reading;
mod reconcile;
mod refusal;
mod removal;
mod repair;
mod retirement;
mod stale_flows;
mod sync;
mod watch;

#[cfg(test)]
mod tests;

pub use self::{
    cold_start::{ColdStart, cold_start},
    core::{Agent, SyncError, Synced},
    event::{Ending, Event, ForeignChange, Touched},
    first::{Comparison, compare_at_start},
    node::NodeFacts,
    queue::{Receiver, Sender, queue},
    reading::Small,
    reconcile::reconcile,
};
