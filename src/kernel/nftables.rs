//! Writes transactions to `nf_tables` over netlink, and reads tables back.
//!
//! libnftnl writes the expressions of rules. Everything else is encoded here. Elements, which are many and change
//! often, are encoded straight into the buffer that is sent to the kernel. A transaction is one datagram, which the
//! kernel commits as a whole or not at all.

pub(crate) mod attributes;
mod batch;
pub(crate) mod connection;
mod counters;
mod declaration;
mod dump;
mod element;
mod error;
mod handle;
mod libnftnl;
mod linearize;
mod monitor;
mod neighbours;
mod owner;
mod probe;
mod reader;
mod release;
mod rule;
mod tables;
pub(crate) mod uapi;
mod verdict;
pub(crate) mod wire;

pub use self::{
    batch::Batch,
    counters::{Count, Counts, read_counts},
    dump::{Everything, FOREIGN_PRIORITY, LARGE, Scope, Wanted, is_large},
    error::Error,
    handle::Kernel,
    monitor::{Generation, Monitor, Notification, Subscription},
    neighbours::{Neighbour, Proxy},
    owner::Ownership,
    probe::{Feature, Features, Served},
    release::{RangeRemoval, Release},
    tables::{Commit, Tables},
};

#[cfg(test)]
mod tests;
