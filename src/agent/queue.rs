//! The queue of events for the reconciler. It has at most one entry per object, a bounded number of queries, and one
//! event of each other kind, so that its size is bounded while a long commit or an unread log delays the reconciler.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use super::event::{Ending, Event, ForeignChange};
use crate::{
    observe::{health::Health, query::Query},
    source::{Backlog, Closed, Inbox, SourceEvent},
};

/// The most queries that wait for an answer.
const QUERIES: usize = 16;

/// Creates an empty queue. For health, a change is waiting from the moment when it arrives in the queue.
pub fn queue(health: Health) -> (Sender, Receiver) {
    let shared = Arc::new(Shared { health, pending: Mutex::default() });
    let (wake, woken) = sync_channel(1);
    (Sender { shared: Arc::clone(&shared), wake }, Receiver { shared, woken })
}

/// The sending end; clones fill the same queue.
#[derive(Clone, Debug)]
pub struct Sender {
    shared: Arc<Shared>,
    /// Full while there are events for which the receiver was not woken.
    wake: SyncSender<()>,
}

/// The receiving end.
#[derive(Debug)]
pub struct Receiver {
    shared: Arc<Shared>,
    woken: mpsc::Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    health: Health,
    pending: Mutex<Pending>,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    /// Adds an event; never waits.
    ///
    /// # Errors
    /// The receiver is gone.
    pub fn send(&self, event: Event) -> Result<(), Closed> {
        // The receiver finds the event when it is woken, since it waits for the lock.
        let mut pending = self.shared.pending();
        if matches!(self.wake.try_send(()), Err(TrySendError::Disconnected(()))) {
            return Err(Closed);
        }
        if matches!(&event, Event::Source(news) if !matches!(news, SourceEvent::Failed)) {
            self.shared.health.arrived();
        }
        pending.push(event);
        Ok(())
    }
}

impl Inbox for Sender {
    fn report(&self, event: SourceEvent) -> Result<(), Closed> {
        self.send(Event::Source(event))
    }
}

impl Receiver {
    /// Takes all queued events, possibly none.
    pub fn take(&self) -> Vec<Event> {
        let mut pending = self.shared.pending();
        let events = pending.take();
        if !events.is_empty() {
            self.shared.health.taken_up();
        }
        events
    }

    /// Waits for events, and takes them.
    ///
    /// # Errors
    /// There are no events, and no more can come.
    pub fn recv(&self) -> Result<Vec<Event>, RecvTimeoutError> {
        self.recv_timeout(Duration::MAX)
    }

    /// Waits for events for at most this long, and takes them.
    ///
    /// # Errors
    /// The time is over, or no more events can come.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Vec<Event>, RecvTimeoutError> {
        let began = Instant::now();
        loop {
            let events = self.take();
            if !events.is_empty() {
                return Ok(events);
            }
            self.woken.recv_timeout(timeout.saturating_sub(began.elapsed()))?;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Drops queries, so that their senders no longer wait.
        *self.shared.pending() = Pending::default();
    }
}

/// The events of a queue, each kind merged into one.
#[derive(Debug, Default)]
struct Pending {
    updates: Backlog,
    addresses: bool,
    flows: bool,
    foreign: Option<ForeignChange>,
    /// The newest queries; older ones are not answered.
    queries: Vec<Query>,
    stop: Option<Ending>,
}

impl Pending {
    fn push(&mut self, event: Event) {
        match event {
            Event::Source(SourceEvent::Update(update)) => self.updates.append(update),
            Event::Source(SourceEvent::Addresses) => self.addresses = true,
            Event::Source(SourceEvent::Failed) => self.stop(Ending::Failed),
            Event::Flows => self.flows = true,
            Event::Foreign(change) => match &mut self.foreign {
                Some(foreign) => foreign.append(change),
                none => *none = Some(change),
            },
            Event::Query(query) => {
                if self.queries.len() >= QUERIES {
                    self.queries.remove(0);
                }
                self.queries.push(query);
            }
            Event::Stop(ending) => self.stop(ending),
        }
    }

    /// The first reason to stop is the one that counts.
    fn stop(&mut self, ending: Ending) {
        self.stop.get_or_insert(ending);
    }

    /// Takes everything as events, with the one to stop last.
    fn take(&mut self) -> Vec<Event> {
        let Self { mut updates, addresses, flows, foreign, queries, stop } = std::mem::take(self);
        let mut events = Vec::new();
        if !updates.is_empty() {
            events.push(Event::Source(SourceEvent::Update(updates.take())));
        }
        events.extend(addresses.then_some(Event::Source(SourceEvent::Addresses)));
        events.extend(flows.then_some(Event::Flows));
        events.extend(foreign.map(Event::Foreign));
        events.extend(queries.into_iter().map(Event::Query));
        events.extend(stop.map(Event::Stop));
        events
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use portolan_rules::{
        model::{EndpointSlice, ObjectName},
        ruleset::{Concat, Family},
    };

    use super::{super::event::Touched, *};
    use crate::{
        kernel::nftables::{Generation, Scope},
        source::{Change, SourceEvent, Update, manifest::Completeness},
    };

    const ADDRESSES: Event = Event::Source(SourceEvent::Addresses);

    fn slice(number: u32) -> Change {
        let name = ObjectName::new("default", format!("s{number}"));
        let (ports, endpoints) = (Vec::new(), Vec::new());
        let slice = EndpointSlice { name: name.clone(), service: "web".into(), ports, endpoints };
        Change::Slice(name, Some(Arc::new(slice)))
    }

    #[test]
    fn a_storm_that_is_not_taken_up_leaves_one_entry_an_object() {
        let (sender, receiver) = queue(Health::default());
        for number in 0..1_000_000 {
            let changes = vec![slice(number % 100)];
            sender.report(SourceEvent::Update(Update { changes, ..Update::default() })).unwrap();
            if number % 1000 == 0 {
                assert!(receiver.shared.pending().updates.len() <= 100);
            }
        }
        for event in [ADDRESSES, Event::Flows, ADDRESSES, Event::Flows] {
            sender.send(event).unwrap();
        }
        let events = receiver.take();
        let [Event::Source(SourceEvent::Update(update)), Event::Source(SourceEvent::Addresses), Event::Flows] =
            &*events
        else {
            panic!("{events:?}")
        };
        assert_eq!(update.changes.len(), 100);
        assert!(receiver.take().is_empty());
    }

    #[test]
    fn a_change_waits_from_when_it_arrives() {
        let health = Health::default();
        let (sender, receiver) = queue(health.clone());
        for event in [Event::Flows, Event::Foreign(ForeignChange::default())] {
            sender.send(event).unwrap();
        }
        assert_eq!(health.report().waiting, None, "there may be nothing to do");
        sender.send(ADDRESSES).unwrap();
        assert!(health.report().waiting.is_some());
        // A reconcile that ends meanwhile has not read it.
        health.synced();
        assert!(health.report().waiting.is_some());
        receiver.take();
        assert!(health.report().waiting.is_some(), "it is not in the kernel yet");
        health.synced();
        assert_eq!(health.report().waiting, None);
    }

    #[test]
    fn manifests_are_merged_as_well() {
        let (sender, receiver) = queue(Health::default());
        let (partial, whole) = (Some(Completeness::Partial), Some(Completeness::Whole));
        for (number, completeness) in [(1, partial), (2, whole), (1, None)] {
            let update = Update { changes: vec![slice(number)], completeness, ..Update::default() };
            sender.report(SourceEvent::Update(update)).unwrap();
        }
        let events = receiver.take();
        let [
            Event::Source(SourceEvent::Update(Update {
                changes,
                completeness: Some(Completeness::Whole),
                ..
            })),
        ] = &*events
        else {
            panic!("{events:?}")
        };
        assert_eq!(*changes, [slice(1), slice(2)]);
        // That the input is complete again is news, though nothing else changed.
        let update = Update { completeness: whole, ..Update::default() };
        sender.report(SourceEvent::Update(update)).unwrap();
        assert_eq!(receiver.recv().unwrap().len(), 1);
    }

    #[test]
    fn what_others_did_is_one_change_with_all_that_they_touched() {
        let by = |id| Some(Generation { id, thread: 9, process: "nft".to_owned() });
        let scope = |set: &str| Scope::from([(Family::Ip, set.into())]);
        let merged = |changes: [&ForeignChange; 2]| {
            let (sender, receiver) = queue(Health::default());
            for change in changes {
                sender.send(Event::Foreign(change.clone())).unwrap();
            }
            match receiver.take().pop() {
                Some(Event::Foreign(change)) => change,
                other => panic!("{other:?}"),
            }
        };
        let touched = |set: &str| {
            let mut touched = Touched::default();
            assert!(touched.add((Family::Ip, set.into()), [Concat::default()]));
            touched
        };
        let change =
            |id, set: &str| ForeignChange { by: by(id), sets: scope(set), elements: Some(touched(set)) };
        let (first, second) = (change(3, "frontends"), change(4, "endpoints"));
        let both = merged([&first, &second]);
        assert_eq!(both.by, by(4));
        assert_eq!(both.sets, &scope("frontends") | &scope("endpoints"));
        assert_eq!(both.elements, touched("frontends").and(touched("endpoints")));
        // A lost commit may have touched anything; what is known is kept.
        let lost = ForeignChange::default();
        assert_eq!(merged([&lost, &second]), ForeignChange { by: None, elements: None, ..second.clone() });
        assert_eq!(merged([&first, &lost]), ForeignChange { by: None, elements: None, ..first.clone() });
    }

    #[test]
    fn a_receiver_is_woken_by_an_event_and_by_the_end() {
        let (sender, receiver) = queue(Health::default());
        let sending = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            sender.clone().send(ADDRESSES).unwrap();
            thread::sleep(Duration::from_millis(50));
        });
        assert!(matches!(&*receiver.recv().unwrap(), [Event::Source(SourceEvent::Addresses)]));
        let ended = receiver.recv_timeout(Duration::from_mins(5));
        assert_eq!(ended.unwrap_err(), RecvTimeoutError::Disconnected);
        assert!(receiver.recv().is_err());
        sending.join().unwrap();

        let (sender, receiver) = queue(Health::default());
        let ended = receiver.recv_timeout(Duration::from_millis(1));
        assert_eq!(ended.unwrap_err(), RecvTimeoutError::Timeout);
        drop(receiver);
        assert_eq!(sender.send(ADDRESSES), Err(Closed));
    }

    #[test]
    fn to_stop_comes_after_what_came_before() {
        let (sender, receiver) = queue(Health::default());
        for event in [Event::Stop(Ending::Failed), ADDRESSES, Event::Stop(Ending::Asked)] {
            sender.send(event).unwrap();
        }
        assert!(matches!(
            &*receiver.take(),
            [Event::Source(SourceEvent::Addresses), Event::Stop(Ending::Failed)]
        ));
    }
}
