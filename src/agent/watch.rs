//! Notices when somebody else changes our tables.
//!
//! The kernel notifies of every commit of anybody, and says at its end which thread made it. A thread of our own
//! reads that as it comes, passes over what the reconciler or others did elsewhere, and wakes the reconciler for
//! the rest.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::channel},
    time::Duration,
};

use portolan_rules::ruleset::{Family, Name};
use rustix::event::{PollFd, PollFlags, poll};
use tracing::{debug, info, trace, warn};

use super::{Agent, Event, Sender, Tables};
use crate::kernel::nftables::{self, Generation, Monitor, Scope, Subscription};

/// What somebody else did to our tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignChange {
    /// The last commit; `None` if notifications were lost, so that there may have been others.
    pub by: Option<Generation>,
    /// The sets that are known to be touched.
    pub sets: Scope,
}

impl ForeignChange {
    /// Adds a later change.
    pub(super) fn append(&mut self, later: Self) {
        self.by = self.by.take().and(later.by);
        self.sets.extend(later.sets);
    }
}

/// Gathers the notifications of one commit.
#[derive(Debug)]
struct Gatherer {
    table: Name,
    /// The reconciler's thread, as the kernel numbers it: not as its own namespace of processes does.
    own_thread: u32,
    ours: bool,
    sets: Scope,
}

impl Gatherer {
    /// Takes a notification; gives what was changed when it was the last of a foreign commit to our tables.
    fn take(&mut self, event: nftables::Event) -> Option<ForeignChange> {
        let Some(by) = event.generation else {
            let family = Family::ALL.into_iter().find(|family| family.number() == event.family);
            if let Some(family) = family.filter(|_| event.table.as_ref() == Some(&self.table)) {
                self.ours = true;
                self.sets.extend(event.set.map(|set| (family, set)));
            }
            return None;
        };
        let (ours, sets) = (std::mem::take(&mut self.ours), std::mem::take(&mut self.sets));
        trace!(generation = by.id, thread = by.thread, process = by.process, ours, "Generation");
        (ours && by.thread != self.own_thread).then_some(ForeignChange { by: Some(by), sets })
    }

    /// Notifications were lost.
    fn lose(&mut self) -> ForeignChange {
        (self.ours, self.sets) = (false, Scope::new());
        ForeignChange::default()
    }
}

/// How long to wait for the thread that listens, and how often.
const MOMENT: Duration = Duration::from_millis(2);
const MOMENTS: usize = 5;
/// After a failure, the listener is opened again after so long, and after twice as long each further time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// But never longer than this.
const LAST_RETRY: Duration = Duration::from_mins(1);

/// What the reconciler shares with the thread that listens.
#[derive(Debug)]
pub(super) struct Listener(Arc<Mutex<Listening>>);

#[derive(Debug)]
struct Listening {
    subscription: Subscription,
    /// Whether notifications are wanted now.
    listens: bool,
    /// Every commit up to this generation was heard of, since the last that was not.
    heard: Option<u32>,
}

impl Listener {
    fn state(&self) -> MutexGuard<'_, Listening> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the subscription for a while.
    fn pause(&self) -> Result<(), nftables::Error> {
        let mut state = self.state();
        (state.listens, state.heard) = (false, None);
        state.subscription.listen(false)
    }

    fn resume(&self) -> Result<(), nftables::Error> {
        let mut state = self.state();
        state.listens = true;
        state.subscription.listen(true)
    }

    /// Nothing up to this generation is missed.
    fn caught_up(&self, generation: u32) {
        self.state().heard = Some(generation);
    }

    /// Takes note of a commit. Whether those before it were heard of, too.
    fn hear(&self, generation: u32) -> bool {
        let mut state = self.state();
        let (is_next, heard) = follow(state.heard, generation);
        state.heard = heard;
        is_next
    }

    fn miss(&self) {
        self.state().heard = None;
    }

    /// Another socket takes the place of one that failed.
    fn replace(&self, subscription: Subscription) -> Result<(), nftables::Error> {
        let mut state = self.state();
        subscription.listen(state.listens)?;
        (state.subscription, state.heard) = (subscription, None);
        Ok(())
    }
}

/// Whether no generation was missed before this one, and up to which all are heard of after it. They wrap around.
fn follow(heard: Option<u32>, generation: u32) -> (bool, Option<u32>) {
    match heard.map(|heard| generation.wrapping_sub(heard).cast_signed()) {
        None | Some(1) => (true, Some(generation)),
        // From before the last that is known.
        Some(..=0) => (true, heard),
        Some(_) => (false, Some(generation)),
    }
}

/// Listens, on a thread of its own, for commits of other threads than `own_thread` to the tables of this name.
fn listen(table: Name, own_thread: u32, events: Sender) -> Result<Listener, nftables::Error> {
    let (opened, outcome) = channel();
    let listening = move || {
        // Opened here, since the socket stays on its thread.
        let open = || -> Result<(Monitor, Subscription), nftables::Error> {
            let monitor = Monitor::open(&table)?;
            let subscription = monitor.subscription()?;
            Ok((monitor, subscription))
        };
        let (monitor, listener) = match open() {
            Ok((monitor, subscription)) => {
                let state = Listening { subscription, listens: true, heard: None };
                let state = Arc::new(Mutex::new(state));
                let _ = opened.send(Ok(Listener(state.clone())));
                (monitor, Listener(state))
            }
            Err(error) => {
                let _ = opened.send(Err(error));
                return;
            }
        };
        let gatherer = Gatherer { table: table.clone(), own_thread, ours: false, sets: Scope::new() };
        let mut hearing = Hearing { monitor, gatherer, listener, events };
        let mut wait = FIRST_RETRY;
        while let Err(error) = hearing.until_failure(&mut wait) {
            warn!(%error, "Changes of our tables by others are not seen for now; listening again in {wait:?}");
            std::thread::sleep(wait);
            wait = (wait * 2).min(LAST_RETRY);
            match open() {
                Ok((monitor, subscription)) => {
                    if hearing.listener.replace(subscription).is_ok() {
                        info!("Listening again for changes of our tables by others");
                    }
                    hearing.monitor = monitor;
                }
                Err(error) => debug!(%error, "The listener cannot be opened"),
            }
            if !hearing.report(ForeignChange::default()) {
                return;
            }
        }
    };
    let started = std::thread::Builder::new().name("nftables".into()).spawn(listening);
    started.map_err(|source| nftables::Error::Io { what: "cannot start a thread", source })?;
    outcome.recv().unwrap_or_else(|_| Err(nftables::Error::Unknown("a thread ended early".to_owned())))
}

/// The thread that listens.
struct Hearing {
    monitor: Monitor,
    gatherer: Gatherer,
    listener: Listener,
    events: Sender,
}

impl Hearing {
    /// Reports what it hears, until that fails; without an error once nobody is left to report to.
    fn until_failure(&mut self, wait: &mut Duration) -> Result<(), nftables::Error> {
        loop {
            let change = match self.monitor.receive() {
                Ok(Some(event)) => {
                    *wait = FIRST_RETRY;
                    let generation = event.generation.as_ref().map(|generation| generation.id);
                    let change = self.gatherer.take(event);
                    let is_missed = generation.is_some_and(|generation| !self.listener.hear(generation));
                    if is_missed { Some(self.gatherer.lose()) } else { change }
                }
                Ok(None) => match poll(&mut [PollFd::new(&self.monitor, PollFlags::IN)], None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => None,
                    Err(error) => {
                        let source = error.into();
                        return Err(nftables::Error::Io { what: "cannot wait for notifications", source });
                    }
                },
                Err(nftables::Error::Unknown(_)) => {
                    self.listener.miss();
                    Some(self.gatherer.lose())
                }
                Err(error) => return Err(error),
            };
            if change.is_some_and(|change| !self.report(change)) {
                return Ok(());
            }
        }
    }

    /// False if nobody is left to report to.
    fn report(&self, change: ForeignChange) -> bool {
        self.events.send(Event::Foreign(change)).is_ok()
    }
}

impl<T: Tables> Agent<T> {
    /// From now on hears of what others do to our tables, as [`Event::Foreign`]. Commits must be made by the
    /// calling thread.
    ///
    /// # Errors
    /// The kernel lets no socket listen.
    pub fn listen(&mut self, events: Sender) -> Result<(), nftables::Error> {
        let own_thread = self.kernel.generation()?.thread;
        let listener = listen(self.settings.config.table.clone(), own_thread, events)?;
        listener.caught_up(self.kernel.generation()?.id);
        self.listener = Some(listener);
        Ok(())
    }

    /// Whether every commit up to the present was heard of.
    pub(super) fn heard_all(&mut self) -> Result<bool, nftables::Error> {
        let Some(listener) = &self.listener else { return Ok(false) };
        // The thread that listens may be a moment behind.
        for _ in 0..MOMENTS {
            let present = self.kernel.generation()?.id;
            if listener.state().heard == Some(present) {
                return Ok(true);
            }
            std::thread::sleep(MOMENT);
        }
        Ok(false)
    }

    /// Before a commit without notifications. Gives the generation, if anything listens.
    pub(super) fn stop_listening(&mut self) -> Result<Option<u32>, nftables::Error> {
        let Some(listener) = &self.listener else { return Ok(None) };
        let before = self.kernel.generation()?.id;
        listener.pause()?;
        Ok(Some(before))
    }

    /// After a commit without notifications: this must be the generation, else somebody else committed too.
    pub(super) fn listen_again(&mut self, expected: u32) {
        let Some(listener) = &self.listener else { return };
        let generation = listener.resume().and_then(|()| self.kernel.generation());
        match generation {
            Ok(generation) if generation.id == expected => listener.caught_up(expected),
            Ok(generation) => {
                listener.caught_up(generation.id);
                self.foreign(ForeignChange::default());
            }
            Err(error) => {
                info!(%error, "Changes by others may have been missed");
                self.foreign(ForeignChange::default());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 7;

    fn gatherer() -> Gatherer {
        Gatherer { table: "portolan".into(), own_thread: OWN, ours: false, sets: Scope::new() }
    }

    fn object(family: u8, table: &str, set: Option<&str>) -> nftables::Event {
        nftables::Event {
            message: 12,
            family,
            table: Some(table.into()),
            set: set.map(Into::into),
            generation: None,
        }
    }

    fn end(thread: u32) -> nftables::Event {
        let generation = Some(Generation { id: 3, thread, process: "nft".into() });
        nftables::Event { message: 15, family: 0, table: None, set: None, generation }
    }

    #[test]
    fn a_foreign_commit_is_told_with_the_sets_that_it_touched() {
        let mut gatherer = gatherer();
        for event in [
            object(2, "portolan", Some("frontends")),
            object(10, "portolan", None),
            object(2, "other", Some("other")),
            object(1, "portolan", Some("of-family-inet")),
        ] {
            assert_eq!(gatherer.take(event), None);
        }
        let change = gatherer.take(end(8)).unwrap();
        assert_eq!(change.by.unwrap().process, "nft");
        assert_eq!(change.sets, Scope::from([(Family::Ip, "frontends".into())]));
        assert_eq!(gatherer.take(end(8)), None, "the next commit touches nothing of ours");
    }

    #[test]
    fn our_own_commits_and_those_to_other_tables_are_passed_over() {
        let mut gatherer = gatherer();
        assert_eq!(gatherer.take(object(2, "portolan", Some("frontends"))), None);
        assert_eq!(gatherer.take(end(OWN)), None);
        assert_eq!(gatherer.take(object(2, "other", None)), None);
        assert_eq!(gatherer.take(end(8)), None);
    }

    #[test]
    fn a_generation_that_was_not_heard_of_is_noticed() {
        assert_eq!(follow(None, 7), (true, Some(7)));
        assert_eq!(follow(Some(7), 8), (true, Some(8)));
        assert_eq!(follow(Some(7), 9), (false, Some(9)));
        assert_eq!(follow(Some(7), 6), (true, Some(7)), "an old notification");
        assert_eq!(follow(Some(u32::MAX), 0), (true, Some(0)));
    }

    #[test]
    fn what_was_gathered_before_a_loss_means_nothing() {
        let mut gatherer = gatherer();
        gatherer.take(object(2, "portolan", Some("frontends")));
        assert_eq!(gatherer.lose(), ForeignChange::default());
        assert_eq!(gatherer.take(end(8)), None);
    }
}
