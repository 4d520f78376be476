//! Connection tracking over ctnetlink: removes stale flows, and lists flows.
//!
//! Entries are removed one by one, and only if `portolan_rules::incremental::flows` proves them stale. TCP connections
//! that were answered are never examined.

mod entry;
mod list;
mod request;
mod socket;
mod uapi;

pub use self::{
    list::{Bounds, Flow, FlowState, Listed, list},
    socket::{Conntrack, Error, load},
};
