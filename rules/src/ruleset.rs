//! A model of an nftables ruleset.
//!
//! The text printer, the JSON printer, the netlink encoder, the dump decoder and the diff all use these types, so
//! that they cannot disagree about the meaning of a rule.

mod chain;
pub mod diff;
mod element;
mod elements;
mod expression;
mod name;
mod set;
mod statement;
mod table;
pub mod transaction;
mod value;

pub use self::{
    chain::{BaseChain, Chain, ChainType, Hook, Rule},
    element::{COMMENT_MAX, Concat, Element, ElementData},
    elements::Elements,
    expression::{BitOp, Expression, Field},
    name::{Family, Name},
    set::{Set, SetData, SetFlags},
    statement::{MatchOp, MatchValue, RejectWith, Statement, Verdict, WritableField},
    table::{Ruleset, Table},
    transaction::{Operation, Transaction},
    value::{ClassId, DataType, Value, protocol_name},
};
