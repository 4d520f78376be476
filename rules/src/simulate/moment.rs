//! The moment between: what becomes of a packet that is under way while a transaction is committed.
//!
//! The kernel does not show a packet all of a transaction at once. Rules are of the generation that is in force when
//! the packet enters a base chain (`nft_do_chain` reads `gencursor` once). Each lookup finds the elements of the
//! generation that is in force at that lookup (`nft_genmask_cur`), so from some lookup on the new ones. A set of ranges
//! gets its new contents later still, at the end of the commit (`nft_set_pipapo`: `->commit`); until then elements
//! that were removed are out of force and elements that were added are not there. Before Linux 6.17, a lookup that
//! begins before the generations change may find neither the old nor the new element of a key that is replaced.

use crate::ruleset::{Concat, Element, Name, Ruleset, Set, Table};

use super::{
    Case, Host, LIMITS, Memory, Outcome, Packet, Probability,
    evaluate::element_at,
    every_course,
    walk::{Course, Draws, Machine, Stop},
};

/// What a kernel does about a lookup during which the generations change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookups {
    /// It repeats it (since Linux 6.17).
    Repeated,
    /// Nothing: of an element that is replaced, the lookup may find neither version.
    Once,
}

/// A transaction that is being committed.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The ruleset before.
    pub before: &'a Ruleset,
    /// The ruleset after.
    pub after: &'a Ruleset,
    /// What the kernel does about lookups.
    pub lookups: Lookups,
}

impl Moment<'_> {
    /// Every fate of a packet, for a commit at any point of its way, or at none. The
    /// probabilities mean nothing: it is not known when a packet comes.
    pub fn outcome(&self, host: &Host, packet: &Packet, memory: &Memory) -> Outcome {
        every_course(LIMITS, &self.machine(host, packet, memory))
    }

    /// One of these ways, chosen by `seed`: any number.
    pub fn sample(&self, host: &Host, packet: &Packet, memory: &Memory, seed: u64) -> Case {
        let machine = self.machine(host, packet, memory);
        let mut course = Course::new(&machine, Draws::Random(SplitMix(seed)));
        match course.run() {
            Ok(fate) | Err(Stop::End(fate)) => course.into_case(fate, Probability::new(1, 1)),
            Err(Stop::Draw(_)) => Case::cut_off(Probability::new(1, 1)),
        }
    }

    fn machine<'a>(&'a self, host: &'a Host, packet: &'a Packet, memory: &'a Memory) -> Machine<'a> {
        let mut machine =
            Machine::new([self.before, self.after], host, packet, memory, LIMITS.rules_per_course);
        machine.commit.lookups = Some(self.lookups);
        machine
    }
}

/// Steele, Lea and Flood's generator: every seed gives another sequence.
pub(super) struct SplitMix(u64);

impl SplitMix {
    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
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
    lookups: Option<Lookups>,
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

impl Course<'_, '_> {
    /// Lets the commit go on, or not, before the packet's next step. If that is a lookup of an element that is
    /// `replaced`, returns whether it finds neither version.
    pub(super) fn pass(&mut self, replaced: bool) -> Result<bool, Stop> {
        if self.machine.commit.lookups.is_none() {
            return Ok(false);
        }
        let choices = match self.clock {
            Clock::Before if replaced => 4,
            Clock::Before => 3,
            Clock::Flipped => 2,
            Clock::After => return Ok(false),
        };
        let choice = self.draw(choices)?;
        self.clock = match (self.clock, choice) {
            (clock, 0) => clock,
            (Clock::Before, 2 | 3) => Clock::Flipped,
            _ => Clock::After,
        };
        Ok(choice == 3)
    }
}
