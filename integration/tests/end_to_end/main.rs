//! End-to-end tests: the real binary, the real kernel's tables and real packets, in separate namespaces.
//!
//! Every test builds its own lab, so the tests run in parallel. They need root, and report an error without it.

mod bad_input;
mod changes;
mod cluster_ip;
mod commands;
mod connectivity_test;
mod demo;
mod distribution;
mod draw;
mod explain;
mod host_network;
mod ignored;
mod incomplete;
mod lab;
mod load_balancer;
mod masquerade;
mod node_port;
mod ports;
mod refuse;
mod restart;
mod scale;
mod scene;
mod stale_flows;
mod watching;
