//! Describes a change by another process, derived from the transaction that undoes it.

use std::collections::{BTreeMap, BTreeSet};

use portolan_rules::ruleset::{Concat, Family, Name, Operation, Ruleset, Set, SetData, Transaction};

/// The most changes that are named; the rest are counted.
const NAMED: usize = 5;

/// The object of an operation, to find the objects that two transactions have in common.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Target<'a> {
    Table(Family),
    Set(Family, &'a Name),
    Chain(Family, &'a Name),
    Element(Family, &'a Name, &'a Concat),
}

fn target((family, operation): &(Family, Operation)) -> Target<'_> {
    match operation {
        Operation::AddTable | Operation::DeleteTable => Target::Table(*family),
        Operation::AddSet(set) => Target::Set(*family, &set.name),
        Operation::DeleteSet(name) => Target::Set(*family, name),
        Operation::AddChain(chain) => Target::Chain(*family, &chain.name),
        Operation::DeleteChain(chain) | Operation::FlushChain(chain) | Operation::AddRule { chain, .. } => {
            Target::Chain(*family, chain)
        }
        Operation::AddElement { set, key, .. } | Operation::DeleteElement { set, key, .. } => {
            Target::Element(*family, &set.name, key)
        }
    }
}

/// The changes, in the order in which they are described.
#[derive(Default)]
struct Found<'a> {
    /// What happened to tables, sets and chains. If a table is here, nothing in that table is.
    objects: BTreeMap<Target<'a>, &'static str>,
    elements: BTreeMap<(Family, &'a Name), Elements<'a>>,
}

struct Elements<'a> {
    set: &'a Set,
    added: BTreeSet<&'a Concat>,
    deleted: BTreeSet<&'a Concat>,
}

/// Describes what differed in the kernel, given what the kernel held and the transaction that undoes the difference.
/// Leaves out what our own update would have changed anyway; the text is empty if nothing else differed. Also returns
/// the number of operations that undo what is described.
pub(super) fn describe(kernel: &Ruleset, undoing: &Transaction, own: &Transaction) -> (String, usize) {
    let own: BTreeSet<Target<'_>> = own.operations.iter().map(target).collect();
    let foreign = undoing.operations.iter().filter(|operation| !own.contains(&target(operation)));
    let mut found = Found::default();
    let mut count = 0;
    for change in foreign {
        count += 1;
        found.take(kernel, change);
    }
    (found.describe(), count)
}

impl<'a> Found<'a> {
    fn take(&mut self, kernel: &Ruleset, change: &'a (Family, Operation)) {
        let (family, operation) = change;
        let Some(table) = kernel.tables.get(family) else {
            self.objects.insert(Target::Table(*family), "deleted");
            return;
        };
        if self.objects.contains_key(&Target::Table(*family)) {
            return;
        }
        let how = match operation {
            Operation::AddTable => return,
            Operation::DeleteTable => "changed",
            Operation::AddSet(set) if table.sets.contains_key(&set.name) => "changed",
            Operation::AddSet(_) | Operation::AddChain(_) => "deleted",
            Operation::DeleteSet(_) | Operation::DeleteChain(_) => "added",
            Operation::FlushChain(_) | Operation::AddRule { .. } => {
                self.objects.entry(target(change)).or_insert("changed");
                return;
            }
            Operation::AddElement { set, key, .. } => {
                if !self.objects.contains_key(&Target::Set(*family, &set.name)) {
                    self.elements(*family, set).added.insert(key);
                }
                return;
            }
            Operation::DeleteElement { set, key, .. } => {
                self.elements(*family, set).deleted.insert(key);
                return;
            }
        };
        self.objects.insert(target(change), how);
    }

    fn elements(&mut self, family: Family, set: &'a Set) -> &mut Elements<'a> {
        let none = || Elements { set, added: BTreeSet::new(), deleted: BTreeSet::new() };
        self.elements.entry((family, &set.name)).or_insert_with(none)
    }

    fn describe(self) -> String {
        let describe = |(object, how): (&Target<'_>, &&str)| match object {
            Target::Table(family) if *how == "deleted" => format!("table {family} deleted"),
            Target::Table(family) => format!("base chains, flags or named objects of table {family} {how}"),
            Target::Set(family, name) | Target::Element(family, name, _) => {
                format!("{family} set {name} {how}")
            }
            Target::Chain(family, name) => format!("{family} chain {name} {how}"),
        };
        let mut parts: Vec<String> = self.objects.iter().map(describe).collect();
        for ((family, name), Elements { set, added, deleted }) in &self.elements {
            let kind = if matches!(set.data, SetData::None) { "set" } else { "map" };
            let changed = added.intersection(deleted).count();
            let counts = [
                (changed, "changed"),
                (added.len() - changed, "deleted"),
                (deleted.len() - changed, "added"),
            ];
            for (count, how) in counts.into_iter().filter(|(count, _)| *count > 0) {
                let elements = if count == 1 { "element" } else { "elements" };
                parts.push(format!("{count} {elements} of {family} {kind} {name} {how}"));
            }
        }
        let more = parts.len().saturating_sub(NAMED);
        parts.truncate(NAMED);
        let text = parts.join(", ");
        if more > 0 { format!("{text}, and {more} more") } else { text }
    }
}
