//! Portolan: a Kubernetes service proxy for nodes, on nftables.
//!
//! Data flows one way: a source ([`cluster`] or [`manifest`]) says what the cluster holds, the [`agent`] keeps it as state,
//! has it compiled and compared by `portolan_rules`, and hands the difference to the [`kernel`].

pub mod agent;
pub mod api;
pub mod cli;
mod clock;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod conntrack;
pub mod endpoint_counters;
pub mod health;
pub mod host;
pub mod kernel;
pub mod logging;
pub mod manifest;
mod memory;
pub mod metrics;
pub mod recorder;
pub mod server;
pub mod settings;
pub mod source;
pub mod sysctl;
