//! What becomes of a packet that is in flight while a transaction is committed.
//!
//! A packet does not see all changes of a transaction at once. Rules are of the generation that is in force when the
//! packet enters a base chain (`nft_do_chain` reads `gencursor` once). Each lookup finds the elements of the
//! generation that is in force at that lookup (`nft_genmask_cur`), so from some lookup on it finds the new elements. A
//! set of ranges gets its new contents even later, at the end of the commit (`nft_set_pipapo`: `->commit`); until then
//! elements that were removed are out of force and elements that were added are not there. Before Linux 6.17, a lookup
//! that begins before the generations change may find neither the old nor the new element of a key that is replaced.

use super::{
    commit::{Clock, Lookups},
    courses::LIMITS,
    draws::{Draws, SplitMix},
    memory::Memory,
    outcome::Case,
    packet::{Host, Packet},
    probability::Probability,
    walk::{Course, Machine, Stop},
};
use crate::ruleset::Ruleset;

/// A transaction that is being committed.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The ruleset before.
    pub before: &'a Ruleset,
    /// The ruleset after.
    pub after: &'a Ruleset,
    /// How the kernel handles lookups.
    pub lookups: Lookups,
}

impl Moment<'_> {
    /// Follows one of the ways of a packet, with the commit at some point of it, or at none. `seed` chooses the way; any
    /// seed is valid. The probability of the case has no meaning, since the time at which a packet arrives is not known.
    pub fn sample(&self, host: &Host, packet: &Packet, memory: &Memory, seed: u64) -> Case {
        let mut machine =
            Machine::new([self.before, self.after], host, packet, memory, LIMITS.rules_per_course);
        machine.commit.lookups = Some(self.lookups);
        let mut course = Course::new(&machine, Draws::Random(SplitMix(seed)));
        match course.run() {
            Ok(fate) | Err(Stop::End(fate)) => course.into_case(fate, Probability::new(1, 1)),
            Err(Stop::Draw(_)) => Case::cut_off(Probability::new(1, 1)),
        }
    }
}

impl Course<'_, '_> {
    /// Chooses whether the commit proceeds before the packet's next step. If that step is a lookup of an element that
    /// is `replaced`, returns whether the lookup finds neither version.
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
