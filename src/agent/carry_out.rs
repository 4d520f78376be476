//! Carries out the compiler's plans: steps, acts, and the removal of what nothing leads to any more.

use std::time::Instant;

use portolan_rules::{
    compile::Compiler,
    incremental::plan::{Act, PART},
    ruleset::Transaction,
};

use super::core::{Agent, SyncError};
use crate::kernel::nftables::{Error, Tables};

impl<T: Tables> Agent<T> {
    /// Commits the steps of an update, and removes what has been retiring for long enough. Rebuilds families if the
    /// update requires it.
    pub(super) fn carry_out(&mut self, steps: &[Transaction]) -> Result<(), Error> {
        let mut steps = steps.iter();
        if !steps.as_slice().is_empty()
            && let Some(mut retired) = self.take_retired()
        {
            // With the first step: one transaction less.
            if let Some(step) = steps.as_slice().first().filter(|step| step.len() + retired.len() <= PART) {
                retired.operations.extend(step.operations.iter().cloned());
                steps.next();
            }
            self.commit(&retired).inspect_err(|_| self.unsent.operations.extend(retired.operations))?;
        }
        for step in steps {
            self.commit(step)?;
        }
        if self.compiler.wants_rebuild() {
            self.carry_out_acts(Compiler::rebuild)?;
        }
        Ok(())
    }

    /// Carries out the acts that `plan` obtains from the compiler.
    pub(super) fn carry_out_acts(
        &mut self,
        plan: impl FnOnce(&mut Compiler, &mut dyn FnMut(Act) -> bool),
    ) -> Result<(), Error> {
        let mut outcome = Ok(());
        let mut compiler = std::mem::replace(&mut self.compiler, Compiler::new(self.settings.config.clone()));
        plan(&mut compiler, &mut |act| {
            outcome = match act {
                Act::Commit(transaction) => self.commit(&transaction),
                Act::Exchange(family) => {
                    self.kernel.exchange(family);
                    Ok(())
                }
            };
            outcome.is_ok()
        });
        self.compiler = compiler;
        outcome
    }

    /// Returns a transaction that removes some of what has been unused for long enough, if there is anything.
    fn take_retired(&mut self) -> Option<Transaction> {
        let due = self.retirement.due(Instant::now())?;
        let retired = self.compiler.retire(due, PART);
        if retired.len() < PART {
            self.retirement.done(due);
        }
        (!retired.is_empty()).then_some(retired)
    }

    /// Removes some of what has been unused for long enough. If the commit fails, the next reconcile reads the kernel
    /// back.
    pub fn retire(&mut self) -> Result<(), SyncError> {
        let Some(retired) = self.take_retired() else { return Ok(()) };
        self.commit(&retired).map_err(|error| {
            self.unsent.operations.extend(retired.operations);
            self.note_unsent();
            error.into()
        })
    }

    /// Waits until everything unused may be removed, and removes it.
    pub fn retire_all(&mut self) -> Result<(), SyncError> {
        while let Some(at) = self.retirement.next() {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            self.retire()?;
        }
        Ok(())
    }
}
