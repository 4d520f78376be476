//! The few addresses that the tests use, alike in both families.

use std::net::IpAddr;

use portolan_rules::ruleset::Family;

/// What an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Of a Service, allocated from the Service network.
    ClusterIp(u8),
    /// Routed to the cluster: a load balancer's or an externalIP.
    External(u8),
    /// Of this node.
    ThisNode(u8),
    /// Of another node.
    OtherNode(u8),
    /// Of a pod on this node.
    Pod(u8),
    /// Of a pod on another node.
    RemotePod(u8),
    /// Outside of the cluster.
    Outside(u8),
    /// The loopback address.
    Loopback,
}

impl Place {
    /// The address in a family.
    pub fn address(self, family: Family) -> IpAddr {
        let (v4, v6, last) = match self {
            Self::ClusterIp(n) => ([10, 96, 0], [0xfd00, 0x96, 0], n),
            Self::External(n) => ([203, 0, 113], [0x2001, 0xdb8, 0x113], n),
            Self::ThisNode(n) => ([192, 0, 2], [0x2001, 0xdb8, 2], n),
            Self::OtherNode(n) => ([192, 0, 2], [0x2001, 0xdb8, 2], 100 + n),
            Self::Pod(n) => ([10, 1, 1], [0xfd00, 1, 1], n),
            Self::RemotePod(n) => ([10, 1, 2], [0xfd00, 1, 2], n),
            Self::Outside(n) => ([198, 51, 100], [0x2001, 0xdb8, 0x51], n),
            Self::Loopback => ([127, 0, 0], [0, 0, 0], 1),
        };
        match family {
            Family::Ip => [v4[0], v4[1], v4[2], last].into(),
            Family::Ip6 => [v6[0], v6[1], v6[2], 0, 0, 0, 0, u16::from(last)].into(),
        }
    }
}
