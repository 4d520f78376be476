//! Names, and the address families of tables.

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::value::DataType;

/// Name of a table, chain, set or map: at most 255 bytes (`NFT_NAME_MAXLEN` less the terminator).
pub type Name = Arc<str>;

crate::named! {
    /// An nftables address family in which Portolan has a table.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
    pub enum Family {
        /// IPv4, `NFPROTO_IPV4`.
        Ip = "ip",
        /// IPv6, `NFPROTO_IPV6`.
        Ip6 = "ip6",
    }
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ip,
            IpAddr::V6(_) => Self::Ip6,
        }
    }

    /// The kernel's number: `NFPROTO_IPV4` or `NFPROTO_IPV6`.
    pub const fn number(self) -> u8 {
        match self {
            Self::Ip => 2,
            Self::Ip6 => 10,
        }
    }

    /// The type of an address of this family.
    pub const fn address_type(self) -> DataType {
        match self {
            Self::Ip => DataType::Ipv4Addr,
            Self::Ip6 => DataType::Ipv6Addr,
        }
    }
}
