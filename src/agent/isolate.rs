//! Finds the Services that the kernel refuses, and programs all the others.
//!
//! The kernel commits a transaction as a whole or not at all, so that one faulty Service would block all others. The
//! operation that the kernel refuses usually belongs to the faulty Service. If it does not, all Services of the
//! transaction become candidates. They are held back, the rest is committed, and the candidates are tried again group
//! by group, halving the groups that are refused: k faulty Services among n take about 2 k log n transactions. The
//! kernel keeps what it has of Services that are held back. Only elements belong to Services: a refused table, set,
//! chain or rule is a fault of ours or of the kernel, and ends the search. Faulty Services are in quarantine: what the
//! kernel had of them is removed, since it may lead to endpoints that are gone, and other Services get the frontends
//! that they also claim. They are retried when they change, and with each periodic full comparison.

use std::{collections::BTreeSet, time::Instant};

use portolan_rules::{
    model::ObjectName,
    ruleset::{Family, Operation, Ruleset, Transaction, diff::diff},
};
use tracing::{error, info, warn};

use super::{
    belief::Sets,
    core::{Agent, SyncError},
    reading::Known,
    refusal::{is_attributable, is_structural, reason},
};
use crate::{
    kernel::nftables::{Error, Tables},
    observe::events::Warning,
};

/// The most Services in a row that are taken to be faulty because the kernel's error points at them.
const BY_NAME: usize = 32;
/// The most transactions of a search in one reconcile. The search continues in the next reconcile, so that changes of
/// other Services need not wait for its end.
const AT_A_TIME: usize = 64;

impl<T: Tables> Agent<T> {
    /// Finds the faulty Services after the kernel refused the whole difference to its ruleset, and commits the rest.
    /// Each attempt includes the operations that must come `first`, to own the tables.
    pub(super) fn isolate(
        &mut self,
        (kernel, first): (&Ruleset, &[(Family, Operation)]),
        transaction: &Transaction,
        error: Error,
    ) -> Result<(), SyncError> {
        let owners: BTreeSet<ObjectName> = transaction
            .operations
            .iter()
            .filter_map(|(family, operation)| self.owner_of(*family, operation).cloned())
            .collect();
        self.isolation.touched.extend(owners);
        let (mut refused, mut error) = (None::<Transaction>, error);
        for _ in 0..BY_NAME {
            let refused_now = refused.as_ref().unwrap_or(transaction);
            let Some(faulty) = self.owner_of_refused(refused_now, &error) else {
                break;
            };
            let reason = reason(refused_now, &error);
            self.state.quarantine(&faulty, true);
            if !self.state.quarantined().contains(&faulty) {
                break;
            }
            self.report_faulty(&faulty, reason);
            let (mut rest, _) = self.step(kernel, self.isolation.is_searching());
            rest.operations.splice(0..0, first.iter().cloned());
            match self.commit(&rest) {
                Ok(()) => return Ok(()),
                Err(next) if is_structural(&rest, &next) => return Err(self.explain(&rest, next)),
                Err(next) if is_attributable(&next) => (refused, error) = (Some(rest), next),
                Err(other) => return Err(other.into()),
            }
        }
        self.hold_all((kernel, first), refused.as_ref().unwrap_or(transaction), error)
    }

    /// Holds all candidates back, and begins to search among them.
    fn hold_all(
        &mut self,
        (kernel, first): (&Ruleset, &[(Family, Operation)]),
        refused: &Transaction,
        error: Error,
    ) -> Result<(), SyncError> {
        let mut candidates: BTreeSet<ObjectName> = std::mem::take(&mut self.isolation.touched);
        candidates.retain(|name| self.state.get(name).is_some_and(|entry| entry.service.is_some()));
        let candidates: Vec<ObjectName> = candidates.into_iter().collect();
        let explained = self.explain(refused, error);
        self.hold(&candidates, true);
        let (mut rest, held) = self.step(kernel, true);
        rest.operations.splice(0..0, first.iter().cloned());
        if candidates.is_empty() || self.commit(&rest).is_err() {
            // The fault is not in these Services.
            self.hold(&candidates, false);
            self.isolation.touched.extend(candidates);
            return Err(explained);
        }
        warn!(error = %explained, candidates = candidates.len(), "Commit refused; searching for the faulty Service");
        self.isolation.candidates.push(candidates);
        self.search_from(held)
    }

    /// Continues a search that an earlier reconcile began.
    pub(super) fn search(&mut self) -> Result<(), SyncError> {
        let mut wanted = Known::new(&self.compiler, &Sets::All);
        let kernel = self.kernel.read(&self.settings.config.table, &mut wanted)?;
        self.search_from(kernel)
    }

    /// Programs groups of candidates again.
    fn search_from(&mut self, mut kernel: Ruleset) -> Result<(), SyncError> {
        let mut found = false;
        for _ in 0..AT_A_TIME {
            let Some(mut group) = self.isolation.candidates.pop() else { break };
            // Services that changed meanwhile are no longer held back.
            group.retain(|name| self.state.quarantined().contains(name));
            self.hold(&group, false);
            let (transaction, desired) = self.step(&kernel, true);
            let error = match self.commit(&transaction) {
                Ok(()) => {
                    kernel = desired;
                    continue;
                }
                Err(error) => error,
            };
            self.hold(&group, true);
            if !is_attributable(&error) || is_structural(&transaction, &error) {
                self.isolation.candidates.push(group);
                return Err(self.explain(&transaction, error));
            }
            match group.as_slice() {
                [] => return Err(self.explain(&transaction, error)),
                [faulty] => {
                    let reason = reason(&transaction, &error);
                    self.report_faulty(faulty, reason);
                    found = true;
                }
                _ => {
                    let second = group.split_off(group.len() / 2);
                    self.isolation.candidates.extend([second, group]);
                }
            }
        }
        if found || !self.isolation.is_searching() {
            // Removes what the kernel still has of the faulty Services.
            let (transaction, _) = self.step(&kernel, self.isolation.is_searching());
            self.commit(&transaction)?;
        }
        Ok(())
    }

    /// Holds Services back, or releases them.
    fn hold(&mut self, names: &[ObjectName], is_held: bool) {
        for name in names {
            self.state.quarantine(name, is_held);
        }
    }

    /// Compiles, and compares with this ruleset of the kernel. With `hold`, what is held back stays as it is in the
    /// kernel. Returns the difference, and what the kernel holds once the difference is committed.
    fn step(&mut self, kernel: &Ruleset, hold: bool) -> (Transaction, Ruleset) {
        self.compile();
        // What is retiring is part of what was read.
        self.compiler.forget_retiring();
        let started = Instant::now();
        let desired = self.compiled(kernel, hold);
        let transaction = diff(&self.settings.config.table, kernel, &desired);
        self.report.compile += started.elapsed();
        (transaction, desired)
    }

    /// Reports that a Service is faulty, once for each reason.
    fn report_faulty(&mut self, name: &ObjectName, reason: String) {
        self.isolation.touched.remove(name);
        let is_new = self.isolation.reasons.get(name) != Some(&reason);
        if is_new {
            self.problems += 1;
            self.report.newly_quarantined += 1;
            error!(service = %name, error = reason, "Service cannot be programmed and is left out until it changes");
            self.recorder.warn(Warning {
                service: name.clone(),
                reason: "FailedToProgram",
                action: "SyncProxyRules",
                note: format!("Left out on this node until it changes: {reason}").into(),
            });
            self.isolation.reasons.insert(name.clone(), reason);
        }
    }

    /// Returns the Services in quarantine, each with the kernel's reason. During a search, the reason is empty for
    /// Services that are held back.
    pub(super) fn quarantine(&self) -> Vec<(ObjectName, String)> {
        let reason = |name: &ObjectName| self.isolation.reasons.get(name).cloned().unwrap_or_default();
        self.state.quarantined().iter().map(|name| (name.clone(), reason(name))).collect()
    }

    /// Lets the Services in quarantine be tried again.
    pub(super) fn release_quarantined(&mut self) {
        for name in self.isolation.reasons.keys() {
            self.state.quarantine(name, false);
        }
    }

    /// Forgets and logs the Services that are no longer in quarantine, after a reconcile that succeeded.
    pub(super) fn settle_quarantine(&mut self) {
        let state = &self.state;
        self.isolation.reasons.retain(|name, _| {
            let stays = state.quarantined().contains(name);
            if !stays && state.get(name).is_some_and(|entry| entry.service.is_some()) {
                info!(service = %name, "Service is programmed again");
            }
            stays
        });
    }
}
