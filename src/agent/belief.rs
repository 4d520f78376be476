//! What the reconciler believes about the kernel: a pure function of observations.
//!
//! | belief | observation | then |
//! |---|---|---|
//! | unknown | the kernel was read and made equal | certain |
//! | any other | a commit failed, and its operations are known | doubt of what they change, at once |
//! | any other | another commit failed, or rules must change that no update contains | doubt of everything, at once |
//! | any other | another process changed only elements of our tables | doubt of these elements, when a repair is due |
//! | any other | another process changed more of our tables | doubt of the sets that it touched, when a repair is due |
//! | any other | notifications were lost | doubt of the sets with a wrong number of elements, when a repair is due |
//! | any other | a commit of another process may have been missed | the same |
//! | certain | a full comparison is due, but every commit since the last one was noticed | unchanged |
//! | any other | a full comparison of few elements is due | doubt of everything, at once |
//! | any other | a full comparison of many elements is due | unchanged, and a comparison in parts begins |
//! | any other | all parts were compared | doubt of the rest, and of sets with a wrong number of elements, at once |
//! | doubt | further doubt | both |
//! | doubt | the kernel was read and made equal | certain, except for what may have been missed since the reading |
//!
//! While a doubt waits, changes are committed as if there were no doubt.

use std::time::Instant;

use portolan_rules::ruleset::{Family, Set};

use super::event::Touched;
use crate::kernel::nftables::{Generation, Scope};

/// What is believed about the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Belief {
    /// The kernel was never read, and nothing was compiled for it.
    #[default]
    Unknown,
    /// The kernel may differ from what was last compiled.
    InDoubt(Doubt),
    /// The kernel holds what was last compiled.
    Certain(LastReading),
}

/// The last reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastReading {
    /// The generation at the reading: other processes' commits up to this generation were seen.
    pub generation: u32,
    /// Whether all elements were compared since notifications were last lost.
    pub compared: Compared,
}

/// How far the elements without a known change were compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// They were not compared since notifications were lost.
    No,
    /// They are to be compared, in parts, between commits.
    Due,
    /// Some parts were compared.
    UnderWay {
        /// Whether notifications were lost since the first part.
        lost: bool,
    },
    /// All were compared since notifications were last lost.
    All,
}

impl Compared {
    /// Returns the state after notifications were lost.
    const fn lost(self) -> Self {
        match self {
            Self::Due => Self::Due,
            // Each part is still compared once: differences from before the first part are found.
            Self::UnderWay { .. } => Self::UnderWay { lost: true },
            Self::No | Self::All => Self::No,
        }
    }
}

/// Why the kernel may differ, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    /// The last reading.
    pub reading: LastReading,
    /// What may differ.
    pub sets: Sets,
    /// When to read because of this doubt alone; `None` if the next reconcile reads, whatever its cause.
    pub due: Option<Instant>,
    /// Whether there is a difference that is our own doing.
    pub is_ours: bool,
    /// When it was first noticed that another process changed our tables, or that notifications were lost.
    pub seen: Option<Instant>,
    /// The last commit of another process to our tables, if it is known.
    pub by: Option<Generation>,
    /// The last commits that may have been missed: an earlier reading does not settle the doubt about them.
    pub missed: Option<Missed>,
}

/// Commits of other processes that may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missed {
    /// The generation up to which commits may have been missed. A reading at this generation has seen them.
    pub generation: u32,
    /// When it was noticed that commits may have been missed.
    pub seen: Instant,
    /// When to look.
    pub due: Instant,
}

/// What may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sets {
    /// Everything.
    All,
    /// Declarations, chains and rules, and the elements of some sets.
    Some {
        /// The sets that are named.
        named: Scope,
        /// Whether sets with a wrong number of elements are added.
        miscounted: bool,
    },
    /// These elements, and nothing else. Each belongs to a set that has parts.
    Only(Touched),
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) enum Observation {
    /// A commit was refused, or its outcome is unknown.
    Failed,
    /// A commit failed whose operations are known. Its elements are repaired by their keys, except those of `sets`.
    Unsent {
        /// Sets whose elements are read instead.
        sets: Scope,
    },
    /// Rules must change for a reason that no update contains.
    Differs,
    /// Another process changed our tables.
    Changed {
        /// The commit.
        by: Generation,
        /// What it touched.
        sets: Sets,
        /// When that was seen.
        seen: Instant,
        /// When to undo it.
        due: Instant,
    },
    /// Notifications were lost, so that it is unknown whether another process changed our tables.
    Lost {
        /// The sets that are known to be touched.
        sets: Scope,
        /// When that was seen.
        seen: Instant,
        /// When to look.
        due: Instant,
    },
    /// A commit of another process may have been missed.
    Missed(Missed),
    /// It is time for a full comparison.
    Period {
        /// Whether every commit up to the present was noticed, so that nothing can be different.
        noticed_all: bool,
        /// Whether there are so many elements that they are compared in parts.
        in_parts: bool,
    },
    /// The comparison in parts begins.
    Begun,
    /// The comparison in parts ended.
    Checked {
        /// The sets that have no parts.
        rest: Scope,
        /// When the comparison ended.
        now: Instant,
    },
    /// The kernel was read at this generation and made equal, as far as `sets` goes.
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
    /// Returns what is believed after an observation.
    #[must_use]
    pub(super) fn after(self, observed: Observation) -> Self {
        let reading = match (&self, &observed) {
            (_, Observation::Compared { generation, sets }) => {
                let before = self.reading().map_or(Compared::No, |reading| reading.compared);
                let compared = if *sets == Sets::All { Compared::All } else { before };
                let reading = LastReading { generation: *generation, compared };
                let missed = self.doubt().and_then(|doubt| doubt.missed);
                let missed_since = missed.filter(|missed| !reading.saw(missed.generation));
                let certain = Self::Certain(reading);
                return match missed_since {
                    Some(missed) => certain.after(Observation::Missed(missed)),
                    None => certain,
                };
            }
            (Self::Unknown, _) => return self,
            (Self::Certain(reading), Observation::Period { noticed_all: true, .. })
                if reading.compared == Compared::All =>
            {
                return self;
            }
            (_, Observation::Period { in_parts: true, .. }) => {
                return if self.checks().is_some() { self } else { self.with(Compared::Due) };
            }
            (_, Observation::Begun) => return self.with(Compared::UnderWay { lost: false }),
            (Self::Certain(reading) | Self::InDoubt(Doubt { reading, .. }), _) => *reading,
        };
        let none =
            Doubt { reading, sets: Sets::All, due: None, is_ours: false, seen: None, by: None, missed: None };
        let lost = |sets, seen, due| Doubt {
            reading: LastReading { compared: reading.compared.lost(), ..reading },
            sets: Sets::Some { named: sets, miscounted: true },
            due: Some(due),
            seen: Some(seen),
            ..none.clone()
        };
        let more = match observed {
            Observation::Failed
            | Observation::Period { .. }
            | Observation::Compared { .. }
            | Observation::Begun => none,
            Observation::Checked { rest, now } => Doubt {
                reading: LastReading {
                    compared: match reading.compared {
                        Compared::UnderWay { lost: false } => Compared::All,
                        Compared::UnderWay { lost: true } => Compared::No,
                        other => other,
                    },
                    ..reading
                },
                sets: Sets::Some { named: rest, miscounted: true },
                due: Some(now),
                ..none
            },
            Observation::Unsent { sets } => {
                Doubt { sets: Sets::Some { named: sets, miscounted: false }, ..none }
            }
            Observation::Differs => Doubt { is_ours: true, ..none },
            Observation::Changed { by, .. } if reading.saw(by.id) => return self,
            Observation::Changed { by, sets, seen, due } => {
                Doubt { sets, due: Some(due), seen: Some(seen), by: Some(by), ..none }
            }
            Observation::Lost { sets, seen, due } => lost(sets, seen, due),
            Observation::Missed(missed) => {
                Doubt { missed: Some(missed), ..lost(Scope::new(), missed.seen, missed.due) }
            }
        };
        Self::InDoubt(match self {
            Self::InDoubt(doubt) => doubt.and(more),
            Self::Unknown | Self::Certain(_) => more,
        })
    }

    /// Returns what the next reconcile does.
    pub(super) fn action(&self, now: Instant) -> Action {
        match self {
            Self::Unknown => Action::Read(Sets::All),
            Self::InDoubt(doubt) if doubt.due.is_none_or(|due| due <= now) => {
                Action::Read(doubt.sets.clone())
            }
            Self::InDoubt(_) | Self::Certain(_) => Action::Commit,
        }
    }

    /// Returns when to reconcile because of a doubt alone.
    pub(super) fn due(&self) -> Option<Instant> {
        self.doubt().and_then(|doubt| doubt.due)
    }

    /// Returns the doubt, if there is any.
    pub(super) fn doubt(&self) -> Option<&Doubt> {
        match self {
            Self::InDoubt(doubt) => Some(doubt),
            Self::Unknown | Self::Certain(_) => None,
        }
    }

    /// Whether another process is known to have changed our tables, and the repair waits.
    pub(super) fn is_contested(&self) -> bool {
        self.doubt().is_some_and(|doubt| doubt.due.is_some() && doubt.by.is_some())
    }

    /// Returns how far a comparison in parts is, if one is due or under way.
    pub(super) fn checks(&self) -> Option<Compared> {
        let compared = self.reading()?.compared;
        matches!(compared, Compared::Due | Compared::UnderWay { .. }).then_some(compared)
    }

    /// Returns the same belief, with the elements compared this far.
    fn with(mut self, compared: Compared) -> Self {
        match &mut self {
            Self::Unknown => {}
            Self::InDoubt(Doubt { reading, .. }) | Self::Certain(reading) => reading.compared = compared,
        }
        self
    }

    fn reading(&self) -> Option<LastReading> {
        match self {
            Self::Unknown => None,
            Self::InDoubt(Doubt { reading, .. }) | Self::Certain(reading) => Some(*reading),
        }
    }
}

impl LastReading {
    /// Whether the reading saw the commit of this generation. Generations wrap around.
    fn saw(self, generation: u32) -> bool {
        generation.wrapping_sub(self.generation).cast_signed() <= 0
    }
}

impl Doubt {
    fn and(self, more: Self) -> Self {
        Self {
            // The later doubt knows how far elements were compared.
            reading: more.reading,
            sets: self.sets.and(more.sets),
            due: self.due.zip(more.due).map(|(a, b)| a.min(b)),
            is_ours: self.is_ours || more.is_ours,
            seen: self.seen.or(more.seen),
            by: more.by.or(self.by),
            missed: more.missed.or(self.missed),
        }
    }

    /// Returns the thread that changed our tables: its name, and its number in the initial namespace.
    pub(super) fn by(&self) -> Option<String> {
        self.by.as_ref().map(|generation| format!("{}[{}]", generation.process, generation.thread))
    }
}

impl Sets {
    /// Declarations, chains and rules, without elements.
    pub(super) const NONE: Self = Self::Some { named: Scope::new(), miscounted: false };

    fn and(self, more: Self) -> Self {
        match (self, more) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Only(some), Self::Only(more)) => {
                let named = some.sets().chain(more.sets()).cloned().collect();
                some.and(more).map_or(Self::Some { named, miscounted: false }, Self::Only)
            }
            (Self::Some { mut named, miscounted }, Self::Some { named: others, miscounted: also }) => {
                named.extend(others);
                Self::Some { named, miscounted: miscounted || also }
            }
            (Self::Some { mut named, miscounted }, Self::Only(elements))
            | (Self::Only(elements), Self::Some { mut named, miscounted }) => {
                named.extend(elements.sets().cloned());
                Self::Some { named, miscounted }
            }
        }
    }

    /// Whether `set` is one of these sets. `wanted` is the number of elements that it should have, `count` the number
    /// that it has, if known.
    pub(super) fn contain(&self, family: Family, set: &Set, wanted: Option<u32>, count: Option<u32>) -> bool {
        match self {
            Self::All => true,
            Self::Some { named, miscounted } => {
                named.contains(&(family, set.name.clone()))
                    || *miscounted && (count.is_none() || wanted != count)
            }
            Self::Only(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
