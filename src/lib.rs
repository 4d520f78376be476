//! Portolan: a Kubernetes service proxy for nodes, on nftables.

pub mod kernel;
