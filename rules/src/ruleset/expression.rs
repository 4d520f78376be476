//! Expressions: what a rule reads.

use super::name::Name;

/// A field of the packet, of its metadata or of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `ip saddr` or `ip6 saddr`, by the family of the table.
    SourceAddress,
    /// `ip daddr` or `ip6 daddr`, by the family of the table.
    DestinationAddress,
    /// `meta l4proto`: the transport protocol's number.
    L4Proto,
    /// `th dport`: the destination port of TCP, UDP or SCTP.
    DestinationPort,
    /// `meta priority`: `skb->priority`, Portolan's scratch field.
    Priority,
    /// `meta mark`: the packet mark.
    Mark,
    /// `meta iifname`: the name of the input interface.
    InputInterface,
    /// `ct status`: state bits of the connection.
    ConntrackStatus,
    /// `fib saddr type`: what kind of address the source is to this node.
    SourceAddressType,
    /// `fib daddr type`: what kind of address the destination is to this node.
    DestinationAddressType,
}

/// A bitwise operation with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BitOp {
    /// `&`
    And,
    /// `|`
    Or,
    /// `^`
    Xor,
}

/// An expression: it leaves a value in a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// A field.
    Field(Field),
    /// A constant of type `classid` or mark, in host order.
    Constant(u32),
    /// `a . b . c`: fields side by side, each padded to four bytes.
    Concat(Vec<Expression>),
    /// `key map @map`: the value that the map holds for the key. Without a value, the rule ends without effect.
    Lookup {
        /// The key.
        key: Box<Expression>,
        /// The name of the map, in the same table.
        map: Name,
    },
    /// `numgen random mod M offset O`: a uniformly random number in `O .. O + M`.
    Random {
        /// M, at least 1.
        modulus: u32,
        /// O.
        offset: u32,
    },
    /// `jhash KEY mod M seed S offset O`: a number in `O .. O + M` that depends on the key only.
    Hash {
        /// What is hashed.
        key: Box<Expression>,
        /// M, at least 1.
        modulus: u32,
        /// Seed of the hash.
        seed: u32,
        /// O.
        offset: u32,
    },
    /// `field & constant` and the like, on 32-bit host-order fields.
    Bitwise {
        /// The operation.
        op: BitOp,
        /// The left operand.
        left: Box<Expression>,
        /// The right operand.
        right: u32,
    },
}

impl Expression {
    /// A concatenation of fields.
    pub fn fields(fields: &[Field]) -> Self {
        Self::Concat(fields.iter().copied().map(Self::Field).collect())
    }

    /// `self map @map`.
    #[must_use]
    pub fn lookup(self, map: impl Into<Name>) -> Self {
        Self::Lookup { key: Box::new(self), map: map.into() }
    }

    /// `self op right`.
    #[must_use]
    pub fn bitwise(self, op: BitOp, right: u32) -> Self {
        Self::Bitwise { op, left: Box::new(self), right }
    }

    /// Collects the names of the maps that the expression reads.
    pub(super) fn maps<'a>(&'a self, maps: &mut Vec<&'a Name>) {
        match self {
            Self::Field(_) | Self::Constant(_) | Self::Random { .. } => {}
            Self::Concat(parts) => parts.iter().for_each(|part| part.maps(maps)),
            Self::Lookup { key, map } => {
                key.maps(maps);
                maps.push(map);
            }
            Self::Hash { key, .. } => key.maps(maps),
            Self::Bitwise { left, .. } => left.maps(maps),
        }
    }
}

impl From<Field> for Expression {
    fn from(field: Field) -> Self {
        Self::Field(field)
    }
}
