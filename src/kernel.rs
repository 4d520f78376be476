//! What is written to the kernel and read from it: nftables, connection tracking and sysctls.

pub mod conntrack;
pub mod nftables;
pub mod sysctl;
