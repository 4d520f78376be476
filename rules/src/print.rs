//! Writes a ruleset as text: in nft's notation, as JSON, and object by object for a readable diff.
//!
//! The text follows what `nft list` prints, so that [`nft`] shows a ruleset as a user finds it in the kernel after it
//! was applied. Output is a function of the ruleset alone: same input, same bytes.
//!
//! The text differs from `nft list` (1.0.6) in two places, where `nft list` prints what nft cannot read: a bitwise
//! operation after the first field of a map's key gets parentheses, and everything that the model allows but nft has
//! no notation for (a lookup inside a dynamic element) is written in the nearest notation.

mod element;
mod expression;
mod json;
mod nft;
mod operation;
mod statement;
#[cfg(test)]
mod tests;

use crate::ruleset::{Family, Rule, Statement};

pub use self::{json::json, nft::nft, operation::operation};

/// A rule on one line, as `nft list` shows it. A rule with a [`Statement::Foreign`] is a comment line, `# …`: without
/// that statement, the rule would mean something else.
pub fn rule(rule: &Rule, family: Family) -> String {
    statement::rule(rule, family).to_string()
}

/// One statement, as `nft list` shows it; a [`Statement::Foreign`] as a comment.
pub fn statement(statement: &Statement, family: Family) -> String {
    statement::statement(statement, family).to_string()
}
