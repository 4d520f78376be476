//! The thread that looks for stale flows, and what it shares with the reconciler.
//!
//! The kernel walks its whole table for each look, 28 ms for 100,000 entries: nothing that a change of the rules should wait
//! for. What is handed over stays here until it is done. What the reconciler learns meanwhile holds for what is under way:
//! right before an entry is removed, it is asked whether it is still stale.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use portolan_rules::{
    flows::{Destination, Flows},
    model::Protocol,
    ruleset::Family,
};
use tracing::{debug, warn};

use super::super::{Event, FIRST_RETRY, FlowRemoval, LAST_RETRY, Sender};
use crate::kernel::conntrack::{Conntrack, Error};

/// So long after the rules changed flows are looked for. A packet that came by while they did enters its flow a little
/// later, and a TCP connection that was asked for right before may yet be answered.
const SETTLE: Duration = Duration::from_millis(20);

/// The protocols of which a survey is made: of UDP, all destinations are looked at instead.
const SURVEYED: [Protocol; 2] = [Protocol::Tcp, Protocol::Sctp];

/// How much longer than a look took there is no other of that protocol, so that changes without end cost a bounded part of
/// a processor. TCP changes come most often, and who waits for an answer asks again after a second.
const fn rest(protocol: Protocol) -> u32 {
    match protocol {
        Protocol::Udp | Protocol::Sctp => 9,
        Protocol::Tcp => 49,
    }
}

/// What the reconciler and the worker share.
#[derive(Debug, Default)]
pub(super) struct Desk {
    papers: Mutex<Papers>,
    changed: Condvar,
}

/// What lies on the desk.
#[derive(Debug, Default)]
pub(super) struct Papers {
    queues: [Queue; Protocol::ALL.len()],
    survey: Survey,
    /// What was done, and is not counted yet.
    pub reports: Vec<FlowRemoval>,
    /// Whether somebody waits for the end.
    pub hurried: bool,
    closed: bool,
}

/// What is to be done for a protocol.
#[derive(Debug, Default)]
struct Queue {
    /// Where to look, and not before when.
    waiting: VecDeque<(Instant, Flows)>,
    /// Where the worker looks.
    working: Arc<Flows>,
    /// Not before this there is another look.
    rested: Option<Instant>,
    retry: Retry,
}

/// Flows that an earlier run left: who answers which is asked for first, since nobody knows which endpoints went.
#[derive(Debug, Default)]
struct Survey {
    wanted: bool,
    found: Option<BTreeSet<(Destination, SocketAddr)>>,
    retry: Retry,
}

/// When to try again what failed.
#[derive(Debug, Default)]
struct Retry {
    /// `None` if it did not fail.
    at: Option<Instant>,
    wait: Duration,
}

impl Retry {
    /// Notes an attempt. A failure is said once.
    fn note(&mut self, outcome: &Result<(), Error>) {
        let Err(error) = outcome else {
            *self = Self::default();
            return;
        };
        if self.at.is_none() {
            warn!("{error}; stale flows are looked for again later");
        }
        self.wait = (self.wait * 2).clamp(FIRST_RETRY, LAST_RETRY);
        self.at = Some(Instant::now() + self.wait);
    }
}

impl Queue {
    /// When there is something to do next.
    fn due(&self, hurried: bool) -> Option<Instant> {
        let (due, _) = self.waiting.front()?;
        let rested = self.rested.filter(|_| !hurried);
        Some([Some(*due), rested, self.retry.at].into_iter().flatten().fold(*due, Ord::max))
    }

    /// Takes what is due.
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

impl Papers {
    /// Adds destinations whose flows may be stale from now on.
    pub(super) fn add(&mut self, flows: Flows) {
        let due = Instant::now() + SETTLE;
        for (protocol, flows) in flows.by_protocol() {
            self.queues[protocol as usize].waiting.push_back((due, flows));
        }
    }

    /// Asks for a survey.
    pub(super) fn survey(&mut self) {
        self.survey.wanted = true;
    }

    /// Whether a survey has found something that nobody took yet.
    pub(super) const fn is_surveyed(&self) -> bool {
        self.survey.found.is_some()
    }

    /// What a survey found, once.
    pub(super) fn take_survey(&mut self) -> Option<BTreeSet<(Destination, SocketAddr)>> {
        let found = self.survey.found.take()?;
        self.survey.wanted = false;
        Some(found)
    }

    /// Calls `each` with all that waits or is under way.
    pub(super) fn each(&mut self, mut each: impl FnMut(&mut Flows)) {
        for queue in &mut self.queues {
            queue.waiting.iter_mut().for_each(|(_, flows)| each(flows));
            queue.waiting.retain(|(_, flows)| !flows.is_empty());
            if !queue.working.is_empty() {
                each(Arc::make_mut(&mut queue.working));
            }
        }
    }

    /// Whether nothing is left but what failed.
    pub(super) fn is_settled(&self) -> bool {
        let surveyed = !self.survey.wanted || self.survey.retry.at.is_some();
        surveyed && self.queues.iter().all(Queue::is_settled)
    }

    /// Whether something failed that will be tried again.
    pub(super) fn is_failing(&self) -> bool {
        let retries = self.queues.iter().map(|queue| &queue.retry).chain([&self.survey.retry]);
        retries.into_iter().any(|retry| retry.at.is_some())
    }

    /// What there is to do now, or when there is.
    fn next(&mut self) -> Result<Job, Option<Instant>> {
        let now = Instant::now();
        let mut next = self.survey.due(now);
        if next.is_some_and(|due| due <= now) {
            return Ok(Job::Survey);
        }
        for protocol in Protocol::ALL {
            let queue = &mut self.queues[protocol as usize];
            match queue.due(self.hurried) {
                Some(due) if due <= now => return Ok(Job::Look(protocol, queue.take(now))),
                due => next = [next, due].into_iter().flatten().min(),
            }
        }
        Err(next)
    }

    /// Notes how a look ended. What failed stays.
    fn looked(&mut self, removal: FlowRemoval, destinations: usize, outcome: &Result<(), Error>) {
        let now = Instant::now();
        let queue = &mut self.queues[removal.protocol as usize];
        queue.retry.note(outcome);
        let flows = std::mem::take(&mut queue.working);
        if outcome.is_err() && !flows.is_empty() {
            queue.waiting.push_front((now, Arc::unwrap_or_clone(flows)));
        }
        queue.rested = Some(now + removal.duration * rest(removal.protocol));
        let removed: usize = removal.removed.iter().sum();
        debug!(protocol = %removal.protocol, removed, destinations, duration = ?removal.duration, "Stale flows removed");
        self.reports.push(removal);
    }
}

enum Job {
    Survey,
    Look(Protocol, Arc<Flows>),
}

impl Desk {
    pub(super) fn papers(&self) -> MutexGuard<'_, Papers> {
        // Whoever panicked left whole values.
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has whoever waits look at the desk.
    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits until something on the desk changed, or for so long.
    pub(super) fn wait<'a>(
        &self,
        papers: MutexGuard<'a, Papers>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, Papers> {
        let Some(until) = until else {
            return self.changed.wait(papers).unwrap_or_else(PoisonError::into_inner);
        };
        let left = until.saturating_duration_since(Instant::now());
        self.changed.wait_timeout(papers, left).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ends the worker, after what it is at.
    pub(super) fn close(&self) {
        self.papers().closed = true;
        self.notify();
    }

    /// The next job; `None` at the end.
    fn next(&self) -> Option<Job> {
        let mut papers = self.papers();
        while !papers.closed {
            match papers.next() {
                Ok(job) => return Some(job),
                Err(due) => papers = self.wait(papers, due),
            }
        }
        None
    }
}

/// Looks for stale flows until the desk is closed. `events` hears when something is done.
pub(super) fn work(desk: &Desk, events: Option<&Sender>) {
    // At once, while there are file descriptors left. A failure is said when there is something to do.
    let mut conntrack = Conntrack::open().ok();
    while let Some(job) = desk.next() {
        match job {
            Job::Survey => survey(desk, &mut conntrack),
            Job::Look(protocol, flows) => look(desk, &mut conntrack, protocol, &flows),
        }
        desk.notify();
        // Nobody hears it when the agent ends.
        let _ = events.map(|events| events.send(Event::Flows));
    }
}

/// Removes what is stale of a protocol, and still is when its turn comes.
fn look(desk: &Desk, conntrack: &mut Option<Conntrack>, protocol: Protocol, flows: &Flows) {
    let started = Instant::now();
    let mut removed = [0; 2];
    let still = |destination: Destination, source: SocketAddr| {
        desk.papers().queues[protocol as usize].working.is_stale(destination, source)
    };
    let outcome = opened(conntrack).and_then(|conntrack| {
        Family::ALL.into_iter().try_for_each(|family| {
            conntrack.remove_stale_of(family, flows, &still, &mut removed[family as usize])
        })
    });
    let removal = FlowRemoval { protocol, removed, duration: started.elapsed(), failed: outcome.is_err() };
    desk.papers().looked(removal, flows.destinations().len(), &outcome);
}

/// Finds out where the flows of all protocols but UDP go.
fn survey(desk: &Desk, conntrack: &mut Option<Conntrack>) {
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
    let mut papers = desk.papers();
    papers.reports.extend(reports);
    papers.survey.retry.note(&outcome);
    papers.survey.found = outcome.is_ok().then_some(found);
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

    /// What there is to look at once all of it may be.
    fn job(papers: &mut Papers) -> Option<(Protocol, Arc<Flows>)> {
        loop {
            match papers.next() {
                Ok(Job::Look(protocol, flows)) => return Some((protocol, flows)),
                Ok(Job::Survey) => panic!("nobody asked for it"),
                Err(due) => std::thread::sleep(due?.saturating_duration_since(Instant::now())),
            }
        }
    }

    fn ended(papers: &mut Papers, protocol: Protocol, outcome: &Result<(), Error>) {
        let failed = outcome.is_err();
        let removal = FlowRemoval { protocol, removed: [0; 2], duration: Duration::ZERO, failed };
        papers.looked(removal, 1, outcome);
    }

    #[test]
    fn what_is_handed_over_is_looked_at_once_and_what_comes_meanwhile_later() {
        let mut papers = Papers::default();
        assert!(papers.is_settled() && job(&mut papers).is_none());
        let (destination, first, flows) = gone(Protocol::Sctp, "10.0.0.1:53");
        papers.add(flows);
        assert!(matches!(papers.next(), Err(Some(_))), "not before the rules have settled");
        let (protocol, flows) = job(&mut papers).unwrap();
        assert_eq!(protocol, Protocol::Sctp);
        assert!(flows.is_stale(destination, first) && !papers.is_settled());

        let (_, second, more) = gone(Protocol::Sctp, "10.0.0.2:53");
        papers.add(more);
        ended(&mut papers, protocol, &Ok(()));
        let (_, flows) = job(&mut papers).unwrap();
        assert!(flows.is_stale(destination, second) && !flows.is_stale(destination, first));
        ended(&mut papers, protocol, &Ok(()));
        assert!(papers.is_settled() && !papers.is_failing() && job(&mut papers).is_none());
    }

    #[test]
    fn what_fails_stays_and_is_tried_again() {
        let mut papers = Papers::default();
        let (destination, endpoint, flows) = gone(Protocol::Tcp, "10.0.0.1:53");
        papers.add(flows);
        for _ in 0..2 {
            let (protocol, flows) = job(&mut papers).unwrap();
            assert!(flows.is_stale(destination, endpoint));
            let error = crate::kernel::nftables::Error::Unknown(io::ErrorKind::Interrupted.to_string());
            ended(&mut papers, protocol, &Err(error.into()));
            assert!(papers.is_failing());
            assert!(papers.is_settled(), "nobody waits for it at the end");
        }
        let (protocol, _) = job(&mut papers).unwrap();
        ended(&mut papers, protocol, &Ok(()));
        assert!(!papers.is_failing() && job(&mut papers).is_none());
    }

    #[test]
    fn what_is_learnt_meanwhile_holds_for_what_is_under_way() {
        let mut papers = Papers::default();
        let (_, _, flows) = gone(Protocol::Tcp, "10.0.0.1:53");
        papers.add(flows);
        let (protocol, _) = job(&mut papers).unwrap();
        let (_, _, waiting) = gone(Protocol::Tcp, "10.0.0.2:53");
        papers.add(waiting);
        let mut seen = 0;
        papers.each(|flows| {
            seen += 1;
            *flows = Flows::default();
        });
        assert_eq!(seen, 2);
        assert!(papers.queues[protocol as usize].working.is_empty());
        ended(&mut papers, protocol, &Ok(()));
        assert!(papers.is_settled() && job(&mut papers).is_none());
    }
}
