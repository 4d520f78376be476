//! A transaction that is being committed, as a packet sees it.

use crate::ruleset::{Concat, DataType, Element, Name, Set, Table, Value};

/// How a kernel handles a lookup during which the generation changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookups {
    /// The kernel repeats the lookup (since Linux 6.17).
    Repeated,
    /// The kernel does nothing: if an element is replaced, the lookup may find neither version.
    Once,
}

/// How much of the commit a packet has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Clock {
    /// The old generation is in force.
    #[default]
    Before,
    /// The new generation is in force, but sets of ranges have no new elements yet.
    Flipped,
    /// The commit is complete.
    After,
}

/// The table of a packet's family, before and after the commit.
pub(super) struct Commit<'a> {
    tables: [Option<&'a Table>; 2],
    /// `None` if no commit is under way.
    pub(super) lookups: Option<Lookups>,
}

impl<'a> Commit<'a> {
    pub(super) const fn new(tables: [Option<&'a Table>; 2]) -> Self {
        Self { tables, lookups: None }
    }

    /// The table whose rules apply to a packet that enters a base chain now.
    pub(super) const fn rules(&self, clock: Clock) -> Option<&'a Table> {
        let [before, after] = self.tables;
        if matches!(clock, Clock::Before) { before } else { after }
    }

    fn each_table(&self) -> impl Iterator<Item = &'a Table> {
        self.tables.into_iter().flatten()
    }

    /// The declaration of a set.
    pub(super) fn set(&self, name: &Name) -> Option<&'a Set> {
        self.each_table().find_map(|table| table.sets.get(name))
    }

    /// Whether a chain exists, in either generation.
    pub(super) fn has_chain(&self, name: &Name) -> bool {
        self.each_table().any(|table| table.chains.contains_key(name))
    }

    fn versions(&self, set: &Name, key: &Concat) -> [Option<(&'a Concat, &'a Element)>; 2] {
        self.tables.map(|table| element_at(table?.sets.get(set)?, key))
    }

    /// Whether the commit replaces the element of a key, and a lookup may find neither version.
    pub(super) fn replaces(&self, set: &Name, key: &Concat) -> bool {
        self.lookups == Some(Lookups::Once)
            && matches!(self.versions(set, key), [Some(before), Some(after)] if before != after)
    }

    /// Returns the element that a lookup finds.
    pub(super) fn element(&self, name: &Name, key: &Concat, clock: Clock) -> Option<&'a Element> {
        let [before, after] = self.versions(name, key);
        let is_range = self.set(name).is_some_and(|set| set.flags.interval);
        let found = match clock {
            Clock::Before => before,
            Clock::Flipped if is_range => before.filter(|before| {
                // Removed elements are out of force, and added elements are not there yet.
                let set = self.tables[1].and_then(|table| table.sets.get(name));
                set.and_then(|set| set.elements.get_key_value(before.0)) == Some(*before)
            }),
            Clock::Flipped | Clock::After => after,
        };
        found.map(|(_, element)| element)
    }
}

/// The element of a set at a key.
fn element_at<'a>(set: &'a Set, key: &Concat) -> Option<(&'a Concat, &'a Element)> {
    if !set.flags.interval {
        return set.elements.get_key_value(key);
    }
    let values = key.values(&set.key)?;
    set.elements.iter().find(|(start, element)| covers(&set.key, start, element, &values))
}

/// Whether an element of an interval set covers a key: each field lies in that field's range.
fn covers(types: &[DataType], start: &Concat, element: &Element, key: &[Value]) -> bool {
    let end = element.end.as_deref().unwrap_or(start);
    let (Some(start), Some(end)) = (start.values(types), end.values(types)) else { return false };
    // Values of one type compare by number, including values that the kernel stores in host order.
    key.iter().zip(start.iter().zip(&end)).all(|(key, (start, end))| start <= key && key <= end)
}
