//! Connection tracking: removes flows that lead where they no longer should, over ctnetlink.
//!
//! Only what is proven stale by `portolan_rules::incremental::flows` goes, entry by entry. TCP connections that were answered are
//! never looked at.

mod entry;
mod list;
mod request;
mod socket;
mod uapi;

pub use self::{
    list::{Bounds, Flow, FlowState, Listed, list},
    socket::{Conntrack, Error, load},
};
