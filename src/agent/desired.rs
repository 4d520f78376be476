//! What the kernel must hold: the compiled ruleset, and what an incomplete input does not account for.

use std::time::Instant;

use portolan_rules::{
    incremental::plan::is_made_anew,
    restart::leftovers::keep_leftovers,
    ruleset::{Elements, Ruleset, Transaction},
};

use super::{
    compiled::Compiled,
    core::Agent,
    first::{self, Adopted},
};
use crate::{
    kernel::nftables::{Scope, Tables},
    observe::report::Cause,
};

impl<T: Tables> Agent<T> {
    /// Makes the endpoint ids of session affinity begin at another number at every start: clients may still have ids of
    /// an earlier run.
    pub(super) fn number(&mut self) {
        // An odd factor puts the numbers of successive seconds far apart.
        let now = jiff::Timestamp::now().as_second().unsigned_abs();
        self.compiler.set_number_origin(now.wrapping_mul(40_503) as u16);
    }

    /// Compiles everything for the first time.
    pub(super) fn load(&mut self, kernel: &Ruleset, guess: (Option<Compiled>, Option<Ruleset>)) -> Adopted {
        let started = Instant::now();
        let loaded = first::load(&mut self.compiler, &mut self.state, kernel, guess);
        self.report_problems(&loaded.problems);
        self.report.compile += started.elapsed();
        loaded
    }

    /// Compiles what changed.
    pub(super) fn compile(&mut self) -> Vec<Transaction> {
        let started = Instant::now();
        let update = self.compiler.update(&mut self.state);
        self.report_problems(&update.problems);
        self.stale_flows.note(&self.compiler, &update.stale, self.input_incomplete);
        let mut steps = update.steps;
        if let Some(leftovers) = &mut self.leftovers
            && leftovers.follow(&self.compiler, &mut self.state)
        {
            let update = self.compiler.update(&mut self.state);
            self.stale_flows.note(&self.compiler, &update.stale, self.input_incomplete);
            steps.extend(update.steps);
        }
        self.report.compile += started.elapsed();
        steps
    }

    /// Returns the compiled ruleset, and what an incomplete input does not account for. With `hold`, what is held back
    /// stays as it is in `kernel`.
    pub(super) fn compiled(&self, kernel: &Ruleset, hold: bool) -> Ruleset {
        let mut desired = self.compiler.ruleset();
        if let Some(leftovers) = &self.leftovers {
            leftovers.keep(&mut desired, &self.compiler);
        }
        if hold {
            keep_leftovers(&mut desired, kernel, &self.compiler);
        }
        desired
    }

    /// Returns what the kernel must hold. Sets outside the scope were not read: they hold what they should.
    pub(super) fn desired(&mut self, kernel: &Ruleset, scope: Option<&Scope>) -> Ruleset {
        if kernel.tables.is_empty() && self.leftovers.is_none() {
            // Flows may be older than the rules.
            self.stale_flows.note_all(&self.compiler);
            return self.compiler.ruleset();
        }
        let mut desired = self.compiled(kernel, self.isolation.is_searching());
        if let Some(scope) = scope {
            self.stale_flows.note_all(&self.compiler);
            leave_unread(&mut desired, kernel, scope);
        } else {
            let is_first = self.report.cause == Cause::Start;
            let both = [kernel, &desired];
            self.stale_flows.note_compared(&self.compiler, both, is_first, self.input_incomplete);
        }
        desired
    }
}

/// Removes from `desired` the elements of sets that were not read and that stay.
fn leave_unread(desired: &mut Ruleset, kernel: &Ruleset, scope: &Scope) {
    for (family, table) in &mut desired.tables {
        let Some(read) = kernel.tables.get(family) else { continue };
        // A table that cannot be changed in place is made anew, with everything that it holds.
        if is_made_anew(read, table) {
            continue;
        }
        for set in table.sets.values_mut() {
            let stays = read.sets.get(&set.name).is_some_and(|read| read.same_declaration(set));
            if stays && !scope.contains(&(*family, set.name.clone())) {
                set.elements = Elements::new();
            }
        }
    }
}
