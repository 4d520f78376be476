//! Undoes what another process did to elements, if notifications name the elements: nothing else is read.

use std::{collections::BTreeSet, time::Instant};

use portolan_rules::{
    incremental::plan::ElementChange,
    plane::{PerSet, SetName},
    ruleset::{Concat, Operation, Transaction},
};
use tracing::debug;

use super::{
    belief::{self, Sets},
    check::has_parts,
    core::{Agent, SyncError},
    describe::describe,
    elements::tables,
    event::Touched,
    refusal::{is_attributable, is_denied},
};
use crate::{kernel::nftables::Tables, observe::report::Cause};

impl<T: Tables> Agent<T> {
    /// Returns these elements, with the sets' names in rulesets, if each can be compared by its key.
    pub(super) fn comparable(&self, elements: Touched) -> Option<Touched> {
        let mut plain = Touched::default();
        let can_be_compared = elements.into_sets().all(|((family, set), keys)| {
            let set = self.kernel.plain_name(family, &set);
            SetName::from_name(&set).is_some_and(has_parts) && plain.add((family, set), keys)
        });
        (can_be_compared && self.is_accounted_for()).then_some(plain)
    }

    /// Makes these elements what they should be. If the kernel refuses that, everything is compared.
    pub(super) fn repair(&mut self, cause: Cause, elements: Touched) -> Result<(), SyncError> {
        self.undo(cause, elements).inspect_err(|_| self.note(belief::Observation::Failed))
    }

    fn undo(&mut self, cause: Cause, elements: Touched) -> Result<(), SyncError> {
        let generation = self.kernel.generation()?.id;
        let mut keys: PerSet<BTreeSet<Concat>> = PerSet::default();
        for ((family, set), of_set) in elements.clone().into_sets() {
            // The kernel may no longer have what was retiring there.
            self.compiler.forget_retiring_at(family, &set, &of_set);
            if let Some(name) = SetName::from_name(&set) {
                keys[(family, name)] = of_set;
            }
        }
        let started = Instant::now();
        let expected = self.expected_at(keys);
        let found = expected.read(&mut self.kernel, &self.compiler)?;
        self.report.dump += started.elapsed();
        let changes = expected.changes(&found, &self.compiler);
        let undoing = self.operations(&changes);
        let (text, operations) = describe(&tables(found, &self.compiler), &undoing, &self.unsent);
        if operations > 0 {
            // Flows may have begun meanwhile.
            self.stale_flows.note_all(&self.compiler);
        }
        let steps = self.compiler.mend(changes);
        match self.carry_out(&steps) {
            Ok(()) => {}
            Err(error) if is_attributable(&error) || is_denied(&error) => {
                debug!(%error, "A repair was refused; comparing everything");
                self.note(belief::Observation::Failed);
                return self.full(cause, Sets::All);
            }
            Err(error) => return Err(error.into()),
        }
        self.report_found(cause, &text, operations);
        self.note(belief::Observation::Compared { generation, sets: Sets::Only(elements) });
        Ok(())
    }

    /// Returns changes of elements as one transaction.
    fn operations(&self, changes: &[ElementChange]) -> Transaction {
        let mut transaction = Transaction::new(self.settings.config.table.clone());
        for ElementChange { family, set, key, before, after } in changes {
            if let Some(before) = before {
                let (set, key, end) = (set.clone(), key.clone(), before.end.clone());
                transaction.push(*family, Operation::DeleteElement { set, key, end });
            }
            if let Some(after) = after {
                let (set, key, element) = (set.clone(), key.clone(), after.clone());
                transaction.push(*family, Operation::AddElement { set, key, element });
            }
        }
        transaction
    }
}
