//! Operations of a transaction, one line each: what `portolan diff` shows.

use super::{
    element::{element, key},
    nft::{declared_chain, declared_set, kind},
    statement::rule,
};
use crate::ruleset::{Family, Operation, Set};

/// An operation on `table` as one line: `+` and what is added, `-` and what goes away, in the words of
/// nft's commands.
///
/// ```text
/// + element ip portolan endpoints { 10.96.0.2 . tcp . 80 . 0:1 : 10.1.1.2 . 8080 }
/// - element ip portolan endpoints { 10.96.0.2 . tcp . 80 . 0:2 }
/// + chain ip portolan cluster-3
/// + rule ip portolan cluster-3 meta priority set numgen random mod 3 goto send
/// ```
pub fn operation(operation: &Operation, family: Family, table: &str) -> String {
    let place = format_args!("{family} {table}");
    match operation {
        Operation::AddTable => format!("+ table {place}"),
        Operation::DeleteTable => format!("- table {place}"),
        Operation::AddSet(set) => format!("+ {} {place} {}", kind(set), declared_set(set)),
        Operation::DeleteSet(name) => format!("- set {place} {name}"),
        Operation::AddChain(chain) => format!("+ chain {place} {}", declared_chain(chain)),
        Operation::DeleteChain(name) => format!("- chain {place} {name}"),
        Operation::AddRule { chain, rule: added } => {
            format!("+ rule {place} {chain} {}", rule(added, family))
        }
        Operation::FlushChain(chain) => format!("- rules {place} {chain}"),
        Operation::AddElement { set, key, element: added } => {
            format!("+ element {place} {} {{ {} }}", set.name, element(set, key, added))
        }
        Operation::DeleteElement { set, key: deleted, end } => {
            let Set { name, key: types, .. } = set.as_ref();
            format!("- element {place} {name} {{ {} }}", key(types, deleted, end.as_deref()))
        }
    }
}
