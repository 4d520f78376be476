//! The difference between two rulesets, as the transaction that leads from one to the other.
//!
//! Elements and chains that are equal on both sides are left alone, unless a set or table that they need is
//! replaced. The rules of a chain are replaced as a whole. The order is the one that the kernel requires: a
//! reference is deleted before its target, and added after its target.

use std::sync::Arc;

use super::{
    chain::Chain,
    elements::Elements,
    name::{Family, Name},
    set::Set,
    table::{Ruleset, Table},
    transaction::{Operation, Transaction},
};

/// Returns the transaction that turns `old` into `new`; empty if they are equal. `table` is the name of the tables.
pub fn diff(table: &Name, old: &Ruleset, new: &Ruleset) -> Transaction {
    diff_into(table, old, new.clone())
}

/// The same as [`diff`], but consumes `new` instead of copying it.
pub fn diff_into(table: &Name, old: &Ruleset, mut new: Ruleset) -> Transaction {
    let mut transaction = Transaction::new(table.clone());
    for family in Family::ALL {
        match (old.tables.get(&family), new.tables.remove(&family)) {
            (None, None) => {}
            (Some(_), None) => transaction.push(family, Operation::DeleteTable),
            (None, Some(new)) => create(&mut transaction, family, new),
            (Some(old), Some(new)) => change(&mut transaction, family, old, new),
        }
    }
    transaction
}

/// Creates a table: first the sets and chains, which rules and elements may refer to, then the rules, then the
/// elements. A rule that binds an empty map costs nothing; a rule that binds a full map makes the kernel walk the
/// map.
fn create(transaction: &mut Transaction, family: Family, table: Table) {
    transaction.push(family, Operation::AddTable);
    change(transaction, family, &Table::new(table.name.clone()), table);
}

fn change(transaction: &mut Transaction, family: Family, old: &Table, mut new: Table) {
    if old.hooks_differ(&new) {
        // A hook cannot be changed, and other chains may refer to this one: replace the whole table.
        transaction.push(family, Operation::DeleteTable);
        create(transaction, family, new);
        return;
    }
    let same_set =
        |set: &Set, other: &Table| other.sets.get(&set.name).is_some_and(|other| other.same_declaration(set));
    let reads_replaced_set = |chain: &Chain| {
        let mut sets = chain.rules.iter().flat_map(|rule| &rule.statements).flat_map(|s| s.sets());
        sets.any(|name| old.sets.get(name).is_some_and(|set| !same_set(set, &new)))
    };
    let same_rules = |chain: &Chain, other: &Table| {
        other.chains.get(&chain.name).is_some_and(|other| other.rules == chain.rules)
    };
    let refilled = |chain: &Chain| !same_rules(chain, old) || reads_replaced_set(chain);

    for chain in old.chains.values() {
        let stays = new.chains.get(&chain.name).is_some_and(|new| !refilled(new));
        if !stays && !chain.rules.is_empty() {
            transaction.push(family, Operation::FlushChain(chain.name.clone()));
        }
    }
    for set in old.sets.values() {
        if let Some(new) = new.sets.get(&set.name).filter(|new| new.same_declaration(set)) {
            delete_elements(transaction, family, set, new);
        }
    }
    // A set goes before the chains that its verdicts lead to.
    for set in old.sets.values().filter(|set| !same_set(set, &new)) {
        transaction.push(family, Operation::DeleteSet(set.name.clone()));
    }
    for chain in old.chains.values().filter(|chain| !new.chains.contains_key(&chain.name)) {
        transaction.push(family, Operation::DeleteChain(chain.name.clone()));
    }

    for set in new.sets.values().filter(|set| !same_set(set, old)) {
        transaction.push(family, Operation::AddSet(Box::new(set.without_elements())));
    }
    for chain in new.chains.values().filter(|chain| !old.chains.contains_key(&chain.name)) {
        let declaration = Chain { rules: Vec::new(), ..chain.clone() };
        transaction.push(family, Operation::AddChain(Box::new(declaration)));
    }
    for chain in new.chains.values().filter(|chain| refilled(chain)) {
        for rule in &chain.rules {
            let rule = Operation::AddRule { chain: chain.name.clone(), rule: rule.clone() };
            transaction.push(family, rule);
        }
    }
    for set in new.sets.values_mut() {
        let elements = std::mem::take(&mut set.elements);
        let old = old.sets.get(&set.name).filter(|old| old.same_declaration(set));
        add_elements(transaction, family, old.map(|old| &old.elements), elements, set);
    }
}

fn delete_elements(transaction: &mut Transaction, family: Family, old: &Set, new: &Set) {
    let set = Arc::new(old.without_elements());
    let mut new = new.elements.iter().peekable();
    for (key, element) in &old.elements {
        while new.next_if(|(other, _)| *other < key).is_some() {}
        if new.next_if_eq(&(key, element)).is_none() {
            let (key, end) = (key.clone(), element.end.clone());
            transaction.push(family, Operation::DeleteElement { set: set.clone(), key, end });
        }
    }
}

fn add_elements(
    transaction: &mut Transaction,
    family: Family,
    old: Option<&Elements>,
    elements: Elements,
    set: &Set,
) {
    let set = Arc::new(set.without_elements());
    let mut old = old.into_iter().flatten().peekable();
    if old.peek().is_none() {
        transaction.operations.reserve(elements.len());
    }
    for (key, element) in elements {
        while old.next_if(|(other, _)| **other < key).is_some() {}
        if old.next_if(|present| *present == (&key, &element)).is_none() {
            transaction.push(family, Operation::AddElement { set: set.clone(), key, element });
        }
    }
}
