//! The compiled rules do what the Service API promises.
//!
//! [`reference`] answers "what becomes of this packet" straight from the Services, slices and the node. The simulator
//! answers it from the compiled ruleset. Both must agree: on flows from tables, and on random clusters and packets.
#![allow(missing_docs, reason = "a test has no readers of its interface")]

mod affinity;
mod apply;
mod cluster;
mod comparison;
mod explanation;
mod invariants;
mod live;
mod manifest;
mod masquerade_matrix;
mod moment;
mod packet_flows;
mod packets;
mod picture;
mod places;
mod random;
mod reasons;
mod reference;
mod scene;
mod selection;
mod sequences;
mod source_ranges;
mod strategies;
mod trace;
