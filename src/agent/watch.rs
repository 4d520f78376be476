//! Notices when another process changes our tables.
//!
//! The kernel sends notifications of every commit, and names at its end the thread that made it. A thread of our own reads
//! them, ignores the reconciler's commits and those to other tables, and wakes the reconciler for the rest.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::channel},
    time::Duration,
};

use portolan_rules::ruleset::{Family, Name};
use rustix::event::{PollFd, PollFlags, poll};
use tracing::{debug, info, trace, warn};

use super::{Agent, Event, Sender, Tables};
use crate::kernel::nftables::{self, Generation, Monitor, Scope, Subscription};

/// A change of our tables by another process.
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
    /// Takes a notification; returns the change if it was the last of another process's commit to our tables.
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

/// How long to wait for the listening thread, and how often.
const MOMENT: Duration = Duration::from_millis(2);
const MOMENTS: usize = 5;
/// The wait before the listener is opened again after a failure; it doubles each further time,
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// up to this.
const LAST_RETRY: Duration = Duration::from_mins(1);

/// The reconciler's handle on the listening thread.
#[derive(Debug)]
pub(super) struct Listener(Arc<Mutex<Listening>>);

#[derive(Debug)]
struct Listening {
    subscription: Subscription,
    /// Whether the socket is subscribed.
    is_subscribed: bool,
    /// The generation up to which every commit was noticed; `None` after one was missed.
    noticed: Option<u32>,
}

impl Listener {
    fn state(&self) -> MutexGuard<'_, Listening> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the subscription for a while.
    fn unsubscribe(&self) -> Result<(), nftables::Error> {
        let mut state = self.state();
        (state.is_subscribed, state.noticed) = (false, None);
        state.subscription.listen(false)
    }

    fn subscribe(&self) -> Result<(), nftables::Error> {
        let mut state = self.state();
        state.is_subscribed = true;
        state.subscription.listen(true)
    }

    /// Notes that no commit up to this generation was missed.
    fn caught_up(&self, generation: u32) {
        self.state().noticed = Some(generation);
    }

    /// Notes a commit. Returns whether those before it were noticed, too.
    fn notice(&self, generation: u32) -> bool {
        let mut state = self.state();
        let (is_next, noticed) = follow(state.noticed, generation);
        state.noticed = noticed;
        is_next
    }

    fn miss(&self) {
        self.state().noticed = None;
    }

    /// Replaces the socket of a subscription that failed.
    fn replace(&self, subscription: Subscription) -> Result<(), nftables::Error> {
        let mut state = self.state();
        subscription.listen(state.is_subscribed)?;
        (state.subscription, state.noticed) = (subscription, None);
        Ok(())
    }
}

/// Whether no generation was missed before this one, and the one up to which all are noticed after it. They wrap around.
fn follow(noticed: Option<u32>, generation: u32) -> (bool, Option<u32>) {
    match noticed.map(|noticed| generation.wrapping_sub(noticed).cast_signed()) {
        None | Some(1) => (true, Some(generation)),
        // An old one.
        Some(..=0) => (true, noticed),
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
                let state = Listening { subscription, is_subscribed: true, noticed: None };
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
        let mut thread = ListenerThread { monitor, gatherer, listener, events };
        let mut wait = FIRST_RETRY;
        while let Err(error) = thread.until_failure(&mut wait) {
            warn!(%error, retry = ?wait, "Changes of our tables by other processes are not noticed for now");
            std::thread::sleep(wait);
            wait = (wait * 2).min(LAST_RETRY);
            match open() {
                Ok((monitor, subscription)) => {
                    if thread.listener.replace(subscription).is_ok() {
                        info!("Changes of our tables by other processes are noticed again");
                    }
                    thread.monitor = monitor;
                }
                Err(error) => debug!(%error, "The listener cannot be opened"),
            }
            if !thread.report(ForeignChange::default()) {
                return;
            }
        }
    };
    let started = std::thread::Builder::new().name("nftables".into()).spawn(listening);
    started.map_err(|source| nftables::Error::Io { what: "cannot start a thread", source })?;
    outcome.recv().unwrap_or_else(|_| Err(nftables::Error::Unknown("a thread ended early".to_owned())))
}

/// The listening thread.
struct ListenerThread {
    monitor: Monitor,
    gatherer: Gatherer,
    listener: Listener,
    events: Sender,
}

impl ListenerThread {
    /// Reports changes until that fails; without an error once the queue is closed.
    fn until_failure(&mut self, wait: &mut Duration) -> Result<(), nftables::Error> {
        loop {
            let change = match self.monitor.receive() {
                Ok(Some(event)) => {
                    *wait = FIRST_RETRY;
                    let generation = event.generation.as_ref().map(|generation| generation.id);
                    let change = self.gatherer.take(event);
                    let is_missed = generation.is_some_and(|generation| !self.listener.notice(generation));
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

    /// False if the queue is closed.
    fn report(&self, change: ForeignChange) -> bool {
        self.events.send(Event::Foreign(change)).is_ok()
    }
}

impl<T: Tables> Agent<T> {
    /// Sends [`Event::Foreign`] from now on when another process changes our tables. Commits must be made by the calling
    /// thread.
    ///
    /// # Errors
    /// The kernel refuses the subscription.
    pub fn listen(&mut self, events: Sender) -> Result<(), nftables::Error> {
        let own_thread = self.kernel.generation()?.thread;
        let listener = listen(self.settings.config.table.clone(), own_thread, events)?;
        listener.caught_up(self.kernel.generation()?.id);
        self.listener = Some(listener);
        Ok(())
    }

    /// Whether every commit up to the present was noticed.
    pub(super) fn noticed_all(&mut self) -> Result<bool, nftables::Error> {
        let Some(listener) = &self.listener else { return Ok(false) };
        // The listening thread may be a moment behind.
        for _ in 0..MOMENTS {
            let present = self.kernel.generation()?.id;
            if listener.state().noticed == Some(present) {
                return Ok(true);
            }
            std::thread::sleep(MOMENT);
        }
        Ok(false)
    }

    /// Before a commit without notifications. Returns the generation, if there is a listener.
    pub(super) fn unsubscribe(&mut self) -> Result<Option<u32>, nftables::Error> {
        let Some(listener) = &self.listener else { return Ok(None) };
        let before = self.kernel.generation()?.id;
        listener.unsubscribe()?;
        Ok(Some(before))
    }

    /// After a commit without notifications: this must be the generation, else another process committed too.
    pub(super) fn resubscribe(&mut self, expected: u32) {
        let Some(listener) = &self.listener else { return };
        let generation = listener.subscribe().and_then(|()| self.kernel.generation());
        match generation {
            Ok(generation) if generation.id == expected => listener.caught_up(expected),
            Ok(generation) => {
                listener.caught_up(generation.id);
                self.foreign(ForeignChange::default());
            }
            Err(error) => {
                info!(%error, "Changes by other processes may have been missed");
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
    fn a_foreign_commit_is_reported_with_the_sets_that_it_touched() {
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
    fn our_own_commits_and_those_to_other_tables_are_ignored() {
        let mut gatherer = gatherer();
        assert_eq!(gatherer.take(object(2, "portolan", Some("frontends"))), None);
        assert_eq!(gatherer.take(end(OWN)), None);
        assert_eq!(gatherer.take(object(2, "other", None)), None);
        assert_eq!(gatherer.take(end(8)), None);
    }

    #[test]
    fn a_missed_generation_is_noticed() {
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
