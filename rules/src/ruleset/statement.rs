//! Statements: what a rule tests and does.

use std::{fmt, sync::Arc};

use ipnetwork::IpNetwork;

use super::{expression::Expression, name::Name};

/// What becomes of the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `accept`: no further rule of this base chain.
    Accept,
    /// `drop`.
    Drop,
    /// `return`: go on after the jump that led here.
    Return,
    /// `jump chain`: come back at the end of the chain.
    Jump(Name),
    /// `goto chain`: do not come back.
    Goto(Name),
}

impl Verdict {
    /// The chain that the verdict leads to.
    pub const fn target(&self) -> Option<&Name> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            Self::Accept | Self::Drop | Self::Return => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

/// How a match compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// Equal (for an address prefix: inside).
    Equal,
    /// Not equal (for an address prefix: outside).
    NotEqual,
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatchValue {
    /// An IP protocol number, for [`super::Field::L4Proto`].
    Proto(u8),
    /// An address prefix, for the address fields.
    Prefix(IpNetwork),
    /// A number in host order, for marks and priorities.
    Number(u32),
    /// Address type `local` (`RTN_LOCAL`), for the FIB fields.
    Local,
    /// `dnat`: the connection's destination has been translated (`IPS_DST_NAT`); tests that bit of
    /// [`super::Field::ConntrackStatus`].
    Dnat,
    /// An interface name; with `prefix` only its beginning, written `name*`.
    Interface {
        /// The name or its beginning.
        name: Arc<str>,
        /// Whether any name with this beginning matches.
        prefix: bool,
    },
}

/// A field that a rule can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WritableField {
    /// `meta priority`.
    Priority,
    /// `meta mark`.
    Mark,
}

/// How a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectWith {
    /// `tcp reset`.
    TcpReset,
    /// ICMP or `ICMPv6` port unreachable, by the family of the table: nft's default.
    PortUnreachable,
}

/// A statement of a rule. A test that fails, or a lookup that misses, ends the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Compare an expression with a constant.
    Match {
        /// The expression.
        left: Expression,
        /// The comparison.
        op: MatchOp,
        /// The constant.
        right: MatchValue,
    },
    /// `key @set`, or `key != @set`.
    InSet {
        /// The key.
        key: Expression,
        /// The set's name.
        set: Name,
        /// Whether the key must be absent.
        negated: bool,
    },
    /// `field set value`.
    Set {
        /// The field.
        field: WritableField,
        /// The value.
        value: Expression,
    },
    /// `key vmap @map`.
    VerdictMap {
        /// The key.
        key: Expression,
        /// The verdict map's name.
        map: Name,
    },
    /// `update @set { key timeout T : data }`: add the element or restart its timer.
    Update {
        /// The name of the dynamic set or map.
        set: Name,
        /// The key.
        key: Expression,
        /// Time after which the element expires, in milliseconds.
        timeout_ms: u64,
        /// The data, for a map.
        data: Option<Expression>,
    },
    /// `delete @set { key : data }`: remove the element of this key, if there is one.
    Delete {
        /// The name of the dynamic set or map.
        set: Name,
        /// The key.
        key: Expression,
        /// Any data of the map's type, which the kernel requires and ignores; `None` for a set.
        data: Option<Expression>,
    },
    /// `dnat ip to key map @map`, where the map's data is an address and a port.
    Dnat {
        /// The map's key.
        key: Expression,
        /// The map's name.
        map: Name,
    },
    /// `masquerade fully-random`: the source becomes this node's address, the port a random one.
    Masquerade,
    /// `reject`.
    Reject(RejectWith),
    /// A final verdict.
    Verdict(Verdict),
    /// A statement in the kernel that Portolan never writes, as a description for people.
    Foreign(String),
}

impl Statement {
    /// `left == right`.
    pub fn equal(left: impl Into<Expression>, right: MatchValue) -> Self {
        Self::Match { left: left.into(), op: MatchOp::Equal, right }
    }

    /// `left != right`.
    pub fn not_equal(left: impl Into<Expression>, right: MatchValue) -> Self {
        Self::Match { left: left.into(), op: MatchOp::NotEqual, right }
    }

    /// `key @set`.
    pub fn in_set(key: impl Into<Expression>, set: impl Into<Name>) -> Self {
        Self::InSet { key: key.into(), set: set.into(), negated: false }
    }

    /// `field set value`.
    pub fn set(field: WritableField, value: impl Into<Expression>) -> Self {
        Self::Set { field, value: value.into() }
    }

    /// `jump chain`.
    pub fn jump(chain: impl Into<Name>) -> Self {
        Self::Verdict(Verdict::Jump(chain.into()))
    }

    /// `goto chain`.
    pub fn goto(chain: impl Into<Name>) -> Self {
        Self::Verdict(Verdict::Goto(chain.into()))
    }

    /// The chain that the statement leads to, if it is a verdict.
    pub const fn target(&self) -> Option<&Name> {
        if let Self::Verdict(verdict) = self { verdict.target() } else { None }
    }

    /// The names of the sets and maps that the statement reads or writes.
    pub fn sets(&self) -> Vec<&Name> {
        let mut sets = Vec::new();
        match self {
            Self::Match { left, .. } => left.maps(&mut sets),
            Self::InSet { key, set, .. }
            | Self::VerdictMap { key, map: set }
            | Self::Dnat { key, map: set } => {
                key.maps(&mut sets);
                sets.push(set);
            }
            Self::Set { value, .. } => value.maps(&mut sets),
            Self::Update { set, key, data, .. } | Self::Delete { set, key, data } => {
                key.maps(&mut sets);
                sets.push(set);
                if let Some(data) = data {
                    data.maps(&mut sets);
                }
            }
            Self::Masquerade | Self::Reject(_) | Self::Verdict(_) | Self::Foreign(_) => {}
        }
        sets
    }
}
