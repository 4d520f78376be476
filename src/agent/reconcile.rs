//! The loop: what changed goes to the kernel as soon as the previous commit is done.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use tracing::{error, info};

use super::{Agent, Event};
use crate::manifest;

/// After a failed reconcile, wait this long before the next, and twice as long after every further one.
pub const FIRST_RETRY: Duration = Duration::from_millis(100);
/// But never longer than this.
pub const LAST_RETRY: Duration = Duration::from_secs(30);
/// Applies changes as they come until it is told to stop.
pub fn reconcile(agent: &mut Agent, inbox: &Receiver<Event>) {
    let mut wait = FIRST_RETRY;
    let mut synced_before = false;
    loop {
        let retry = match agent.sync() {
            Ok(synced) => {
                if !synced_before {
                    info!(operations = synced.operations, "Kernel is equal to the manifests");
                    synced_before = true;
                }
                if !synced.flows_pending {
                    wait = FIRST_RETRY;
                }
                synced.flows_pending.then(|| later(&mut wait))
            }
            Err(error) => {
                error!("{error}; trying again in {wait:?}");
                Some(later(&mut wait))
            }
        };
        if !next(agent, inbox, retry) {
            return;
        }
    }
}

/// When to try again; the next time takes longer.
fn later(wait: &mut Duration) -> Instant {
    let at = Instant::now() + *wait;
    *wait = (*wait * 2).min(LAST_RETRY);
    at
}

/// Waits for changes, or until it is time to try again, and takes over all that have come. False if the
/// agent is to stop.
fn next(agent: &mut Agent, inbox: &Receiver<Event>, retry: Option<Instant>) -> bool {
    let mut event = match retry {
        None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(at) => inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
    };
    loop {
        match event {
            Ok(Event::Manifests(update)) => {
                manifest::report(&update.warnings, &update.errors);
                agent.apply(update.changes);
                agent.set_input_incomplete(update.is_incomplete);
            }
            Ok(Event::Cluster(update)) => agent.apply(update.changes),
            Ok(Event::Addresses) => agent.addresses_changed(),
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => return true,
        }
        match inbox.try_recv() {
            Ok(more) => event = Ok(more),
            Err(_) => return true,
        }
    }
}
