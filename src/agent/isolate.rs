//! Finds the Services that the kernel refuses, and programs all the others.
//!
//! The kernel takes a transaction as a whole or not at all, so that one bad Service would stop all others. What
//! it says of the operation that it refused mostly names the Service. Where it does not, the Services that the
//! transaction is about are all held back, which must succeed, and let in again group by group, halving those
//! that are refused: k bad ones among n take some 2 k log n transactions. Held back means that the kernel keeps
//! what it has of them meanwhile. Only elements belong to Services: a table, set, chain or rule that is refused is a
//! fault of ours or of the kernel, and ends the search. The bad ones are then in quarantine: what the kernel had of them goes, since it
//! may lead to endpoints that are gone, and the others take the frontends that they claim too. They are tried
//! again when they change, and with each periodic full comparison.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use portolan_rules::{
    diff::diff_into,
    leftovers::keep_leftovers,
    model::ObjectName,
    ruleset::{Family, Ruleset},
    state::State,
    transaction::{Operation, Transaction},
};
use tracing::{error, info, warn};

use super::{
    Agent, SyncError, Tables,
    belief::Sets,
    refusal::{is_attributable, is_structural, reason, refused_operation},
    repair::Known,
};
use crate::{kernel::nftables::Error, observe::events::Warning};

/// So many Services in a row are taken to be bad because the kernel's answer points at them.
const BY_NAME: usize = 32;
/// So many transactions are spent on a search at a time; it goes on with the next reconcile, so that changes of
/// others need not wait for its end.
const AT_A_TIME: usize = 64;

/// Services that are suspected, or known to be bad.
#[derive(Debug, Default)]
pub(super) struct Isolation {
    /// What the kernel says of each Service that it refuses.
    reasons: BTreeMap<ObjectName, String>,
    /// Groups that are held back and yet to be tried.
    suspects: Vec<Vec<ObjectName>>,
    /// Services that changed since the last reconcile that succeeded.
    touched: BTreeSet<ObjectName>,
}

impl Isolation {
    /// Whether a search is under way.
    pub(super) fn is_searching(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Notes which Services are about to be compiled.
    pub(super) fn note_touched(&mut self, state: &State) {
        self.touched.extend(state.dirty().iter().cloned());
    }

    /// The kernel has all of them.
    pub(super) fn clear_touched(&mut self) {
        self.touched.clear();
    }
}

impl<T: Tables> Agent<T> {
    /// After a refusal of the whole difference to this ruleset of the kernel: finds who is to blame, and commits
    /// the rest. What is to be done `first`, to own the tables, is part of each attempt.
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
            let Some(culprit) = refused_operation(&error).and_then(|at| self.owner(refused_now, at)) else {
                break;
            };
            let reason = reason(refused_now, &error);
            self.state.quarantine(&culprit, true);
            if !self.state.quarantined().contains(&culprit) {
                break;
            }
            self.convict(&culprit, reason);
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

    /// Holds all suspects back, and begins to search among them.
    fn hold_all(
        &mut self,
        (kernel, first): (&Ruleset, &[(Family, Operation)]),
        refused: &Transaction,
        error: Error,
    ) -> Result<(), SyncError> {
        let mut suspects: BTreeSet<ObjectName> = std::mem::take(&mut self.isolation.touched);
        suspects.retain(|name| self.state.get(name).is_some_and(|entry| entry.service.is_some()));
        let suspects: Vec<ObjectName> = suspects.into_iter().collect();
        let explained = self.explain(refused, error);
        for name in &suspects {
            self.state.quarantine(name, true);
        }
        let (mut rest, held) = self.step(kernel, true);
        rest.operations.splice(0..0, first.iter().cloned());
        if suspects.is_empty() || self.commit(&rest).is_err() {
            // Not a matter of these Services.
            for name in &suspects {
                self.state.quarantine(name, false);
            }
            self.isolation.touched.extend(suspects);
            return Err(explained);
        }
        warn!(suspects = suspects.len(), "{explained}; searching for the Service that it is about");
        self.isolation.suspects.push(suspects);
        self.search_from(held)
    }

    /// Goes on with a search that an earlier reconcile began.
    pub(super) fn search(&mut self) -> Result<(), SyncError> {
        let mut wanted = Known::new(&self.compiler, &Sets::All);
        let kernel = self.kernel.read(&self.settings.config.table, &mut wanted)?;
        self.search_from(kernel)
    }

    /// Lets groups of suspects in, as long as the kernel takes them.
    fn search_from(&mut self, mut kernel: Ruleset) -> Result<(), SyncError> {
        let mut convicted = false;
        for _ in 0..AT_A_TIME {
            let Some(mut group) = self.isolation.suspects.pop() else { break };
            // Who changed meanwhile is free already.
            group.retain(|name| self.state.quarantined().contains(name));
            for name in &group {
                self.state.quarantine(name, false);
            }
            let (transaction, desired) = self.step(&kernel, true);
            let error = match self.commit(&transaction) {
                Ok(()) => {
                    kernel = desired;
                    continue;
                }
                Err(error) => error,
            };
            for name in &group {
                self.state.quarantine(name, true);
            }
            if !is_attributable(&error) || is_structural(&transaction, &error) {
                self.isolation.suspects.push(group);
                return Err(self.explain(&transaction, error));
            }
            match group.as_slice() {
                [] => return Err(self.explain(&transaction, error)),
                [culprit] => {
                    let reason = reason(&transaction, &error);
                    self.convict(culprit, reason);
                    convicted = true;
                }
                _ => {
                    let second = group.split_off(group.len() / 2);
                    self.isolation.suspects.extend([second, group]);
                }
            }
        }
        if convicted || !self.isolation.is_searching() {
            // What the kernel still has of them goes.
            let (transaction, _) = self.step(&kernel, self.isolation.is_searching());
            self.commit(&transaction)?;
        }
        Ok(())
    }

    /// Compiles, and compares with this ruleset of the kernel; with what is held back left as it is there. Gives
    /// what the kernel then holds, too.
    fn step(&mut self, kernel: &Ruleset, hold: bool) -> (Transaction, Ruleset) {
        self.compile();
        // What is retiring is in what was read.
        self.compiler.forget_retiring();
        let started = Instant::now();
        let mut desired = self.compiler.ruleset();
        self.keep_leftovers(&mut desired);
        if hold {
            keep_leftovers(&mut desired, kernel, &self.compiler);
        }
        let transaction = diff_into(&self.settings.config.table, kernel, desired.clone());
        self.report.compile += started.elapsed();
        (transaction, desired)
    }

    /// Says that a Service is bad, unless that was said before.
    fn convict(&mut self, name: &ObjectName, reason: String) {
        self.isolation.touched.remove(name);
        let is_news = self.isolation.reasons.get(name) != Some(&reason);
        if is_news {
            self.problems += 1;
            self.report.newly_quarantined += 1;
            error!("Service {name} cannot be programmed and is left out until it changes: {reason}");
            self.recorder.warn(Warning {
                service: name.clone(),
                reason: "FailedToProgram",
                action: "SyncProxyRules",
                note: format!("Left out on this node until it changes: {reason}").into(),
            });
            self.isolation.reasons.insert(name.clone(), reason);
        }
    }

    /// Has those in quarantine tried again.
    pub(super) fn release_quarantined(&mut self) {
        for name in self.isolation.reasons.keys() {
            self.state.quarantine(name, false);
        }
    }

    /// After a reconcile that succeeded: who left the quarantine is programmed.
    pub(super) fn settle_quarantine(&mut self) {
        let state = &self.state;
        self.isolation.reasons.retain(|name, _| {
            let stays = state.quarantined().contains(name);
            if !stays && state.get(name).is_some_and(|entry| entry.service.is_some()) {
                info!("Service {name} is programmed again");
            }
            stays
        });
    }
}
