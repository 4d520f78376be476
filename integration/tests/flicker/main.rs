//! Thousands of new connections a second while the rules change hundreds of times: each must be answered.
//!
//! A transaction is not one moment to the packets under way: what leads somewhere and what it leads to may be seen
//! half changed. The Service under fire always has an endpoint on this node and allows all who ask, before and after
//! each change, and endpoints that leave go on answering; so no connection may leave untranslated, be refused, or be
//! dropped. From a pod, from the node itself and from outside, UDP and TCP, both families.
//!
//! The tests take turns: each needs the machine for itself to send as many as it can.

mod endpoints;
mod growth;
mod node_ports;
mod policies;
mod scene;
mod source_ranges;
