//! Thousands of new connections a second while the rules change hundreds of times: each must be answered.
//!
//! A transaction is not atomic for packets in transit: they may see a frontend and its endpoints half changed. Before
//! and after each change, the Service under fire has an endpoint on this node and allows all clients, and endpoints
//! that leave still answer; so no connection may leave untranslated, be refused, or be dropped. Connections come from a
//! pod, from the node itself and from outside, over UDP and TCP, in both families.
//!
//! The tests run one after the other: each needs the whole machine to open as many connections as possible.

mod endpoints;
mod growth;
mod node_ports;
mod policies;
mod scene;
mod source_ranges;
