//! Compiles Kubernetes Services and `EndpointSlices` into an nftables ruleset.
//!
//! Data flows one way: the [`model`] holds what the cluster says, [`state`] keeps it and knows what
//! changed, [`compile`] turns it into a [`ruleset`], [`diff`] into the [`transaction`] that leads from
//! one ruleset to another, and [`print`](mod@print) writes it as text or JSON;
//! [`simulate`](mod@simulate) says what a ruleset does with a packet. Everything here is a pure
//! function of its arguments: no I/O, no clock, no unsafe code.
#![forbid(unsafe_code)]

pub mod compile;
pub mod diff;
pub mod endpoints;
pub mod explanation;
#[cfg(test)]
mod fixture;
pub mod flows;
pub mod health_checks;
pub mod leftovers;
pub mod model;
pub mod node_ports;
pub mod plan;
pub mod planes;
pub mod print;
pub mod ruleset;
pub mod simulate;
pub mod state;
pub mod transaction;
