//! Stale UDP flows: which destinations to look at, kept until that is done.

use std::{collections::BTreeSet, net::SocketAddr};

use portolan_rules::{
    compile::Compiler,
    flows::{Flows, destinations},
    ruleset::{Family, Ruleset},
};
use tracing::{debug, warn};

use crate::conntrack::{Conntrack, Error};

/// Destinations whose flows may be stale.
#[derive(Debug, Default)]
pub(super) struct StaleFlows {
    conntrack: Option<Conntrack>,
    pending: BTreeSet<SocketAddr>,
    removed: u64,
    /// Whether the last attempt failed, which was said then.
    failing: bool,
}

impl StaleFlows {
    /// Number of flows removed so far.
    pub(super) fn removed(&self) -> u64 {
        self.removed
    }

    /// Opens the socket while there are file descriptors left. A failure is told when there is work to do.
    pub(super) fn open(&mut self) {
        if self.conntrack.is_none() {
            self.conntrack = Conntrack::open().ok();
        }
    }

    /// Notes what these tables answered, which are about to be replaced.
    pub(super) fn note_replaced(&mut self, kernel: &Ruleset) {
        self.pending.extend(destinations(kernel));
    }

    /// Notes what an update may have made stale.
    pub(super) fn note(&mut self, stale: BTreeSet<SocketAddr>) {
        self.pending.extend(stale);
    }

    /// Notes what may be stale when the kernel was read back: nobody knows what happened meanwhile, so all that
    /// it answered, or answers from now on. With part of the input unreadable it is not known who serves what
    /// was there before; what was not is taken over all the same.
    pub(super) fn note_compared(&mut self, kernel: &Ruleset, desired: &Ruleset, input_incomplete: bool) {
        let (before, after) = (destinations(kernel), destinations(desired));
        if input_incomplete {
            self.pending.extend(after.difference(&before));
        } else {
            self.pending.extend(before);
            self.pending.extend(after);
        }
    }

    /// Removes what is stale at the noted destinations, now that the kernel answers them as the compiler says.
    /// Returns how many flows of each family those were. What fails is said once and stays noted.
    pub(super) fn remove(
        &mut self,
        compiler: &Compiler,
        input_incomplete: bool,
    ) -> Result<[usize; 2], Error> {
        if self.pending.is_empty() {
            return Ok([0; 2]);
        }
        let mut flows = compiler.flows(self.pending.iter().copied());
        if input_incomplete {
            // The kernel still answers what nobody claims any more, in case an unreadable object does.
            flows.retain_frontends();
        }
        if flows.is_empty() {
            return Ok([0; 2]);
        }
        match self.attempt(&flows) {
            Ok(removed) => {
                for destination in flows.destinations() {
                    self.pending.remove(&destination);
                }
                let sum: usize = removed.iter().sum();
                self.removed += sum as u64;
                self.failing = false;
                debug!(removed = sum, destinations = flows.destinations().len(), "Stale UDP flows removed");
                Ok(removed)
            }
            Err(error) => {
                if !self.failing {
                    warn!("{error}; stale UDP flows are looked for again with the next reconcile");
                }
                self.failing = true;
                Err(error)
            }
        }
    }

    fn attempt(&mut self, flows: &Flows) -> Result<[usize; 2], Error> {
        let conntrack = match &mut self.conntrack {
            Some(conntrack) => conntrack,
            none => none.insert(Conntrack::open()?),
        };
        let mut removed = [0; 2];
        for family in Family::ALL {
            removed[family as usize] = conntrack.remove_stale_of(family, flows)?;
        }
        Ok(removed)
    }
}
