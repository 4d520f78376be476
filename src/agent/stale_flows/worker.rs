//! The thread that searches for stale flows, and its tasks, which it shares with the reconciler.
//!
//! The kernel walks its whole table for each search, 28 ms for 100,000 entries. Changes of the rules must not wait for
//! that. A task stays here until it is done. What the reconciler learns meanwhile applies to tasks that are under way:
//! right before an entry is removed, the worker checks once more that the entry is stale.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use portolan_rules::{
    incremental::flows::{Destination, Flows},
    model::Protocol,
    ruleset::Family,
};
use tracing::{debug, warn};

use crate::{
    agent::{event::Event, queue::Sender},
    kernel::conntrack::{Conntrack, Error},
    observe::report::FlowRemoval,
    retry,
};

/// The time between a change of the rules and the search. The flow of a packet that came during the change is entered a
/// little later, and a TCP connection that was opened right before may still be answered.
const SETTLE: Duration = Duration::from_millis(20);

/// The protocols of a survey: for UDP, all destinations are searched instead.
const SURVEYED: [Protocol; 2] = [Protocol::Tcp, Protocol::Sctp];

/// Returns the pause after a search for a protocol that took this long. It bounds the share of a processor that endless
/// changes cost: during a search, the kernel may not give the processor to anything else. Changes of TCP are the most
/// frequent, and TCP clients send again after a second.
fn rest(protocol: Protocol, took: Duration) -> Duration {
    match protocol {
        Protocol::Udp | Protocol::Sctp => took * 9,
        Protocol::Tcp => (took * 49).max(Duration::from_secs(1)),
    }
}

/// The tasks, and a notification of their changes.
#[derive(Debug, Default)]
pub(super) struct Shared {
    tasks: Mutex<Tasks>,
    changed: Condvar,
}

/// The worker's tasks.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    queues: [Queue; Protocol::ALL.len()],
    pub survey: Survey,
    /// Removals that are not reported yet.
    pub reports: Vec<FlowRemoval>,
    /// Whether the reconciler waits for the tasks to end.
    pub hurried: bool,
    closed: bool,
}

/// The tasks of a protocol.
#[derive(Debug, Default)]
struct Queue {
    /// What to search for, and the earliest time.
    waiting: VecDeque<(Instant, Flows)>,
    /// What the worker searches for.
    working: Arc<Flows>,
    /// The earliest time of the next search.
    rested: Option<Instant>,
    retry: Retry,
}

/// The survey of flows that an earlier run left: their endpoints are listed first, since it is unknown which of them
/// are gone.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub wanted: bool,
    /// The outcome, if it was not taken yet.
    pub found: Option<BTreeSet<(Destination, SocketAddr)>>,
    retry: Retry,
}

/// When to retry what failed.
#[derive(Debug, Default)]
struct Retry {
    /// `None` if the last attempt did not fail.
    at: Option<Instant>,
    waits: retry::Retry,
}

impl Retry {
    /// Notes an attempt. The first failure is logged.
    fn note(&mut self, outcome: &Result<(), Error>) {
        let Err(error) = outcome else {
            *self = Self::default();
            return;
        };
        if self.at.is_none() {
            warn!(%error, "The search for stale flows failed; trying again later");
        }
        self.at = Some(Instant::now() + self.waits.wait());
    }
}

impl Queue {
    /// When the next task is due.
    fn due(&self, hurried: bool) -> Option<Instant> {
        let (due, _) = self.waiting.front()?;
        let rested = self.rested.filter(|_| !hurried);
        Some([Some(*due), rested, self.retry.at].into_iter().flatten().fold(*due, Ord::max))
    }

    /// Takes the tasks that are due.
    fn take(&mut self, now: Instant) -> Arc<Flows> {
        let ready = self.waiting.partition_point(|(due, _)| *due <= now);
        let mut flows = Flows::default();
        for (_, more) in self.waiting.drain(..ready) {
            flows.extend(more);
        }
        self.working = Arc::new(flows);
        self.working.clone()
    }

    fn is_settled(&self) -> bool {
        self.retry.at.is_some() || self.waiting.is_empty() && self.working.is_empty()
    }
}

impl Survey {
    fn due(&self, now: Instant) -> Option<Instant> {
        (self.wanted && self.found.is_none()).then(|| self.retry.at.unwrap_or(now))
    }
}

impl Tasks {
    /// Adds destinations whose flows may be stale from now on.
    pub(super) fn add(&mut self, flows: Flows) {
        let due = Instant::now() + SETTLE;
        for (protocol, flows) in flows.by_protocol() {
            self.queues[protocol as usize].waiting.push_back((due, flows));
        }
    }

    /// Calls `each` with all tasks, waiting or under way.
    pub(super) fn each(&mut self, mut each: impl FnMut(&mut Flows)) {
        for queue in &mut self.queues {
            queue.waiting.iter_mut().for_each(|(_, flows)| each(flows));
            queue.waiting.retain(|(_, flows)| !flows.is_empty());
            if !queue.working.is_empty() {
                each(Arc::make_mut(&mut queue.working));
            }
        }
    }

    /// Whether nothing is left but tasks that failed.
    pub(super) fn is_settled(&self) -> bool {
        let surveyed = !self.survey.wanted || self.survey.retry.at.is_some();
        surveyed && self.queues.iter().all(Queue::is_settled)
    }

    /// Whether a task failed and will be retried.
    pub(super) fn is_failing(&self) -> bool {
        let retries = self.queues.iter().map(|queue| &queue.retry).chain([&self.survey.retry]);
        retries.into_iter().any(|retry| retry.at.is_some())
    }

    /// The next job, or the time when it is due.
    fn next(&mut self) -> Result<Job, Option<Instant>> {
        let now = Instant::now();
        let mut next = self.survey.due(now);
        if next.is_some_and(|due| due <= now) {
            return Ok(Job::Survey);
        }
        for protocol in Protocol::ALL {
            let queue = &mut self.queues[protocol as usize];
            match queue.due(self.hurried) {
                Some(due) if due <= now => return Ok(Job::Search(protocol, queue.take(now))),
                due => next = [next, due].into_iter().flatten().min(),
            }
        }
        Err(next)
    }

    /// Notes the outcome of a search. What failed stays.
    fn searched(&mut self, removal: FlowRemoval, destinations: usize, outcome: &Result<(), Error>) {
        let now = Instant::now();
        let queue = &mut self.queues[removal.protocol as usize];
        queue.retry.note(outcome);
        let flows = std::mem::take(&mut queue.working);
        if outcome.is_err() && !flows.is_empty() {
            queue.waiting.push_front((now, Arc::unwrap_or_clone(flows)));
        }
        queue.rested = Some(now + rest(removal.protocol, removal.duration));
        let removed: usize = removal.removed.iter().sum();
        debug!(protocol = %removal.protocol, removed, destinations, duration = ?removal.duration, "Stale flows removed");
        self.reports.push(removal);
    }
}

enum Job {
    Survey,
    Search(Protocol, Arc<Flows>),
}

impl Shared {
    pub(super) fn tasks(&self) -> MutexGuard<'_, Tasks> {
        // A thread that panicked left valid values.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the threads that wait for a change of the tasks.
    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits until the tasks change, or until this time.
    pub(super) fn wait<'a>(
        &self,
        tasks: MutexGuard<'a, Tasks>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, Tasks> {
        let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        self.changed.wait_timeout(tasks, left).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ends the worker after its current job.
    pub(super) fn close(&self) {
        self.tasks().closed = true;
        self.notify();
    }

    /// Waits for the next job. Returns `None` once the tasks are closed.
    fn next(&self) -> Option<Job> {
        let mut tasks = self.tasks();
        while !tasks.closed {
            match tasks.next() {
                Ok(job) => return Some(job),
                Err(due) => tasks = self.wait(tasks, due),
            }
        }
        None
    }
}

/// Searches for stale flows until the tasks are closed. Sends an event after each job.
pub(super) fn work(shared: &Shared, events: Option<&Sender>) {
    // Opened at once, while there are file descriptors left. A failure is logged with the first job.
    let mut conntrack = Conntrack::open().ok();
    while let Some(job) = shared.next() {
        match job {
            Job::Survey => survey(shared, &mut conntrack),
            Job::Search(protocol, flows) => search(shared, &mut conntrack, protocol, &flows),
        }
        shared.notify();
        // The queue is closed when the agent ends.
        let _ = events.map(|events| events.send(Event::Flows));
    }
}

/// Removes the stale flows of a protocol.
fn search(shared: &Shared, conntrack: &mut Option<Conntrack>, protocol: Protocol, flows: &Flows) {
    let started = Instant::now();
    let mut removed = [0; 2];
    let still = |destination: Destination, source: SocketAddr| {
        shared.tasks().queues[protocol as usize].working.is_stale(destination, source)
    };
    let outcome = opened(conntrack).and_then(|conntrack| {
        Family::ALL.into_iter().try_for_each(|family| {
            conntrack.remove_stale(family, flows, &still, &mut removed[family as usize])
        })
    });
    let removal = FlowRemoval { protocol, removed, duration: started.elapsed(), failed: outcome.is_err() };
    shared.tasks().searched(removal, flows.destinations().len(), &outcome);
}

/// Lists the endpoints of the flows of all protocols but UDP.
fn survey(shared: &Shared, conntrack: &mut Option<Conntrack>) {
    let mut found = BTreeSet::new();
    let mut reports = Vec::new();
    let outcome = opened(conntrack).and_then(|conntrack| {
        SURVEYED.into_iter().try_for_each(|protocol| {
            let started = Instant::now();
            let flows = conntrack.survey(protocol);
            let failed = flows.is_err();
            reports.push(FlowRemoval { protocol, removed: [0; 2], duration: started.elapsed(), failed });
            found.extend(flows?);
            Ok(())
        })
    });
    let mut tasks = shared.tasks();
    tasks.reports.extend(reports);
    tasks.survey.retry.note(&outcome);
    tasks.survey.found = outcome.is_ok().then_some(found);
}

fn opened(conntrack: &mut Option<Conntrack>) -> Result<&mut Conntrack, Error> {
    Ok(match conntrack {
        Some(conntrack) => conntrack,
        none => none.insert(Conntrack::open()?),
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn gone(protocol: Protocol, endpoint: &str) -> (Destination, SocketAddr, Flows) {
        let (destination, endpoint) = ("10.96.0.1:53".parse().unwrap(), endpoint.parse().unwrap());
        let (destination, mut flows) = (Destination::new(protocol, destination), Flows::default());
        flows.add_gone(destination, [endpoint]);
        (destination, endpoint, flows)
    }

    /// The next search, once it is due.
    fn job(tasks: &mut Tasks) -> Option<(Protocol, Arc<Flows>)> {
        loop {
            match tasks.next() {
                Ok(Job::Search(protocol, flows)) => return Some((protocol, flows)),
                Ok(Job::Survey) => panic!("no survey was asked for"),
                Err(due) => std::thread::sleep(due?.saturating_duration_since(Instant::now())),
            }
        }
    }

    fn ended(tasks: &mut Tasks, protocol: Protocol, outcome: &Result<(), Error>) {
        let failed = outcome.is_err();
        let removal = FlowRemoval { protocol, removed: [0; 2], duration: Duration::ZERO, failed };
        tasks.searched(removal, 1, outcome);
    }

    #[test]
    fn what_is_handed_over_is_searched_once_and_what_comes_meanwhile_later() {
        let mut tasks = Tasks::default();
        assert!(tasks.is_settled() && job(&mut tasks).is_none());
        let (destination, first, flows) = gone(Protocol::Sctp, "10.0.0.1:53");
        tasks.add(flows);
        assert!(matches!(tasks.next(), Err(Some(_))), "not before the rules have settled");
        let (protocol, flows) = job(&mut tasks).unwrap();
        assert_eq!(protocol, Protocol::Sctp);
        assert!(flows.is_stale(destination, first) && !tasks.is_settled());

        let (_, second, more) = gone(Protocol::Sctp, "10.0.0.2:53");
        tasks.add(more);
        ended(&mut tasks, protocol, &Ok(()));
        let (_, flows) = job(&mut tasks).unwrap();
        assert!(flows.is_stale(destination, second) && !flows.is_stale(destination, first));
        ended(&mut tasks, protocol, &Ok(()));
        assert!(tasks.is_settled() && !tasks.is_failing() && job(&mut tasks).is_none());
    }

    #[test]
    fn what_fails_stays_and_is_tried_again() {
        let mut tasks = Tasks::default();
        let (destination, endpoint, flows) = gone(Protocol::Tcp, "10.0.0.1:53");
        tasks.add(flows);
        for _ in 0..2 {
            let (protocol, flows) = job(&mut tasks).unwrap();
            assert!(flows.is_stale(destination, endpoint));
            let error = crate::kernel::nftables::Error::Unknown(io::ErrorKind::Interrupted.to_string());
            ended(&mut tasks, protocol, &Err(error.into()));
            assert!(tasks.is_failing());
            assert!(tasks.is_settled(), "the end does not wait for it");
        }
        let (protocol, _) = job(&mut tasks).unwrap();
        ended(&mut tasks, protocol, &Ok(()));
        assert!(!tasks.is_failing() && job(&mut tasks).is_none());
    }

    #[test]
    fn what_is_learnt_meanwhile_holds_for_what_is_under_way() {
        let mut tasks = Tasks::default();
        let (_, _, flows) = gone(Protocol::Tcp, "10.0.0.1:53");
        tasks.add(flows);
        let (protocol, _) = job(&mut tasks).unwrap();
        let (_, _, waiting) = gone(Protocol::Tcp, "10.0.0.2:53");
        tasks.add(waiting);
        let mut seen = 0;
        tasks.each(|flows| {
            seen += 1;
            *flows = Flows::default();
        });
        assert_eq!(seen, 2);
        assert!(tasks.queues[protocol as usize].working.is_empty());
        ended(&mut tasks, protocol, &Ok(()));
        assert!(tasks.is_settled() && job(&mut tasks).is_none());
    }

    #[test]
    fn tcp_is_searched_once_a_second_at_most() {
        for (protocol, least) in [(Protocol::Tcp, Duration::from_secs(1)), (Protocol::Udp, Duration::ZERO)] {
            let mut tasks = Tasks::default();
            tasks.add(gone(protocol, "10.0.0.1:53").2);
            assert!(job(&mut tasks).is_some());
            let started = Instant::now();
            ended(&mut tasks, protocol, &Ok(()));
            tasks.add(gone(protocol, "10.0.0.2:53").2);
            let [due, hurried] =
                [false, true].map(|hurried| tasks.queues[protocol as usize].due(hurried).unwrap());
            assert!(due >= started + least, "{protocol}");
            assert!(hurried <= Instant::now() + SETTLE, "the end waits for nothing");
        }
    }
}
