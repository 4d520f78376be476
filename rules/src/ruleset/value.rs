//! Typed values and their layout in the kernel's registers.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::model::Protocol;

crate::named! {
    /// The type of one field of a set's key or data, as nft names it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum DataType {
        /// `ipv4_addr`: 4 bytes, network order.
        Ipv4Addr = "ipv4_addr",
        /// `ipv6_addr`: 16 bytes, network order.
        Ipv6Addr = "ipv6_addr",
        /// `inet_proto`: 1 byte.
        InetProto = "inet_proto",
        /// `inet_service`: a port, 2 bytes, network order.
        InetService = "inet_service",
        /// `classid`: the type of `meta priority`, 4 bytes, host order.
        ClassId = "classid",
    }
}

impl DataType {
    /// The number that nft stores in `NFTA_SET_KEY_TYPE` and `NFTA_SET_DATA_TYPE` (`enum datatypes` of nft). The
    /// number of a concatenation consists of the numbers of its fields, six bits each. The kernel only stores it
    /// for nft.
    pub const fn id(self) -> u32 {
        match self {
            Self::Ipv4Addr => 7,
            Self::Ipv6Addr => 8,
            Self::InetProto => 12,
            Self::InetService => 13,
            Self::ClassId => 23,
        }
    }

    /// Length in bytes, without the padding that a concatenation adds.
    pub const fn size(self) -> usize {
        match self {
            Self::Ipv4Addr | Self::ClassId => 4,
            Self::Ipv6Addr => 16,
            Self::InetProto => 1,
            Self::InetService => 2,
        }
    }

    /// Length in bytes in a concatenation: whole 4-byte registers.
    pub const fn padded_size(self) -> usize {
        self.size().next_multiple_of(4)
    }
}

/// A value of `meta priority`: nft's type `classid`. The compiler uses it for the class of a
/// frontend and for the slot of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassId(pub u32);

impl fmt::Display for ClassId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("none"),
            u32::MAX => f.write_str("root"),
            id => write!(f, "{:x}:{:x}", id >> 16, id & 0xffff),
        }
    }
}

/// The name of an IP protocol in nft's listings, which take it from the system's `/etc/protocols`; `None` for the
/// many protocols that no Service and no rule of Portolan names.
pub const fn protocol_name(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "icmp",
        2 => "igmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "ipv6-icmp",
        132 => "sctp",
        136 => "udplite",
        _ => return None,
    })
}

/// One typed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// A transport protocol, by its IP protocol number.
    Proto(u8),
    /// A port.
    Port(u16),
    /// A class or a slot.
    Class(ClassId),
}

impl Value {
    /// The address, if the value is an address.
    pub const fn address(self) -> Option<IpAddr> {
        match self {
            Self::Ipv4(address) => Some(IpAddr::V4(address)),
            Self::Ipv6(address) => Some(IpAddr::V6(address)),
            Self::Proto(_) | Self::Port(_) | Self::Class(_) => None,
        }
    }

    /// Reads a value of type `data_type` from the start of `bytes`; `None` if they are too short.
    pub fn read(data_type: DataType, bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..data_type.size())?;
        Some(match data_type {
            DataType::Ipv4Addr => Self::Ipv4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
            DataType::Ipv6Addr => Self::Ipv6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
            DataType::InetProto => Self::Proto(bytes[0]),
            DataType::InetService => Self::Port(u16::from_be_bytes(<[u8; 2]>::try_from(bytes).ok()?)),
            DataType::ClassId => Self::Class(ClassId(u32::from_ne_bytes(<[u8; 4]>::try_from(bytes).ok()?))),
        })
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(address) => Self::Ipv6(address),
        }
    }
}

impl From<Protocol> for Value {
    fn from(protocol: Protocol) -> Self {
        Self::Proto(protocol.number())
    }
}

impl From<ClassId> for Value {
    fn from(class: ClassId) -> Self {
        Self::Class(class)
    }
}

impl fmt::Display for Value {
    /// Writes the value as nft does, numerically except for the names of protocols.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => address.fmt(f),
            Self::Ipv6(address) => address.fmt(f),
            Self::Proto(number) => match protocol_name(*number) {
                Some(name) => f.write_str(name),
                None => number.fmt(f),
            },
            Self::Port(port) => port.fmt(f),
            Self::Class(class) => class.fmt(f),
        }
    }
}
