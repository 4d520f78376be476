//! Everything the Service API promises about policies, topology, affinity, source ranges and masquerading: the
//! real binary, real packets. Each test names the row or invariant of behaviour.md that it shows.

mod affinity;
mod affinity_changes;
mod balancing;
mod frontends;
mod host_network;
mod iptables;
mod local;
mod localhost;
mod matrix;
mod node_addresses;
mod owners;
#[path = "../end_to_end/scene.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod scene;
mod service_cidrs;
mod source_ranges;
mod terminating;
mod topology;
