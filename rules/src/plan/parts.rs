//! Cuts operations into transactions.

use std::{mem, sync::Arc};

use crate::{
    ruleset::{Chain, Concat, Element, Family, Name, Set},
    transaction::{Operation, Transaction},
};

use super::{ElementChange, PART};

/// Declared size from which on a set is made in a transaction of its own: its table of buckets has half a megabyte.
const LARGE: u32 = 1 << 16;

/// So many elements take the kernel as long as one chain or rule.
const WEIGHT: usize = 4;

/// Elements of one set.
type OfSet = (Family, Arc<Set>, Vec<(Concat, Element)>);

/// Cuts operations into transactions, and hands each to `take` as soon as it is full.
pub struct Parts<'a> {
    table: Name,
    limit: usize,
    take: &'a mut dyn FnMut(Transaction) -> bool,
    is_wanted: bool,
    /// The transaction that is being made: additions of elements, by set, deletions of elements before them, and all
    /// else before both.
    first: Vec<(Family, Operation)>,
    deletions: Vec<(Family, Operation)>,
    additions: Vec<OfSet>,
    /// Elements to be added.
    count: usize,
    /// Ranges that wait for [`Parts::ranges`].
    ranges: Vec<(Family, Arc<Set>, Concat, Element)>,
}

impl<'a> Parts<'a> {
    /// For the tables of this name. `take` says whether it wants more.
    pub fn new(table: &Name, take: &'a mut dyn FnMut(Transaction) -> bool) -> Self {
        Self {
            table: table.clone(),
            limit: PART,
            take,
            is_wanted: true,
            first: Vec::new(),
            deletions: Vec::new(),
            additions: Vec::new(),
            count: 0,
            ranges: Vec::new(),
        }
    }

    /// The same with fewer operations in the first part, and twice as many in each further one up to the limit: what
    /// takes them is soon at work too.
    #[must_use]
    pub fn starting_with(self, limit: usize) -> Self {
        Self { limit: limit.min(PART), ..self }
    }

    /// Whether more is wanted.
    pub const fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Ends the part if so many more operations do not fit in it.
    fn reserve(&mut self, operations: usize) {
        if self.first.len() * WEIGHT + self.deletions.len() + self.count + operations > self.limit {
            self.end();
        }
    }

    /// Operations that are committed in this order, before all changes of elements in their part. What makes a large
    /// set ends a part.
    pub fn operations(&mut self, operations: impl IntoIterator<Item = (Family, Operation)>) {
        for (family, operation) in operations {
            // A dynamic set grows with what is in it.
            let is_large = matches!(&operation, Operation::AddSet(set)
                if !set.flags.dynamic && set.size.is_some_and(|size| size >= LARGE));
            self.first.push((family, operation));
            if is_large {
                self.end();
            }
        }
    }

    /// Chains that come, with their rules, which may lead from one to another.
    pub fn chains<'c>(&mut self, family: Family, chains: impl Iterator<Item = &'c Chain> + Clone) {
        let declared = chains.clone().map(|chain| Chain { rules: Vec::new(), ..chain.clone() });
        for chain in declared {
            self.reserve(WEIGHT);
            self.operations([(family, Operation::AddChain(Box::new(chain)))]);
        }
        for chain in chains {
            self.reserve(WEIGHT * chain.rules.len());
            let rules = chain.rules.iter().cloned();
            self.operations(
                rules.map(|rule| (family, Operation::AddRule { chain: chain.name.clone(), rule })),
            );
        }
    }

    /// An element that comes.
    pub fn add(&mut self, family: Family, set: &Arc<Set>, key: Concat, element: Element) {
        self.reserve(1);
        self.push(family, set, key, element);
    }

    /// An element that comes; but a range only with [`Parts::ranges`]: the kernel copies a whole set of ranges for every
    /// transaction that adds some.
    pub fn add_late_ranges(&mut self, family: Family, set: &Arc<Set>, key: Concat, element: Element) {
        if set.flags.interval {
            self.ranges.push((family, set.clone(), key, element));
        } else {
            self.add(family, set, key, element);
        }
    }

    /// The ranges that waited.
    pub fn ranges(&mut self) {
        for (family, set, key, element) in mem::take(&mut self.ranges) {
            self.add(family, &set, key, element);
        }
    }

    fn push(&mut self, family: Family, set: &Arc<Set>, key: Concat, element: Element) {
        let is_same = |(f, s, _): &OfSet| *f == family && Arc::ptr_eq(s, set);
        // Neighbours are most often of one set.
        let at = self.additions.iter().rposition(is_same).unwrap_or_else(|| {
            self.additions.push((family, set.clone(), Vec::new()));
            self.additions.len() - 1
        });
        self.additions[at].2.push((key, element));
        self.count += 1;
    }

    /// Elements that come, go or change; each in one part.
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
