//! Cuts operations into transactions.

use std::{mem, sync::Arc};

use foldhash::HashMap;

use crate::ruleset::{Chain, Concat, Element, Family, Name, Operation, Set, Transaction};

use super::change::{ElementChange, PART};

/// Number of elements that take the kernel as long to add as one chain or rule.
const WEIGHT: usize = 4;
/// Number of declared elements for which the kernel makes buckets in the time that it takes to add one element.
const MADE: u32 = 64;
/// Number of declared elements whose buckets the kernel walks in the time that it takes to add one element. It walks
/// them for every rule that binds a map.
const WALKED: u32 = 256;

/// Elements of one set.
type OfSet = (Family, Arc<Set>, Vec<(Concat, Element)>);

/// Cuts operations into transactions, and hands each to `take` as soon as it is full.
pub struct Parts<'a> {
    table: Name,
    limit: usize,
    take: &'a mut dyn FnMut(Transaction) -> bool,
    is_wanted: bool,
    /// The transaction that is being made: other operations first, then deletions of elements, then additions of
    /// elements, by set.
    first: Vec<(Family, Operation)>,
    /// Number of elements that take as long as `first`.
    weight: usize,
    /// The declared sizes of the sets that were made.
    sizes: HashMap<(Family, Name), u32>,
    deletions: Vec<(Family, Operation)>,
    additions: Vec<OfSet>,
    /// Elements to be added.
    count: usize,
    /// Ranges that wait for [`Parts::ranges`].
    ranges: Vec<(Family, Arc<Set>, Concat, Element)>,
}

impl<'a> Parts<'a> {
    /// For the tables of this name. `take` returns whether it wants more.
    pub fn new(table: &Name, take: &'a mut dyn FnMut(Transaction) -> bool) -> Self {
        Self {
            table: table.clone(),
            limit: PART,
            take,
            is_wanted: true,
            first: Vec::new(),
            weight: 0,
            sizes: HashMap::default(),
            deletions: Vec::new(),
            additions: Vec::new(),
            count: 0,
            ranges: Vec::new(),
        }
    }

    /// Limits the next part to fewer operations, and each further part to twice as many as the previous one, up to
    /// [`PART`], so that the consumer begins to work soon.
    pub fn start_with(&mut self, limit: usize) {
        self.limit = limit.min(PART);
    }

    /// Whether more is wanted.
    pub const fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Ends the part if work that takes as long as this number of elements does not fit in it.
    fn reserve(&mut self, weight: usize) {
        if self.weight + self.deletions.len() + self.count + weight > self.limit {
            self.end();
        }
    }

    /// Adds operations that are committed in this order and in one part, before all changes of elements in that part.
    pub fn operations(&mut self, operations: Vec<(Family, Operation)>) {
        let weights = operations.iter().map(|(family, operation)| self.weight_of(*family, operation));
        let weight = weights.sum();
        self.reserve(weight);
        self.weight += weight;
        for (family, operation) in &operations {
            if let Operation::AddSet(set) = operation {
                self.sizes.insert((*family, set.name.clone()), buckets(set));
            }
        }
        self.first.extend(operations);
    }

    fn weight_of(&self, family: Family, operation: &Operation) -> usize {
        let more = match operation {
            Operation::AddSet(set) => buckets(set) / MADE,
            Operation::AddRule { rule, .. } => {
                let sets = rule.statements.iter().flat_map(|statement| statement.sets());
                sets.filter_map(|set| self.sizes.get(&(family, set.clone()))).map(|size| size / WALKED).sum()
            }
            _ => 0,
        };
        WEIGHT + more as usize
    }

    /// Adds sets.
    pub fn sets<'s>(&mut self, family: Family, sets: impl Iterator<Item = &'s Set>) {
        for set in sets {
            self.operations(vec![(family, Operation::AddSet(Box::new(set.clone())))]);
        }
    }

    /// Adds chains, with their rules, which may lead from one of these chains to another.
    pub fn chains<'c>(&mut self, family: Family, chains: impl Iterator<Item = &'c Chain> + Clone) {
        for operation in made(family, chains) {
            self.operations(vec![operation]);
        }
    }

    /// Adds an element.
    pub fn add(&mut self, family: Family, set: &Arc<Set>, key: Concat, element: Element) {
        self.reserve(1);
        self.push(family, set, key, element);
    }

    /// Adds an element; a range waits for [`Parts::ranges`], because the kernel copies a whole set of ranges for every
    /// transaction that adds some.
    pub fn add_late_ranges(&mut self, family: Family, set: &Arc<Set>, key: Concat, element: Element) {
        if set.flags.interval {
            self.ranges.push((family, set.clone(), key, element));
        } else {
            self.add(family, set, key, element);
        }
    }

    /// Adds the ranges that waited.
    pub fn ranges(&mut self) {
        for (family, set, key, element) in mem::take(&mut self.ranges) {
            self.add(family, &set, key, element);
        }
    }

    fn push(&mut self, family: Family, set: &Arc<Set>, key: Concat, element: Element) {
        let is_same = |(f, s, _): &OfSet| *f == family && Arc::ptr_eq(s, set);
        // Usually it is the set of the previous element.
        let at = self.additions.iter().rposition(is_same).unwrap_or_else(|| {
            self.additions.push((family, set.clone(), Vec::new()));
            self.additions.len() - 1
        });
        self.additions[at].2.push((key, element));
        self.count += 1;
    }

    /// Adds, deletes and replaces elements; each change is in one part.
    pub fn elements(&mut self, changes: impl IntoIterator<Item = ElementChange>) {
        for change in changes {
            self.reserve(2);
            let ElementChange { family, set, key, before, after } = change;
            if let Some(before) = before {
                let deletion =
                    Operation::DeleteElement { set: set.clone(), key: key.clone(), end: before.end };
                self.deletions.push((family, deletion));
            }
            if let Some(element) = after {
                self.push(family, &set, key, element);
            }
        }
    }

    /// Ends the transaction: what follows is committed after it.
    pub fn end(&mut self) {
        let mut operations = mem::take(&mut self.first);
        self.weight = 0;
        operations.append(&mut self.deletions);
        operations.reserve(mem::take(&mut self.count));
        for (family, set, elements) in mem::take(&mut self.additions) {
            let additions = elements.into_iter().map(|(key, element)| {
                let set = set.clone();
                (family, Operation::AddElement { set, key, element })
            });
            operations.extend(additions);
        }
        if operations.is_empty() || !self.is_wanted {
            return;
        }
        self.limit = (self.limit * 2).min(PART);
        self.is_wanted = (self.take)(Transaction { table: self.table.clone(), operations });
    }
}

/// The operations that add chains, and then their rules.
pub(super) fn made<'c>(
    family: Family,
    chains: impl Iterator<Item = &'c Chain> + Clone,
) -> impl Iterator<Item = (Family, Operation)> {
    let declared = chains.clone().map(|chain| Chain { rules: Vec::new(), ..chain.clone() });
    let rules = chains.flat_map(|chain| {
        let rules = chain.rules.iter().cloned();
        rules.map(|rule| Operation::AddRule { chain: chain.name.clone(), rule })
    });
    declared
        .map(|chain| Operation::AddChain(Box::new(chain)))
        .chain(rules)
        .map(move |operation| (family, operation))
}

/// Number of elements for which the kernel makes buckets at once. A dynamic set grows with its elements.
fn buckets(set: &Set) -> u32 {
    set.size.filter(|_| !set.flags.dynamic).unwrap_or(0)
}
