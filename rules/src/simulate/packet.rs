//! The input of the simulator: a packet, and the node that it reaches.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

/// Where a packet comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// It arrives at this interface.
    Interface(Arc<str>),
    /// This node sends it.
    Local,
}

/// The first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address; of the same family as the destination.
    pub source: IpAddr,
    /// Destination address. Its family selects the table.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source port, or what stands in its place in the transport header.
    pub source_port: u16,
    /// Destination port, or what stands in its place in the transport header.
    pub destination_port: u16,
    /// Where it comes from.
    pub input: Input,
}

/// What the simulator must know about the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The addresses that the kernel delivers locally; loopback addresses need not be listed.
    pub local_addresses: BTreeSet<IpAddr>,
}

impl Host {
    /// Whether `fib … type local` matches an address.
    pub fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.local_addresses.contains(&address)
    }
}
