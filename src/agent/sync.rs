//! One reconcile: compile, compare, commit.

use std::time::Instant;

use portolan_rules::{
    compile::Loaded,
    restart::leftovers::Leftovers,
    ruleset::{Family, Operation, Ruleset, Transaction, diff::diff},
};
use tracing::{debug, warn};

use super::{
    belief::{self, Action, Belief, Doubt, Sets},
    cold_start::{ColdStart, cold_start},
    core::{Agent, SyncError, Synced},
    describe::describe,
    first::{self, Adopted},
    large::Equal,
    node::NodeFacts,
    reading::{Known, Reading},
    refusal::{is_attributable, is_denied, is_outrun, is_structural},
};
use crate::{
    kernel::nftables::{Error, Ownership, Tables},
    observe::report::{Cause, Reconcile, Report},
};

/// How many times the kernel is read at most, if another process changes something between reading and writing.
const READINGS: usize = 3;
/// Commits of more operations than this are made unsubscribed: the kernel would write a notification for each element,
/// more notifications than a socket holds.
const UNSUBSCRIBED: usize = 2_000;

impl<T: Tables> Agent<T> {
    /// Makes the kernel equal to the state.
    pub fn sync(&mut self) -> Result<Synced, SyncError> {
        self.sync_for(Cause::Change)
    }

    /// Makes the kernel equal to the state, for this cause. Reports what was done, and how long it took.
    pub fn sync_for(&mut self, cause: Cause) -> Result<Synced, SyncError> {
        let started = Instant::now();
        self.report.cause = if self.belief == Belief::Unknown { Cause::Start } else { cause };
        let outcome = self.try_sync(cause);
        if outcome.is_ok() {
            self.service_health.update(&self.state);
            self.localhost.update(&self.state);
            self.observer.report(Report::Programmed(&self.state, &self.compiler));
        }
        let mut report = std::mem::take(&mut self.report);
        report.succeeded = outcome.is_ok();
        report.error = outcome.as_ref().err().map(ToString::to_string);
        report.duration = started.elapsed();
        report.quarantined = self.state.quarantined().len();
        report.sets = self.compiler.sizes().collect();
        report.classes = self.compiler.class_counts();
        if !report.succeeded {
            self.report.triggers = std::mem::take(&mut report.triggers);
        }
        self.observer.report(Report::Reconciled(&report));
        let operations = report.operations.iter().sum();
        let large = report.full || operations > UNSUBSCRIBED;
        debug!(
            cause = ?report.cause,
            full = report.full,
            operations,
            messages = report.commit.messages,
            bytes = report.commit.bytes,
            dump = ?report.dump,
            compile = ?report.compile,
            encode = ?report.commit.encode,
            kernel = ?report.commit.kernel,
            duration = ?report.duration,
            "Reconciled"
        );
        // Health comes last: when it reports that the kernel is in sync, everything else has been reported.
        self.health.set_quarantined(self.quarantined());
        if outcome.is_ok() {
            self.health.synced();
            self.health.set_contested(self.belief.is_contested());
        } else {
            self.health.out_of_sync();
        }
        outcome.map(|unfinished| Synced { operations, large, unfinished })
    }

    /// Returns whether something is left to do.
    fn try_sync(&mut self, cause: Cause) -> Result<bool, SyncError> {
        let mut unfinished = false;
        if std::mem::take(&mut self.node_changed) {
            if !self.host_addresses.read() {
                (self.node_changed, unfinished) = (true, true);
            }
            let facts = NodeFacts::with_host(&self.settings, self.state.node(), &self.host_addresses);
            self.service_health.set_addresses(&facts.health_check_addresses);
            self.localhost.set_addresses(&facts.node_port_addresses);
            if facts.apply(&mut self.compiler, &mut self.state) {
                self.note(belief::Observation::Differs);
            }
        }
        if cause == Cause::Period {
            self.release_quarantined();
            let noticed_all = self.noticed_all().unwrap_or(false);
            self.note(belief::Observation::Period { noticed_all, in_parts: self.compares_in_parts() });
            if self.belief.doubt().is_none() && !self.is_checking() {
                debug!("Every commit since the last reading was noticed: there is nothing to compare");
            }
        }
        self.isolation.touched.extend(self.state.dirty().iter().cloned());
        self.service_health.note(&self.state);
        self.localhost.note(&self.state);
        match self.belief.action(Instant::now()) {
            Action::Commit if self.isolation.is_searching() => self.full(cause, Sets::All)?,
            Action::Commit => self.incremental(cause)?,
            Action::Read(Sets::All) => self.full(cause, Sets::All)?,
            Action::Read(_) => {
                // Changes of the state first: they may be about sets that are not read.
                self.incremental(cause)?;
                match self.belief.action(Instant::now()) {
                    Action::Commit => {}
                    Action::Read(Sets::Only(elements)) => self.repair(cause, elements)?,
                    Action::Read(sets) => self.full(cause, sets)?,
                }
                if !self.unsent.operations.is_empty() {
                    self.mend_unsent()?;
                }
            }
        }
        self.settle_quarantine();
        self.unsent.operations.clear();
        self.retirement.note(Instant::now(), self.compiler.retiring());
        // The compiler does not know the leftovers.
        if self.leftovers.is_some() {
            self.note(belief::Observation::Differs);
        }
        if self.isolation.is_searching() {
            unfinished = true;
        } else {
            self.isolation.touched.clear();
            self.stale_flows.hand_over(&self.compiler, self.input_incomplete);
        }
        if self.report.cause == Cause::Start {
            // When the node is ready, no misdirected flow from before is left.
            self.finish_flows();
        }
        Ok(unfinished)
    }

    /// Commits what changed in the state. If the kernel refuses that, a change of another process may be the reason,
    /// so everything is compared before a Service is found faulty.
    fn incremental(&mut self, cause: Cause) -> Result<(), SyncError> {
        let steps = self.compile();
        let rebuilds = self.compiler.wants_rebuild();
        let Err(error) = self.carry_out(&steps) else { return Ok(()) };
        self.unsent.operations.extend(steps.into_iter().flat_map(|step| step.operations));
        if !is_attributable(&error) && !is_denied(&error) {
            if rebuilds {
                self.note(belief::Observation::Failed);
            } else {
                self.note_unsent();
            }
            return Err(error.into());
        }
        debug!(%error, "Refused; comparing everything");
        self.note(belief::Observation::Failed);
        self.full(cause, Sets::All)
    }

    /// Reads the kernel back, with the elements of these sets, and commits the difference.
    pub(super) fn full(&mut self, cause: Cause, sets: Sets) -> Result<(), SyncError> {
        self.read_and_write(cause, sets).inspect_err(|_| self.note(belief::Observation::Failed))
    }

    fn read_and_write(&mut self, cause: Cause, mut sets: Sets) -> Result<(), SyncError> {
        self.report.full = true;
        let mut was_refused = false;
        for reading in 1.. {
            let is_first = self.belief == Belief::Unknown;
            let mut read = self.read(&sets, was_refused)?;
            if is_first && read.kernel.tables.is_empty() && read.first.is_empty() {
                return self.start_cold(read.generation);
            }
            let (desired, found, found_operations) = self.compare(&mut read);
            // Once a step was refused, everything is committed at once or not at all, so that it is known what the
            // kernel holds.
            let whole = (was_refused || !read.first.is_empty()).then(|| self.whole(&read, desired.as_ref()));
            // The reading must still hold; but endless commits of another process must not prevent ours.
            self.kernel.expect_generation(Some(read.generation).filter(|_| reading < READINGS));
            let outcome = match (&whole, desired) {
                (Some(whole), _) => self.commit(whole),
                (None, Some(desired)) => {
                    self.carry_out_acts(|compiler, take| compiler.make_equal(&read.kernel, desired, take))
                }
                (None, None) => Ok(()),
            };
            self.kernel.expect_generation(None);
            let refusal = match outcome {
                Ok(()) => None,
                Err(error) if is_outrun(&error) => {
                    debug!(reading, "Another process committed between reading and writing; reading again");
                    self.note(belief::Observation::Failed);
                    sets = Sets::All;
                    continue;
                }
                Err(error) if is_attributable(&error) || is_denied(&error) => Some(error),
                Err(error) => return Err(error.into()),
            };
            if let Some(error) = refusal {
                // From here on nothing is certain until the end.
                self.note(belief::Observation::Failed);
                (sets, was_refused) = (Sets::All, true);
                let untouched = self.kernel.generation()?.id == read.generation;
                let Some(whole) = whole.filter(|_| reading >= READINGS || untouched && read.scope.is_none())
                else {
                    continue;
                };
                let outcome = if is_structural(&whole, &error) || is_denied(&error) {
                    Err(self.explain(&whole, error))
                } else {
                    self.isolate((&read.kernel, &read.first), &whole, error)
                };
                outcome.inspect_err(|_| self.commit_apart(&whole))?;
            } else if self.isolation.is_searching() {
                self.search()?;
            }
            if !is_first {
                self.report_found(cause, &found, found_operations);
            }
            let sets = if read.is_whole { sets } else { Sets::NONE };
            self.note(belief::Observation::Compared { generation: read.generation, sets });
            return Ok(());
        }
        Ok(())
    }

    /// Commits a refused transaction for each family separately, so that one family is served even if the other is not.
    fn commit_apart(&mut self, refused: &Transaction) {
        let of_family = |family| {
            let operations = refused.operations.iter().filter(|(f, _)| *f == family).cloned().collect();
            Transaction { operations, ..Transaction::new(refused.table.clone()) }
        };
        let parts = Family::ALL.map(|family| (family, of_family(family)));
        if parts.iter().any(|(_, part)| part.is_empty()) {
            return;
        }
        for (family, part) in parts {
            match self.commit(&part) {
                Ok(()) => warn!(%family, operations = part.len(), "Committed one family alone"),
                Err(error) => debug!(%family, %error, "Refused for this family"),
            }
        }
    }

    /// Reads the tables, with the elements of these sets. After a refusal, nothing is left out.
    fn read(&mut self, sets: &Sets, was_refused: bool) -> Result<Reading, SyncError> {
        let started = Instant::now();
        let table = self.settings.config.table.clone();
        let generation = self.kernel.generation()?.id;
        let (mut scope, mut is_whole, mut guess) = (None, true, (None, None));
        let mut kernel = if self.belief == Belief::Unknown {
            self.number();
            // Everything is needed to find leftovers, and to make a table anew that cannot be owned.
            let is_all = self.input_incomplete || self.replaces_tables()?;
            let Self { kernel, compiler, state, .. } = self;
            let kernel = if was_refused {
                kernel.read(&table, &mut &*compiler)?
            } else {
                let equal = if is_all { Equal::Kept } else { Equal::Left };
                let first = first::read(kernel, compiler, state, equal)?;
                (guess, is_whole) = ((first.guess, first.desired), first.is_whole);
                first.kernel
            };
            self.kernel_counts = is_whole;
            if self.input_incomplete && self.leftovers.is_none() && !kernel.tables.is_empty() {
                self.leftovers = Some(Leftovers::find(&kernel, &self.compiler, &mut self.state));
            }
            kernel
        } else {
            let mut wanted = Known::new(&self.compiler, sets);
            let kernel = self.kernel.read(&table, &mut wanted)?;
            let Known { read, is_counted, .. } = wanted;
            self.kernel_counts &= is_counted;
            scope = (*sets != Sets::All).then_some(read);
            kernel
        };
        let mut first = Vec::new();
        if self.table_owner {
            for (family, whose) in self.kernel.ownership(&table)? {
                match whose {
                    Ownership::Ours => {}
                    Ownership::Others => return Err(Error::Owned(family).into()),
                    // Taken over by declaring it.
                    Ownership::Orphan => first.push((family, Operation::AddTable)),
                    // The table cannot be given an owner: a new one takes its place.
                    Ownership::None => {
                        first.push((family, Operation::DeleteTable));
                        self.stale_flows.note_replaced(&kernel);
                        kernel.tables.remove(&family);
                        self.note(belief::Observation::Differs);
                    }
                }
            }
        }
        self.report.dump += started.elapsed();
        Ok(Reading { kernel, generation, guess, scope, is_whole, first })
    }

    /// Whether there are tables to replace because they cannot be given an owner.
    fn replaces_tables(&mut self) -> Result<bool, Error> {
        let is_unowned = |whose: &Ownership| *whose == Ownership::None;
        let table = &self.settings.config.table;
        Ok(self.table_owner && self.kernel.ownership(table)?.values().any(is_unowned))
    }

    /// Compiles everything and commits it in parts, to a kernel that holds nothing.
    fn start_cold(&mut self, generation: u32) -> Result<(), SyncError> {
        let unsubscribed = self.unsubscribe()?;
        let (done, result) = cold_start(&mut self.kernel, &mut self.compiler, &mut self.state);
        self.note(belief::Observation::Compared { generation, sets: Sets::All });
        if let Some(before) = unsubscribed {
            self.resubscribe(before.wrapping_add(done.transactions as u32));
        }
        let ColdStart { loaded, transactions, commit, operations, elapsed, .. } = done;
        let report = &mut self.report;
        report.operations = operations;
        report.committed(transactions, &commit);
        report.compile += elapsed.saturating_sub(commit.encode + commit.kernel);
        debug!(transactions, ?operations, bytes = commit.bytes, ?elapsed, "Committed in parts");
        // Flows may be older than the rules.
        self.stale_flows.note_all(&self.compiler);
        let (Loaded::Complete(problems) | Loaded::Incomplete(problems)) = &loaded;
        self.report_problems(problems);
        match result {
            Ok(()) if matches!(loaded, Loaded::Complete(_)) => Ok(()),
            Err(error) if !is_attributable(&error) => {
                self.report.failed_transactions += 1;
                Err(error.into())
            }
            // The kernel's tables are compared with what they should be, and the faulty Service is found.
            _ => {
                self.note(belief::Observation::Failed);
                self.full(Cause::Start, Sets::All)
            }
        }
    }

    /// Compiles what is not compiled yet, and compares with the kernel. Returns what the kernel must hold, or `None` if
    /// the kernel is known to hold that. Also returns a description of the differences that are not our own doing, and
    /// the number of operations that undo them.
    fn compare(&mut self, read: &mut Reading) -> (Option<Ruleset>, String, usize) {
        let is_first = self.belief == Belief::Unknown;
        let (is_equal, compared) = if is_first {
            let Adopted { is_equal, desired, .. } = self.load(&read.kernel, std::mem::take(&mut read.guess));
            // From here on the compiler has compiled something; the kernel does not hold it yet.
            self.note(belief::Observation::Compared { generation: read.generation, sets: Sets::All });
            self.note(belief::Observation::Failed);
            (is_equal, desired)
        } else {
            let steps = self.compile();
            self.unsent.operations.extend(steps.into_iter().flat_map(|step| step.operations));
            // What is retiring in the sets that were read is forgotten.
            match &read.scope {
                None => self.unsent.operations.extend(self.compiler.forget_retiring().operations),
                Some(scope) => self.compiler.forget_retiring_of(scope),
            }
            (false, None)
        };
        let started = Instant::now();
        let desired = if is_equal {
            if self.input_incomplete {
                let kernel = &read.kernel;
                self.stale_flows.note_compared(&self.compiler, [kernel, kernel], true, true);
            } else {
                // The kernel answers exactly the compiler's destinations, and flows may be older than the rules.
                self.stale_flows.note_all(&self.compiler);
            }
            None
        } else if let Some(compared) = compared {
            self.stale_flows.note_all(&self.compiler);
            self.stale_flows.note_compared(&self.compiler, [&read.kernel, &compared], true, false);
            Some(compared)
        } else {
            Some(self.desired(&read.kernel, read.scope.as_ref()))
        };
        let is_ours = is_first || self.belief.doubt().is_some_and(|doubt| doubt.is_ours);
        let (found, found_operations) = match &desired {
            Some(desired) if !is_ours && self.is_accounted_for() => {
                let undoing = diff(&self.settings.config.table, &read.kernel, desired);
                describe(&read.kernel, &undoing, &self.unsent)
            }
            _ => (String::new(), 0),
        };
        self.report.compile += started.elapsed();
        (desired, found, found_operations)
    }

    /// Returns the difference between what was read and what the kernel must hold, as one transaction.
    fn whole(&self, read: &Reading, desired: Option<&Ruleset>) -> Transaction {
        let table = &self.settings.config.table;
        let mut whole = match desired {
            Some(desired) => diff(table, &read.kernel, desired),
            None => Transaction::new(table.clone()),
        };
        whole.operations.splice(0..0, read.first.iter().cloned());
        whole
    }

    /// Commits a transaction and accounts for it.
    pub(super) fn commit(&mut self, transaction: &Transaction) -> Result<(), Error> {
        if transaction.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let unsubscribed = if transaction.len() > UNSUBSCRIBED { self.unsubscribe()? } else { None };
        let outcome = self.kernel.commit(transaction);
        if let Some(before) = unsubscribed {
            self.resubscribe(if outcome.is_ok() { before.wrapping_add(1) } else { before });
        }
        let commit = outcome.inspect_err(|_| self.report.failed_transactions += 1)?;
        let report = &mut self.report;
        report.committed(1, &commit);
        report.note_operations(transaction, &self.settings.config.table);
        for (family, _) in &transaction.operations {
            report.operations[*family as usize] += 1;
        }
        debug!(
            operations = transaction.len(),
            messages = commit.messages,
            bytes = commit.bytes,
            elapsed = ?started.elapsed(),
            "Committed"
        );
        Ok(())
    }

    /// Reports what a comparison found that is not our own doing.
    pub(super) fn report_found(&mut self, cause: Cause, found: &str, operations: usize) {
        if cause == Cause::Repair {
            // Readings that find nothing are spaced out like repairs.
            let Reconcile { dump, compile, commit, .. } = &self.report;
            self.back_off.repaired(Instant::now(), *dump + *compile + commit.encode + commit.kernel);
        }
        let doubt = self.belief.doubt();
        let by = doubt.and_then(Doubt::by).unwrap_or_else(|| "unknown".to_owned());
        if operations == 0 {
            debug!(?cause, by, dump = ?self.report.dump, "The kernel was read, and nothing is different");
            return;
        }
        let after = doubt.and_then(|doubt| doubt.seen).map(|seen| seen.elapsed()).unwrap_or_default();
        self.report.repair_operations = operations;
        if cause == Cause::Period {
            warn!(dump = ?self.report.dump, operations, found, "The full comparison found changes and undid them");
        } else {
            warn!(by, ?after, operations, found, "Repaired what another process changed");
        }
        if cause == Cause::Repair && self.back_off.begins() {
            warn!(by, "Our tables are changed again and again; repairs wait longer and longer");
        }
    }
}
