//! Notices when another process changes our tables.
//!
//! The kernel sends notifications of every commit; the last of them names the thread that made the commit. A separate
//! thread reads them, ignores the reconciler's commits and commits to other tables, and wakes the reconciler for the
//! rest.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::channel},
    time::Duration,
};

use portolan_rules::ruleset::{Family, Name};
use rustix::event::{PollFd, PollFlags, poll};
use tracing::{debug, info, trace, warn};

use super::{
    event::{Event, ForeignChange, Touched},
    queue::Sender,
};
use crate::{
    kernel::nftables::{self, Monitor},
    retry::Retry,
};

/// Gathers the notifications of one commit.
#[derive(Debug)]
struct Gatherer {
    table: Name,
    /// The number of the reconciler's thread in the kernel, not in its own PID namespace.
    own_thread: u32,
    /// What the commit has touched of our tables so far, if anything.
    touched: Option<ForeignChange>,
}

impl Gatherer {
    fn new(table: Name, own_thread: u32) -> Self {
        Self { table, own_thread, touched: None }
    }

    /// Takes a notification; returns the change if this was the last notification of another process's commit to our
    /// tables.
    fn take(&mut self, event: nftables::Notification) -> Option<ForeignChange> {
        let Some(by) = event.generation else {
            let family = Family::ALL.into_iter().find(|family| family.number() == event.family);
            if let Some(family) = family.filter(|_| event.table.as_ref() == Some(&self.table)) {
                let none = || ForeignChange { elements: Some(Touched::default()), ..Default::default() };
                let touched = self.touched.get_or_insert_with(none);
                let set = event.set.map(|set| (family, set));
                let more = set.clone().filter(|_| !event.keys.is_empty());
                touched.elements = touched
                    .elements
                    .take()
                    .zip(more)
                    .and_then(|(mut elements, set)| elements.add(set, event.keys).then_some(elements));
                touched.sets.extend(set);
            }
            return None;
        };
        let touched = self.touched.take();
        trace!(generation = by.id, thread = by.thread, process = by.process, ?touched, "Generation");
        let change = touched.filter(|_| by.thread != self.own_thread)?;
        Some(ForeignChange { by: Some(by), ..change })
    }

    /// Forgets what was gathered, because notifications were lost.
    fn lose(&mut self) -> ForeignChange {
        self.touched = None;
        ForeignChange::default()
    }
}

/// The first wait before the listener is opened again, after failures in a row.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest of these waits.
const LAST_RETRY: Duration = Duration::from_mins(1);

/// Waits for the next notification.
type Receive = Box<dyn FnMut() -> Result<nftables::Notification, nftables::Error>>;

fn receive(monitor: &mut Monitor) -> Result<nftables::Notification, nftables::Error> {
    loop {
        if let Some(event) = monitor.receive()? {
            return Ok(event);
        }
        match poll(&mut [PollFd::new(monitor, PollFlags::IN)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                return Err(nftables::Error::Io {
                    what: "cannot wait for notifications",
                    source: error.into(),
                });
            }
        }
    }
}

/// Subscribes or unsubscribes a socket.
type Subscribe = Box<dyn Fn(bool) -> Result<(), nftables::Error> + Send>;

/// The reconciler's handle on the listening thread.
#[derive(Clone)]
pub(super) struct Listener(Arc<Mutex<Listening>>);

struct Listening {
    subscribe: Subscribe,
    /// Whether the socket is subscribed.
    is_subscribed: bool,
    /// The generation up to which every commit was noticed; `None` after one was missed.
    noticed: Option<u32>,
}

impl Listener {
    fn state(&self) -> MutexGuard<'_, Listening> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes again, or unsubscribes for a while.
    pub(super) fn subscribe(&self, listen: bool) -> Result<(), nftables::Error> {
        let mut state = self.state();
        state.is_subscribed = listen;
        state.noticed = state.noticed.filter(|_| listen);
        (state.subscribe)(listen)
    }

    /// Notes that no commit up to this generation was missed.
    pub(super) fn caught_up(&self, generation: u32) {
        self.state().noticed = Some(generation);
    }

    /// Whether every commit up to this generation was noticed.
    pub(super) fn noticed(&self, generation: u32) -> bool {
        self.state().noticed == Some(generation)
    }

    /// Notes a commit. Returns whether the commits before it were noticed, too.
    fn notice(&self, generation: u32) -> bool {
        let mut state = self.state();
        let (is_next, noticed) = follow(state.noticed, generation);
        state.noticed = noticed;
        is_next
    }

    /// Replaces the socket of a subscription that failed.
    fn replace(&self, subscribe: Subscribe) -> Result<(), nftables::Error> {
        let mut state = self.state();
        subscribe(state.is_subscribed)?;
        (state.subscribe, state.noticed) = (subscribe, None);
        Ok(())
    }
}

/// Returns whether no generation was missed before this one, and the generation up to which all are now noticed.
/// Generations wrap around.
fn follow(noticed: Option<u32>, generation: u32) -> (bool, Option<u32>) {
    match noticed.map(|noticed| generation.wrapping_sub(noticed).cast_signed()) {
        None | Some(1) => (true, Some(generation)),
        // An old generation.
        Some(..=0) => (true, noticed),
        Some(_) => (false, Some(generation)),
    }
}

/// Starts a thread that listens for commits to the tables of this name by threads other than `own_thread`.
pub(super) fn listen(table: Name, own_thread: u32, events: Sender) -> Result<Listener, nftables::Error> {
    let name = table.clone();
    let open = move || -> Result<(Receive, Subscribe), nftables::Error> {
        let mut monitor = Monitor::open(&name)?;
        let subscription = monitor.subscription()?;
        Ok((Box::new(move || receive(&mut monitor)), Box::new(move |listen| subscription.set(listen))))
    };
    listen_on(open, table, own_thread, events)
}

/// Like [`listen`], with sockets from `open`. After a socket has failed, another is opened.
fn listen_on(
    open: impl Fn() -> Result<(Receive, Subscribe), nftables::Error> + Send + 'static,
    table: Name,
    own_thread: u32,
    events: Sender,
) -> Result<Listener, nftables::Error> {
    let (opened, outcome) = channel();
    let listening = move || {
        // The socket is opened here, since it stays on its thread.
        let (receive, listener) = match open() {
            Ok((receive, subscribe)) => {
                let state = Listening { subscribe, is_subscribed: true, noticed: None };
                let listener = Listener(Arc::new(Mutex::new(state)));
                let _ = opened.send(Ok(listener.clone()));
                (receive, listener)
            }
            Err(error) => {
                let _ = opened.send(Err(error));
                return;
            }
        };
        let gatherer = Gatherer::new(table, own_thread);
        let mut thread = ListenerThread { receive, gatherer, listener, events };
        let mut retry = Retry::between(FIRST_RETRY, LAST_RETRY);
        while let Err(error) = thread.until_failure(&mut retry) {
            let wait = retry.wait();
            warn!(%error, retry = ?wait, "Changes of our tables by other processes are not noticed for now");
            std::thread::sleep(wait);
            match open() {
                Ok((receive, subscribe)) => {
                    if thread.listener.replace(subscribe).is_ok() {
                        info!("Changes of our tables by other processes are noticed again");
                    }
                    thread.receive = receive;
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
    receive: Receive,
    gatherer: Gatherer,
    listener: Listener,
    events: Sender,
}

impl ListenerThread {
    /// Reports changes until receiving fails. Returns without an error once the queue is closed.
    fn until_failure(&mut self, retry: &mut Retry) -> Result<(), nftables::Error> {
        loop {
            let change = match (self.receive)() {
                Ok(event) => {
                    retry.succeeded();
                    let generation = event.generation.as_ref().map(|generation| generation.id);
                    let change = self.gatherer.take(event);
                    let is_missed = generation.is_some_and(|generation| !self.listener.notice(generation));
                    if is_missed { Some(self.gatherer.lose()) } else { change }
                }
                Err(nftables::Error::Unknown(_)) => {
                    self.listener.state().noticed = None;
                    Some(self.gatherer.lose())
                }
                Err(error) => return Err(error),
            };
            if change.is_some_and(|change| !self.report(change)) {
                return Ok(());
            }
        }
    }

    /// Reports a change. Returns false if the queue is closed.
    fn report(&self, change: ForeignChange) -> bool {
        self.events.send(Event::Foreign(change)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::nftables::{Generation, Scope};
    use portolan_rules::ruleset::Concat;

    const OWN: u32 = 7;

    fn gatherer() -> Gatherer {
        Gatherer::new("portolan".into(), OWN)
    }

    fn object(family: u8, table: &str, set: Option<&str>) -> nftables::Notification {
        nftables::Notification {
            family,
            table: Some(table.into()),
            set: set.map(Into::into),
            keys: Vec::new(),
            generation: None,
        }
    }

    fn end(thread: u32) -> nftables::Notification {
        let generation = Some(Generation { id: 3, thread, process: "nft".into() });
        nftables::Notification { family: 0, table: None, set: None, keys: Vec::new(), generation }
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
    fn elements_are_named_unless_anything_else_was_touched() {
        let key = |n: u8| Concat::from_bytes(&[n; 4]);
        let element =
            |n| nftables::Notification { keys: vec![key(n)], ..object(2, "portolan", Some("frontends")) };
        let touched = |events: Vec<nftables::Notification>| {
            let mut gatherer = gatherer();
            assert!(events.into_iter().all(|event| gatherer.take(event).is_none()));
            gatherer.take(end(8)).unwrap().elements
        };
        let mut both = Touched::default();
        assert!(both.add((Family::Ip, "frontends".into()), [key(1), key(2)]));
        assert_eq!(touched(vec![element(1), element(2)]), Some(both));
        for other in [object(2, "portolan", None), object(2, "portolan", Some("frontends"))] {
            assert_eq!(touched(vec![element(1), other.clone()]), None);
            assert_eq!(touched(vec![other, element(1)]), None);
        }
        let many = |n: u32| nftables::Notification {
            keys: vec![Concat::from_bytes(&n.to_be_bytes())],
            ..element(0)
        };
        assert_eq!(touched((0..10_000).map(many).collect()), None, "they are too many to look at one by one");
    }

    #[test]
    fn our_own_commits_and_those_to_other_tables_are_ignored() {
        let mut gatherer = gatherer();
        assert_eq!(gatherer.take(object(2, "portolan", Some("frontends"))), None);
        assert_eq!(gatherer.take(end(OWN)), None);
        assert_eq!(gatherer.take(object(2, "other", None)), None);
        assert_eq!(gatherer.take(end(8)), None);
    }

    /// A socket that has these notifications, and then fails.
    fn scripted(mut events: Vec<nftables::Notification>) -> Receive {
        let failed = || nftables::Error::Io {
            what: "cannot receive from the kernel",
            source: std::io::Error::other("it failed"),
        };
        Box::new(move || events.pop().ok_or_else(failed))
    }

    #[test]
    fn a_listener_that_fails_is_opened_again_and_what_it_missed_is_looked_for() {
        let (events, inbox) = super::super::queue(crate::observe::health::Health::default());
        let (subscribed, subscriptions) = channel();
        let opened = std::cell::Cell::new(0);
        let open = move || -> Result<(Receive, Subscribe), nftables::Error> {
            opened.set(opened.get() + 1);
            let subscribed = subscribed.clone();
            let number = opened.get();
            let subscribe: Subscribe = Box::new(move |listen| {
                let _ = subscribed.send((number, listen));
                Ok(())
            });
            match number {
                1 => Ok((scripted(Vec::new()), subscribe)),
                2 => Err(nftables::Error::Unknown("it cannot be opened now".to_owned())),
                _ => Ok((scripted(vec![end(8), object(2, "portolan", Some("frontends"))]), subscribe)),
            }
        };
        let listener = listen_on(open, "portolan".into(), OWN, events).unwrap();
        listener.caught_up(2);
        // Something may have been missed; then a commit is noticed again.
        let mut changes = ForeignChange {
            by: Some(Generation { id: 2, thread: 8, process: "nft".into() }),
            ..Default::default()
        };
        while changes.sets.is_empty() {
            for event in inbox.recv_timeout(Duration::from_mins(1)).expect("it listens again") {
                let Event::Foreign(change) = event else { panic!("{event:?}") };
                changes.append(change);
                assert_eq!(changes.by, None, "what was missed is not known");
            }
        }
        assert_eq!(changes.sets, Scope::from([(Family::Ip, "frontends".into())]));
        assert_eq!(subscriptions.try_iter().next(), Some((3, true)));
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
