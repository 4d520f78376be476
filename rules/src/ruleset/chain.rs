//! Chains and rules.

use super::{name::Name, statement::Statement};

crate::named! {
    /// Where the kernel calls a base chain.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Hook {
        /// `NF_INET_PRE_ROUTING`: packets that arrive.
        Prerouting = "prerouting",
        /// `NF_INET_LOCAL_IN`: packets for this node.
        Input = "input",
        /// `NF_INET_FORWARD`: packets that pass through.
        Forward = "forward",
        /// `NF_INET_LOCAL_OUT`: packets that this node sends.
        Output = "output",
        /// `NF_INET_POST_ROUTING`: packets that leave.
        Postrouting = "postrouting",
    }
}

impl Hook {
    /// The kernel's number: the variants are in the order of `enum nf_inet_hooks`.
    pub const fn number(self) -> u32 {
        self as u32
    }
}

crate::named! {
    /// The type of a base chain.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum ChainType {
        /// `filter`: sees every packet.
        Filter = "filter",
        /// `nat`: sees the first packet of each connection.
        Nat = "nat",
    }
}

/// The properties of a base chain. Its policy is always `accept`: Portolan decides about Services only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BaseChain {
    /// Type.
    pub chain_type: ChainType,
    /// Hook.
    pub hook: Hook,
    /// Priority among the chains of the hook; lower is earlier.
    pub priority: i32,
}

/// A chain with its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Name.
    pub name: Name,
    /// Hook and priority, for a base chain.
    pub base: Option<BaseChain>,
    /// Rules, in order.
    pub rules: Vec<Rule>,
}

impl Chain {
    /// A regular chain.
    pub fn regular(name: impl Into<Name>, rules: Vec<Rule>) -> Self {
        Self { name: name.into(), base: None, rules }
    }

    /// A base chain.
    pub fn base(name: impl Into<Name>, base: BaseChain, rules: Vec<Rule>) -> Self {
        Self { name: name.into(), base: Some(base), rules }
    }
}

/// A rule: statements in order, each of which may end the evaluation of the rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The statements.
    pub statements: Vec<Statement>,
}

impl Rule {
    /// A rule of these statements.
    pub fn new(statements: impl Into<Vec<Statement>>) -> Self {
        Self { statements: statements.into() }
    }
}
