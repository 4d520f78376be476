//! End-to-end tests: the real binary on real kernels' tables, real packets, in namespaces of their own.
//!
//! Every test builds its own lab, so they run side by side. They need root and say so without it.

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
