//! A transaction that is being committed, as a packet sees it.

use crate::ruleset::{Concat, DataType, Element, Name, Set, Table, Value};

/// What a kernel does about a lookup during which the generations change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookups {
    /// It repeats it (since Linux 6.17).
    Repeated,
    /// Nothing: of an element that is replaced, the lookup may find neither version.
    Once,
}

/// How far the commit is, as far as a packet has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Clock {
    /// The old generation is in force.
    #[default]
    Before,
    /// The new one is, but sets of ranges have no new elements yet.
    Flipped,
    /// All is done.
    After,
}

/// The table of a packet's family, before and after.
pub(super) struct Commit<'a> {
    tables: [Option<&'a Table>; 2],
    /// `None` if no commit is under way.
    pub(super) lookups: Option<Lookups>,
}

impl<'a> Commit<'a> {
    pub(super) const fn new(tables: [Option<&'a Table>; 2]) -> Self {
        Self { tables, lookups: None }
    }

    /// The table whose rules a packet meets that enters a base chain now.
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

    /// Whether the element of a key is replaced by another.
    pub(super) fn replaces(&self, set: &Name, key: &Concat) -> bool {
        self.lookups == Some(Lookups::Once)
            && matches!(self.versions(set, key), [Some(before), Some(after)] if before != after)
    }

    /// What a lookup finds.
    pub(super) fn element(&self, name: &Name, key: &Concat, clock: Clock) -> Option<&'a Element> {
        let [before, after] = self.versions(name, key);
        let is_range = self.set(name).is_some_and(|set| set.flags.interval);
        let found = match clock {
            Clock::Before => before,
            Clock::Flipped if is_range => before.filter(|before| {
                // What was removed is out of force, what was added is not there yet.
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
    // Values of one type compare by number, also those that the kernel keeps in host order.
    key.iter().zip(start.iter().zip(&end)).all(|(key, (start, end))| start <= key && key <= end)
}
