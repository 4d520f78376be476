//! A model of an nftables ruleset.
//!
//! One model, many readers: the text printer, the JSON printer, the netlink encoder, the dump
//! decoder and the diff all speak of these types, so none of them can disagree about what a rule means.

mod chain;
pub mod diff;
mod element;
mod elements;
mod expression;
mod set;
mod statement;
pub mod transaction;
mod value;

use indexmap::IndexMap;
use std::{collections::BTreeMap, fmt, sync::Arc};

pub use self::{
    chain::{BaseChain, Chain, ChainType, Hook, Rule},
    element::{COMMENT_MAX, Concat, Element, ElementData},
    elements::Elements,
    expression::{BitOp, Expression, Field},
    set::{Set, SetData, SetFlags},
    statement::{MatchOp, MatchValue, RejectWith, Statement, Verdict, WritableField},
    transaction::{Operation, Refusal, Transaction},
    value::{ClassId, DataType, Value},
};

/// Name of a table, chain, set or map: at most 255 bytes (`NFT_NAME_MAXLEN` less the terminator).
pub type Name = Arc<str>;

crate::named! {
    /// An nftables address family that Portolan has a table in.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Family {
        /// IPv4, `NFPROTO_IPV4`.
        Ip = "ip",
        /// IPv6, `NFPROTO_IPV6`.
        Ip6 = "ip6",
    }
}

impl Family {
    /// The family of an address.
    pub const fn of(address: std::net::IpAddr) -> Self {
        match address {
            std::net::IpAddr::V4(_) => Self::Ip,
            std::net::IpAddr::V6(_) => Self::Ip6,
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

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The tables of one node: none, one, or one a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The tables, by family.
    pub tables: BTreeMap<Family, Table>,
}

/// One nftables table. Equality ignores the order of its sets and chains, which has no meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Name; the same in both families.
    pub name: Name,
    /// Sets and maps, in order of creation.
    pub sets: IndexMap<Name, Set>,
    /// Chains, in order of creation.
    pub chains: IndexMap<Name, Chain>,
}

impl Table {
    /// A table without contents.
    pub fn new(name: impl Into<Name>) -> Self {
        Self { name: name.into(), sets: IndexMap::new(), chains: IndexMap::new() }
    }

    /// Adds a set or map; one of the same name is replaced.
    pub fn add_set(&mut self, set: Set) {
        self.sets.insert(set.name.clone(), set);
    }

    /// Adds a chain; one of the same name is replaced.
    pub fn add_chain(&mut self, chain: Chain) {
        self.chains.insert(chain.name.clone(), chain);
    }

    /// The statements of all rules.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.chains.values().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements)
    }

    /// The chains that rules and elements lead to, as often as they do.
    pub fn targets(&self) -> impl Iterator<Item = &Name> {
        let verdict_maps = self.sets.values().filter(|set| set.data == SetData::Verdict);
        let by_element = verdict_maps.flat_map(|set| set.elements.values()).filter_map(Element::target);
        self.statements().filter_map(Statement::target).chain(by_element)
    }
}
