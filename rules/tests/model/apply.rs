//! Applies transactions to the model as the kernel would.

use std::collections::btree_map::Entry;

use portolan_rules::ruleset::{Chain, Family, Name, Operation, Ruleset, Table, Transaction};

/// An operation that the kernel would refuse, and the transaction with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("operation {operation} is refused: {reason}")]
pub struct Refusal {
    /// Index of the operation in the transaction.
    pub operation: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// What can be applied to a ruleset.
pub trait Apply {
    /// Applies the transaction to a ruleset, as strictly as the kernel: what is deleted must exist and
    /// must not be referred to, what is added must not exist with other contents.
    fn apply(&self, ruleset: &Ruleset) -> Result<Ruleset, Refusal>;
}

impl Apply for Transaction {
    fn apply(&self, ruleset: &Ruleset) -> Result<Ruleset, Refusal> {
        let mut result = ruleset.clone();
        for (operation, (family, op)) in self.operations.iter().enumerate() {
            apply_one(&mut result, &self.table, *family, op)
                .map_err(|reason| Refusal { operation, reason })?;
        }
        Ok(result)
    }
}

fn apply_one(
    ruleset: &mut Ruleset,
    name: &Name,
    family: Family,
    operation: &Operation,
) -> Result<(), &'static str> {
    if let Operation::AddTable = operation {
        ruleset.tables.entry(family).or_insert_with(|| Table::new(name.clone()));
        return Ok(());
    }
    let Entry::Occupied(mut entry) = ruleset.tables.entry(family) else { return Err("no such table") };
    let table = entry.get_mut();
    match operation {
        Operation::AddTable => {}
        Operation::DeleteTable => {
            entry.remove();
        }
        Operation::AddSet(set) => match table.sets.get(&set.name) {
            Some(old) if !old.same_declaration(set) => return Err("the set exists with another declaration"),
            Some(_) => {}
            None => table.add_set(set.without_elements()),
        },
        Operation::DeleteSet(set) => {
            if reads_set(table, set) {
                return Err("a rule refers to the set");
            }
            table.sets.shift_remove(set).ok_or("no such set")?;
        }
        Operation::AddChain(chain) => match table.chains.get(&chain.name) {
            Some(old) if old.base != chain.base => return Err("the chain exists with another hook"),
            Some(_) => {}
            None => table.add_chain(Chain { rules: Vec::new(), ..Chain::clone(chain) }),
        },
        Operation::DeleteChain(chain) => {
            if table.targets().any(|target| target == chain) {
                return Err("a verdict leads to the chain");
            }
            let removed = table.chains.shift_remove(chain).ok_or("no such chain")?;
            if !removed.rules.is_empty() {
                return Err("the chain has rules");
            }
        }
        Operation::AddRule { chain, rule } => {
            for statement in &rule.statements {
                if statement.sets().into_iter().any(|set| !table.sets.contains_key(set)) {
                    return Err("the rule refers to a set that does not exist");
                }
                if statement.target().is_some_and(|target| !table.chains.contains_key(target)) {
                    return Err("the rule leads to a chain that does not exist");
                }
            }
            table.chains.get_mut(chain).ok_or("no such chain")?.rules.push(rule.clone());
        }
        Operation::FlushChain(chain) => table.chains.get_mut(chain).ok_or("no such chain")?.rules.clear(),
        Operation::AddElement { set, key, element } => {
            if element.target().is_some_and(|target| !table.chains.contains_key(target)) {
                return Err("the element leads to a chain that does not exist");
            }
            let set = table.sets.get_mut(&set.name).ok_or("no such set")?;
            if set.elements.insert(key.clone(), element.clone()).is_some_and(|old| old.data != element.data) {
                return Err("the element exists with other data");
            }
            if set.size.is_some_and(|size| set.elements.len() > size as usize) {
                return Err("the set is full");
            }
        }
        Operation::DeleteElement { set, key, .. } => {
            let set = table.sets.get_mut(&set.name).ok_or("no such set")?;
            set.elements.remove(key).ok_or("no such element")?;
        }
    }
    Ok(())
}

fn reads_set(table: &Table, set: &Name) -> bool {
    table.statements().any(|statement| statement.sets().contains(&set))
}
