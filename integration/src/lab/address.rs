//! Addresses of both families.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The pod networks of the whole cluster, as `--cluster-cidr` takes them.
pub const CLUSTER_CIDR: &str = "10.128.0.0/16,fd00:10:128::/48";

/// An IP family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The name of the family in the API, in `spec.ipFamilies` and `addressType`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An IPv4 address and its IPv6 counterpart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dual {
    /// The IPv4 address.
    pub v4: Ipv4Addr,
    /// The IPv6 address.
    pub v6: Ipv6Addr,
}

impl Dual {
    /// The pair of these addresses, given by their octets and groups.
    pub fn new(v4: [u8; 4], v6: [u16; 8]) -> Self {
        Self { v4: v4.into(), v6: v6.into() }
    }

    /// The address of one family.
    pub fn of(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }

    /// The address of one family, with a port.
    pub fn port(self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.of(family), port)
    }

    /// Whether `address` is one of the two.
    pub fn has(self, address: IpAddr) -> bool {
        self.of(Family::of(address)) == address
    }
}
