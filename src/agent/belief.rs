//! What the reconciler believes of the kernel: a pure function of what happened.
//!
//! | belief | event | then |
//! |---|---|---|
//! | unknown | the kernel was read and made equal | certain |
//! | any other | a commit failed, or the rules themselves are to differ | doubt of everything, at once |
//! | any other | somebody else changed our tables | doubt of the sets that this touched, when a repair is due |
//! | any other | notifications were lost | doubt of the sets that have another number of elements, when a repair is due |
//! | certain | the time for a full comparison, and everything was heard since the last | the same |
//! | any other | the time for a full comparison | doubt of everything, at once |
//! | doubt | further doubt | both |
//! | doubt | the kernel was read and made equal | certain |
//!
//! While a doubt waits, changes are committed as if there were none.

use std::time::Instant;

use portolan_rules::ruleset::{Family, Set};

use crate::kernel::nftables::{Generation, Scope};

/// What is believed of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Belief {
    /// It was never read, and nothing was compiled for it.
    #[default]
    Unknown,
    /// It may differ from what was last compiled.
    InDoubt(Doubt),
    /// It holds what was last compiled.
    Certain(LastReading),
}

/// The last reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastReading {
    /// The generation then: what others did up to there was seen.
    pub generation: u32,
    /// Whether all elements were compared since notifications were last lost.
    pub is_complete: bool,
}

/// Why the kernel may differ, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    /// The last reading.
    pub reading: LastReading,
    /// The sets whose elements may differ. Declarations, chains and rules may differ in any case.
    pub sets: Sets,
    /// When to read for its own sake; `None` if the next reconcile reads, whatever its reason.
    pub due: Option<Instant>,
    /// Whether there is a difference that is our own doing.
    pub is_ours: bool,
    /// When others were first seen to change our tables, or notifications to be lost.
    pub seen: Option<Instant>,
    /// The last commit of others to our tables, if it is known.
    pub by: Option<Generation>,
}

/// Sets whose elements may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sets {
    /// All.
    All,
    /// Some.
    Some {
        /// These,
        named: Scope,
        /// and those that do not have as many elements as they should.
        miscounted: bool,
    },
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A commit was refused, or it is not known what came of it.
    Failed,
    /// The rules are to differ for reasons that no update holds.
    Differs,
    /// Another process changed our tables.
    Changed {
        /// The commit.
        by: Generation,
        /// The sets that it touched.
        sets: Scope,
        /// When that was seen.
        seen: Instant,
        /// When to undo it.
        due: Instant,
    },
    /// Notifications were lost, so that it is not known whether another process changed our tables.
    Lost {
        /// The sets that are known to be touched.
        sets: Scope,
        /// When that was seen.
        seen: Instant,
        /// When to look.
        due: Instant,
    },
    /// It is time for a full comparison.
    Period {
        /// Whether every commit up to the present was heard of, so that nothing can be different.
        heard_all: bool,
    },
    /// The kernel was read at this generation and made equal; only the elements of some sets, unless all.
    Compared {
        /// The generation at the reading.
        generation: u32,
        /// What was read.
        sets: Sets,
    },
}

/// What the next reconcile is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Commit what changed.
    Commit,
    /// Read the kernel, and commit the difference.
    Read(Sets),
}

impl Belief {
    /// What is believed after an event.
    #[must_use]
    pub(super) fn after(self, event: Event) -> Self {
        let reading = match (&self, &event) {
            (_, Event::Compared { generation, sets }) => {
                let was_complete = self.reading().is_some_and(|reading| reading.is_complete);
                let is_complete = match sets {
                    Sets::All => true,
                    Sets::Some { miscounted, .. } => was_complete && !miscounted,
                };
                return Self::Certain(LastReading { generation: *generation, is_complete });
            }
            (Self::Unknown, _) => return self,
            (Self::Certain(reading), Event::Period { heard_all: true }) if reading.is_complete => {
                return self;
            }
            (Self::Certain(reading) | Self::InDoubt(Doubt { reading, .. }), _) => *reading,
        };
        let none = Doubt { reading, sets: Sets::All, due: None, is_ours: false, seen: None, by: None };
        let more = match event {
            Event::Failed | Event::Period { .. } | Event::Compared { .. } => none,
            Event::Differs => Doubt { is_ours: true, ..none },
            Event::Changed { by, .. } if reading.saw(&by) => return self,
            Event::Changed { by, sets, seen, due } => Doubt {
                sets: Sets::Some { named: sets, miscounted: false },
                due: Some(due),
                seen: Some(seen),
                by: Some(by),
                ..none
            },
            Event::Lost { sets, seen, due } => Doubt {
                reading: LastReading { is_complete: false, ..reading },
                sets: Sets::Some { named: sets, miscounted: true },
                due: Some(due),
                seen: Some(seen),
                ..none
            },
        };
        Self::InDoubt(match self {
            Self::InDoubt(doubt) => doubt.and(more),
            Self::Unknown | Self::Certain(_) => more,
        })
    }

    /// What the next reconcile does.
    pub(super) fn action(&self, now: Instant) -> Action {
        match self {
            Self::Unknown => Action::Read(Sets::All),
            Self::InDoubt(doubt) if doubt.due.is_none_or(|due| due <= now) => {
                Action::Read(doubt.sets.clone())
            }
            Self::InDoubt(_) | Self::Certain(_) => Action::Commit,
        }
    }

    /// When to reconcile for this reason alone.
    pub(super) fn due(&self) -> Option<Instant> {
        self.doubt().and_then(|doubt| doubt.due)
    }

    /// The doubt, if there is any.
    pub(super) fn doubt(&self) -> Option<&Doubt> {
        match self {
            Self::InDoubt(doubt) => Some(doubt),
            Self::Unknown | Self::Certain(_) => None,
        }
    }

    /// Whether others are known to have changed our tables, and the repair waits.
    pub(super) fn is_contested(&self) -> bool {
        self.doubt().is_some_and(|doubt| doubt.due.is_some() && doubt.by.is_some())
    }

    fn reading(&self) -> Option<LastReading> {
        match self {
            Self::Unknown => None,
            Self::InDoubt(Doubt { reading, .. }) | Self::Certain(reading) => Some(*reading),
        }
    }
}

impl LastReading {
    /// Whether it saw what this commit did. Generations wrap around.
    fn saw(self, by: &Generation) -> bool {
        by.id.wrapping_sub(self.generation).cast_signed() <= 0
    }
}

impl Doubt {
    fn and(self, more: Self) -> Self {
        let is_complete = self.reading.is_complete && more.reading.is_complete;
        Self {
            reading: LastReading { is_complete, ..self.reading },
            sets: self.sets.and(more.sets),
            due: self.due.zip(more.due).map(|(a, b)| a.min(b)),
            is_ours: self.is_ours || more.is_ours,
            seen: self.seen.or(more.seen),
            by: more.by.or(self.by),
        }
    }

    /// The thread that changed our tables: its name, and its number in the initial namespace.
    pub(super) fn by(&self) -> Option<String> {
        self.by.as_ref().map(|generation| format!("{}[{}]", generation.process, generation.thread))
    }
}

impl Sets {
    fn and(self, more: Self) -> Self {
        match (self, more) {
            (Self::Some { mut named, miscounted }, Self::Some { named: others, miscounted: also }) => {
                named.extend(others);
                Self::Some { named, miscounted: miscounted || also }
            }
            _ => Self::All,
        }
    }

    /// Whether a set is one of them, given how many elements it should have, if that is known, and has.
    pub(super) fn contain(&self, family: Family, set: &Set, wanted: Option<u32>, count: Option<u32>) -> bool {
        match self {
            Self::All => true,
            Self::Some { named, miscounted } => {
                named.contains(&(family, set.name.clone()))
                    || *miscounted && (count.is_none() || wanted != count)
            }
        }
    }
}

#[cfg(test)]
mod tests;
