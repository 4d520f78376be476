//! The reconcile loop: changes go to the kernel as soon as the previous commit is done.

use std::{ops::ControlFlow, sync::mpsc::RecvTimeoutError, time::Instant};

use tracing::{error, info, warn};

use super::{
    core::Agent,
    event::{Ending, Event},
    memory,
    queue::Receiver,
};
use crate::{kernel::nftables::Tables, observe::report::Cause, retry::Retry, source::SourceEvent};

/// Applies changes as they come, until an event asks to stop. Nothing is written before all Services and slices are
/// known.
pub fn reconcile<T: Tables>(agent: &mut Agent<T>, inbox: &Receiver) -> Ending {
    while !agent.is_ready() {
        let Ok(events) = inbox.recv() else { return Ending::Asked };
        if let ControlFlow::Break(ending) = take_over(agent, events) {
            return ending;
        }
    }
    // Returns the memory that reading took, before compiling and committing take more.
    memory::give_back();
    let mut waits = Retry::default();
    let mut synced_before = false;
    let mut failing = false;
    let mut reported = 0;
    let mut cause = Cause::Start;
    let mut next_period = Instant::now() + agent.sync.full_period;
    loop {
        if cause == Cause::Period {
            next_period = Instant::now() + agent.sync.full_period;
        }
        let retry = match agent.sync_for(cause) {
            Ok(synced) => {
                if synced.large {
                    memory::give_back();
                }
                let quarantined = agent.quarantined();
                let is_news = !synced_before || failing || reported != quarantined;
                match quarantined {
                    _ if !is_news => {}
                    0 if synced_before => info!(operations = synced.operations, "In sync again"),
                    0 => info!(operations = synced.operations, "In sync: the kernel has all Services"),
                    _ => warn!(quarantined, "Programmed all but the Services that the kernel refuses"),
                }
                (synced_before, failing, reported) = (true, false, quarantined);
                if !synced.unfinished {
                    waits.succeeded();
                }
                synced.unfinished.then(|| Instant::now() + waits.wait())
            }
            Err(error) => {
                failing = true;
                let retry = waits.wait();
                error!(%error, ?retry, "Reconcile failed; trying again");
                Some(Instant::now() + retry)
            }
        };
        let ended = Instant::now();
        let times = Times { earliest: ended + agent.sync.min_period, retry, period: next_period };
        match next(agent, inbox, &times) {
            ControlFlow::Continue(next) => cause = next,
            ControlFlow::Break(ending) => return ending,
        }
    }
}

/// When to reconcile next.
struct Times {
    /// The earliest time for a change.
    earliest: Instant,
    /// When to retry, if there is a reason to.
    retry: Option<Instant>,
    /// When to compare everything.
    period: Instant,
}

/// Waits until there is a reason to reconcile, or to stop, and takes over all events until then.
fn next<T: Tables>(agent: &mut Agent<T>, inbox: &Receiver, times: &Times) -> ControlFlow<Ending, Cause> {
    let mut changed = false;
    loop {
        // All queued events come first; events that arrive meanwhile are taken in the next round.
        changed |= take_over(agent, inbox.take())?;
        let change = changed.then_some((times.earliest, Cause::Change));
        let retry = times.retry.map(|at| (at, Cause::Retry));
        let repair = agent.belief.due().map(|at| (at, Cause::Repair));
        let period = (times.period, Cause::Period);
        let (at, cause) = [change, repair, retry].into_iter().flatten().fold(period, Ord::min);
        let now = Instant::now();
        if at <= now {
            return ControlFlow::Continue(cause);
        }
        let retires_at = agent.retirement.next().unwrap_or(at);
        if retires_at <= now {
            if let Err(error) = agent.retire() {
                warn!(%error, "Removing what is no longer used failed; reading the kernel back");
                return ControlFlow::Continue(Cause::Retry);
            }
            continue;
        }
        if agent.is_checking() {
            if let Err(error) = agent.compare_part() {
                warn!(%error, "Comparing a part failed; comparing everything");
                return ControlFlow::Continue(Cause::Retry);
            }
            continue;
        }
        match inbox.recv_timeout(at.min(retires_at).saturating_duration_since(now)) {
            Ok(events) => changed |= take_over(agent, events)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return ControlFlow::Break(Ending::Asked),
        }
    }
}

/// Takes over events; returns whether there may be something to write.
fn take_over<T: Tables>(agent: &mut Agent<T>, events: Vec<Event>) -> ControlFlow<Ending, bool> {
    let mut changed = false;
    for event in events {
        changed |= match event {
            Event::Source(SourceEvent::Update(update)) => {
                agent.update(update);
                true
            }
            Event::Source(SourceEvent::Addresses) => {
                agent.addresses_changed();
                true
            }
            Event::Source(SourceEvent::Failed) => return ControlFlow::Break(Ending::Failed),
            Event::Flows => agent.flows_removed(),
            Event::Foreign(change) => {
                agent.foreign(change);
                false
            }
            Event::Query(query) => {
                agent.answer(query);
                false
            }
            Event::Stop(ending) => return ControlFlow::Break(ending),
        };
    }
    ControlFlow::Continue(changed)
}
