//! What others did to our tables, and when to undo it.

use std::time::Instant;

use portolan_rules::{
    ruleset::{Family, Ruleset},
    transaction::Operation,
};

use super::{Agent, ForeignChange, Tables};
use crate::kernel::{Generation, Scope};

/// What others did since the kernel was last read.
#[derive(Clone, Debug)]
pub(super) struct Drift {
    /// When the first of it was seen.
    pub seen: Instant,
    /// When to undo it.
    pub due: Instant,
    /// The sets that it touched; `None` if that is not known.
    pub scope: Option<Scope>,
    /// The last known commit.
    pub by: Option<Generation>,
}

impl Drift {
    /// Who it was: the name of the thread, and its number as the whole machine knows it.
    pub(super) fn by(&self) -> String {
        self.by.as_ref().map_or_else(
            || "somebody".to_owned(),
            |generation| format!("{}[{}]", generation.process, generation.thread),
        )
    }
}

/// What was read of the kernel, and what came of it.
pub(super) struct Reading {
    /// The tables.
    pub kernel: Ruleset,
    /// The generation before.
    pub generation: u32,
    /// The sets whose elements were read; `None` for all.
    pub scope: Option<Scope>,
    /// What must be done first, to own the tables.
    pub first: Vec<(Family, Operation)>,
    /// What was different that is not our own doing.
    pub found: String,
    /// How many operations undo that.
    pub found_operations: usize,
}

impl Reading {
    /// Whether the kernel holds nothing of ours.
    pub(super) fn is_blank(&self) -> bool {
        self.kernel.tables.is_empty() && self.first.is_empty()
    }
}

impl<T: Tables> Agent<T> {
    /// Notes that somebody else changed our tables.
    pub fn foreign(&mut self, change: ForeignChange) {
        let seen = |by: &Generation| {
            // Generations wrap around.
            self.checked.is_some_and(|checked| by.id.wrapping_sub(checked).cast_signed() <= 0)
        };
        if change.by.as_ref().is_some_and(seen) {
            return;
        }
        let now = Instant::now();
        let delay = self.fight.delay(now);
        if !delay.is_zero() {
            self.health.set_contested(true);
        }
        let drift = self.drift.get_or_insert_with(|| Drift {
            seen: now,
            due: now + delay,
            scope: Some(Scope::new()),
            by: None,
        });
        if change.by.is_none() {
            drift.scope = None;
        }
        if let Some(scope) = &mut drift.scope {
            let sets = change.sets.into_iter();
            scope.extend(sets.map(|(family, set)| (family, self.kernel.plain_name(family, &set))));
        }
        drift.by = change.by.or(drift.by.take());
        self.queued();
    }

    /// When a repair is due, if there is something to repair.
    pub(super) fn repair_due(&self) -> Option<Instant> {
        self.drift.as_ref().map(|drift| drift.due)
    }
}
