//! What is written to the kernel and read from it: nftables, connection tracking and sysctls.

pub mod conntrack;
pub mod kube_proxy;
pub mod nftables;
pub mod sysctl;
