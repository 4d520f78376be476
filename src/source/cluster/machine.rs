//! The state machine of a reflector: a pure function from the state, the outcome of the last action and the time to the
//! next state and action.
//!
//! It uses neither sockets nor clocks; `reflector.rs` carries out its actions. ARCHITECTURE.md has its table.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    action::{Action, Effect, Freshness, Outcome, Version},
    error::{Reason, RequestError},
    timing::Timing,
};
use crate::retry::jitter;

/// A watch that is still open after this time counts as working, even without an event.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// How many requests in a row may be sent without a delay.
const MAX_IMMEDIATE: u32 = 3;

/// After this many failures in a row, the position is no longer verified if the server answers: some servers may not be
/// able to verify it.
const MAX_VERIFICATIONS: u32 = 8;

/// How much earlier than its timeout a watch may end and still count as ended by its timeout.
const EARLY: Duration = Duration::from_secs(2);

/// Longest delay that a server may ask for; a longer delay is a mistake.
const LONGEST_ASKED: Duration = Duration::from_hours(24);

/// The time, and a random number between 0 and 1 for jitter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub at: Instant,
    pub random: f64,
}

impl Now {
    /// Between half of a duration and all of it.
    pub fn jitter(self, step: Duration) -> Duration {
        jitter(step, self.random)
    }
}

/// The request that follows a delay.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    List,
    Verify(Version),
    Watch(Version),
}

/// The state of a reflector.
#[derive(Clone, Debug)]
enum State {
    /// A list is under way.
    Listing,
    /// The server is asked whether its history still contains the version.
    Verifying { version: Version },
    /// A watch is under way; all changes up to the version are known.
    Watching { version: Version, duration: Duration, open: Option<Open> },
    /// Backing off.
    Waiting {
        until: Instant,
        next: Request,
        /// Whether the server asked for the delay, so that nothing shortens it.
        is_asked: bool,
    },
}

/// A watch that the server has accepted.
#[derive(Clone, Copy, Debug)]
struct Open {
    since: Instant,
    /// When the last line arrived.
    received: Instant,
    /// How long the watch may be silent.
    idle: Duration,
    /// Whether it counts as working.
    is_settled: bool,
}

/// A period during which objects cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    /// The last error.
    pub error: RequestError,
    /// When it began.
    pub since: Instant,
    /// The greatest [`Reason::progress`] since then.
    pub progress: u8,
}

/// The state, and the data that outlasts a state.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    timing: Timing,
    /// Whether the proxy works, though less well, without this kind.
    is_optional: bool,
    state: State,
    /// The newest version seen; none while it may belong to a history that the server has lost.
    known: Option<Version>,
    /// Whether a list is complete, or the optional kind is not served.
    is_listed: bool,
    /// Whether the last list was empty, and therefore not applied.
    is_emptied: bool,
    outage: Option<Outage>,
    /// Failures since the last good watch, or since the last progress.
    failures: u32,
    /// Requests without a delay since then.
    immediate: u32,
    /// When to list again without a cause.
    relist_at: Option<Instant>,
}

impl Machine {
    /// The initial state and the first action.
    pub fn start(timing: Timing, is_optional: bool) -> (Self, Action) {
        let mut machine = Self {
            timing,
            is_optional,
            state: State::Listing,
            known: None,
            is_listed: false,
            is_emptied: false,
            outage: None,
            failures: 0,
            immediate: 0,
            relist_at: None,
        };
        let action = machine.list();
        (machine, action)
    }

    /// The present outage, if there is one.
    pub fn outage(&self) -> Option<&Outage> {
        self.outage.as_ref()
    }

    /// The newest version seen of the server's present history.
    pub fn known(&self) -> Option<&str> {
        self.known.as_deref()
    }

    /// Whether the kind has been listed, or is known not to be served.
    pub fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// The next state and action after this outcome.
    pub fn next(mut self, outcome: Outcome, now: Now) -> (Self, Effect, Action) {
        let is_too_large = |error: &RequestError| error.reason == Reason::VersionTooLarge;
        let mut effect = match &outcome {
            Outcome::Failed(error) if is_too_large(error) && self.known.is_some() => Effect::Alert,
            _ => Effect::Keep,
        };
        let action = match (self.state.clone(), outcome) {
            (State::Listing, Outcome::Listed { is_emptied: true, .. }) if !self.is_emptied => {
                self.is_emptied = true;
                let message = "the list is empty, though objects are known; listing again";
                self.back_off(RequestError::new(Reason::Emptied, message), Request::List, now)
            }
            (State::Listing, Outcome::Listed { version, .. }) if self.is_older_than_known(&version) => {
                effect = Effect::Alert;
                let message = format!("a list of version {version} is older than the known version");
                self.replaced(&message, now)
            }
            (State::Listing, Outcome::Listed { version, .. }) => {
                effect = Effect::Replace;
                (self.is_listed, self.is_emptied, self.outage) = (true, false, None);
                self.known = Some(version.clone());
                self.relist_at = self.timing.relist.map(|period| now.at + now.jitter(period));
                self.watch(version, now)
            }
            (State::Listing, Outcome::Failed(error)) => {
                let is_without = self.is_optional && error.reason.is_denied();
                if is_without && !self.is_listed {
                    effect = Effect::Clear;
                }
                self.list_failed(error, now)
            }
            (State::Verifying { version }, Outcome::Verified) => self.watch(version, now),
            (State::Verifying { .. }, Outcome::Contradicted) => {
                effect = Effect::Alert;
                self.replaced("an object differs from its known state", now)
            }
            (State::Verifying { version }, Outcome::Failed(error)) => self.verify_failed(version, error, now),
            (State::Watching { version, duration, open: None }, Outcome::Opened) => {
                let open = self.open(now);
                self.read(version, duration, open)
            }
            (State::Watching { version, open: Some(open), .. }, Outcome::Received(Some(received)))
                if is_older(&received, &version) =>
            {
                effect = Effect::Alert;
                self.leave(open, now);
                self.replaced(&format!("version {received} came after {version}"), now)
            }
            (State::Watching { version, duration, open: Some(open) }, Outcome::Received(received)) => {
                effect = Effect::Apply;
                self.outage = None;
                let version = received.unwrap_or(version);
                self.known = Some(version.clone());
                self.read(version, duration, Open { received: now.at, is_settled: true, ..open })
            }
            (State::Watching { version, duration, open: Some(open) }, Outcome::Silent) => {
                self.silent(version, duration, open, now)
            }
            (State::Watching { version, duration, open: Some(open) }, Outcome::Ended) => {
                if now.at + EARLY >= open.since + duration {
                    // Ended by its timeout, so it is the same server.
                    self.leave(open, now);
                    self.watch(version, now)
                } else if self.leave(open, now) {
                    self.verify(version)
                } else {
                    let error = RequestError::new(Reason::Ended, "the watch ended at once");
                    self.back_off_after(open, error, version, now)
                }
            }
            (State::Watching { version, open, .. }, Outcome::Failed(error)) => {
                self.watch_failed(version, open, error, now)
            }
            (State::Waiting { next, .. }, Outcome::Elapsed) => match next {
                Request::List => self.list(),
                Request::Verify(version) => self.verify(version),
                Request::Watch(version) => self.watch(version, now),
            },
            (State::Waiting { until, is_asked, .. }, Outcome::Alerted) => {
                self.known = None;
                self.wait(until, Request::List, is_asked)
            }
            (_, Outcome::Alerted) => self.replaced("reported by another kind", now),
            (State::Waiting { until, next, is_asked: false }, Outcome::Woken) => {
                let soon = now.at + now.jitter(self.timing.first_retry / 4);
                self.wait(until.min(soon), next, false)
            }
            (State::Waiting { until, next, is_asked }, _) => self.wait(until, next, is_asked),
            // No action has this outcome.
            _ => {
                let error = RequestError::malformed("unexpected outcome");
                self.back_off(error, Request::List, now)
            }
        };
        (self, effect, action)
    }

    fn list(&mut self) -> Action {
        self.state = State::Listing;
        let freshness = match &self.known {
            Some(version) => Freshness::NotOlder(version.clone()),
            None if self.is_listed => Freshness::Newest,
            None => Freshness::Any,
        };
        Action::List { freshness }
    }

    /// Watches, unless a relist is due.
    fn watch(&mut self, version: Version, now: Now) -> Action {
        if self.relist_at.is_some_and(|at| now.at >= at) {
            return self.list();
        }
        // Watches of many nodes that began together, when the server came back, must not end together.
        let duration = now.jitter(self.timing.watch);
        self.state = State::Watching { version: version.clone(), duration, open: None };
        Action::Watch { version, duration }
    }

    /// Asks whether the server still has the known history: after any trouble, the server may have been restored from
    /// a backup. A restored server does not refuse a watch from a version that it has not reached, but is silent; and
    /// if it has passed that version again, nothing shows which changes were lost.
    fn verify(&mut self, version: Version) -> Action {
        self.state = State::Verifying { version: version.clone() };
        Action::Verify { version }
    }

    fn verify_failed(&mut self, version: Version, error: RequestError, now: Now) -> Action {
        // A watch would not reach the server either.
        let is_unreached = matches!(error.reason, Reason::Unreachable | Reason::Gateway { .. });
        let next = match &error.reason {
            Reason::VersionTooLarge => {
                self.known = None;
                return self.list_now(error, now);
            }
            // The server no longer knows the version, or cannot verify it; a watch from the version may still work.
            Reason::Expired | Reason::Refused if error.retry_after.is_none() => {
                return self.watch(version, now);
            }
            Reason::Expired | Reason::Refused => Request::Watch(version),
            Reason::NotFound | Reason::Malformed => Request::List,
            _ if !is_unreached && self.failures >= MAX_VERIFICATIONS => Request::Watch(version),
            _ => Request::Verify(version),
        };
        self.back_off(error, next, now)
    }

    /// The server's history is not the known one: lists again, and trusts the newest list.
    fn replaced(&mut self, message: &str, now: Now) -> Action {
        self.known = None;
        let error = RequestError::new(Reason::Replaced, format!("{message}: history was replaced"));
        self.list_now(error, now)
    }

    fn is_older_than_known(&self, version: &str) -> bool {
        self.known.as_ref().is_some_and(|known| is_older(version, known))
    }

    /// A watch that the server has accepted now.
    fn open(&self, now: Now) -> Open {
        // Watches of all nodes that fall silent together must not be replaced together.
        let idle = self.timing.idle / 16 * 13 + now.jitter(self.timing.idle / 8);
        Open { since: now.at, received: now.at, idle, is_settled: false }
    }

    fn read(&mut self, version: Version, duration: Duration, open: Open) -> Action {
        self.state = State::Watching { version, duration, open: Some(open) };
        let settled = if open.is_settled { Duration::MAX } else { SETTLED_AFTER };
        let until =
            (open.received + open.idle.min(settled)).min(open.since + duration + self.timing.watch_margin);
        Action::Read { until }
    }

    fn list_failed(&mut self, error: RequestError, now: Now) -> Action {
        match &error.reason {
            // History was replaced; or the token of a page has expired, and listing the newest state does no harm.
            Reason::VersionTooLarge | Reason::Expired => {
                self.known = None;
                self.list_now(error, now)
            }
            Reason::Refused => {
                self.known = None;
                self.back_off(error, Request::List, now)
            }
            reason if self.is_optional && reason.is_denied() => {
                self.is_listed = true;
                self.back_off(error, Request::List, now);
                self.wait(now.at + now.jitter(self.timing.optional_retry), Request::List, false)
            }
            _ => self.back_off(error, Request::List, now),
        }
    }

    fn watch_failed(
        &mut self,
        version: Version,
        open: Option<Open>,
        error: RequestError,
        now: Now,
    ) -> Action {
        if let Some(open) = open {
            self.leave(open, now);
        }
        match &error.reason {
            Reason::Expired => self.list_now(error, now),
            Reason::VersionTooLarge => {
                self.known = None;
                self.list_now(error, now)
            }
            Reason::Refused => {
                self.known = None;
                self.back_off(error, Request::List, now)
            }
            // The same watch would fail again.
            Reason::NotFound | Reason::Malformed => self.back_off(error, Request::List, now),
            // The server ended a working watch with an ERROR event.
            Reason::Unavailable { .. } if open.is_some() => self.back_off(error, Request::List, now),
            _ => match open {
                Some(open) => self.back_off_after(open, error, version, now),
                None => self.back_off(error, Request::Verify(version), now),
            },
        }
    }

    fn silent(&mut self, version: Version, duration: Duration, open: Open, now: Now) -> Action {
        let is_over = now.at >= open.since + duration + self.timing.watch_margin;
        if !open.is_settled && !is_over && now.at < open.received + open.idle {
            self.outage = None;
            return self.read(version, duration, Open { is_settled: true, ..open });
        }
        self.leave(open, now);
        self.verify(version)
    }

    /// A watch is over. Returns whether it was good, so that the next failure counts as the first.
    fn leave(&mut self, open: Open, now: Now) -> bool {
        let was_good = now.at >= open.since + self.timing.good_after;
        if was_good {
            (self.failures, self.immediate) = (0, 0);
        }
        was_good
    }

    /// Lists without delay, but only a few times in a row, and not if the server asks for a delay.
    fn list_now(&mut self, error: RequestError, now: Now) -> Action {
        self.note_progress(&error.reason);
        if self.immediate >= MAX_IMMEDIATE || error.retry_after.is_some() {
            return self.back_off(error, Request::List, now);
        }
        self.immediate += 1;
        self.list()
    }

    /// Backs off after a watch that had been accepted. The end of a working watch is normal and not an outage.
    fn back_off_after(&mut self, open: Open, error: RequestError, version: Version, now: Now) -> Action {
        let is_trouble = self.outage.is_some() || self.failures > 0 || !open.is_settled;
        let action = self.back_off(error, Request::Verify(version), now);
        if !is_trouble {
            self.outage = None;
        }
        action
    }

    /// Backs off: each time twice as long, and at least as long as the server asks for.
    fn back_off(&mut self, error: RequestError, next: Request, now: Now) -> Action {
        self.note_progress(&error.reason);
        let since = self.outage.as_ref().map_or(now.at, |outage| outage.since);
        let Timing { first_retry, last_retry, .. } = self.timing;
        let mut step = first_retry.saturating_mul(1 << self.failures.min(16)).min(last_retry);
        if error.reason == Reason::Unreachable {
            // Trying costs the server nothing, and it may just be restarting.
            step = step.min((first_retry * 2).max((now.at - since) / 8));
        }
        self.failures = self.failures.saturating_add(1);
        let mut until = now.at + now.jitter(step);
        if let Some(asked) = error.retry_after {
            until = until.max(now.at + asked.min(LONGEST_ASKED) + now.jitter(first_retry));
        }
        let progress = self.outage.as_ref().map_or(0, |outage| outage.progress);
        let (progress, is_asked) = (progress.max(error.reason.progress()), error.retry_after.is_some());
        self.outage = Some(Outage { error, since, progress });
        self.wait(until, next, is_asked)
    }

    fn wait(&mut self, until: Instant, next: Request, is_asked: bool) -> Action {
        self.state = State::Waiting { until, next, is_asked };
        Action::Wait { until }
    }

    /// A server that is coming back refuses requests before it is ready: with each progress during an outage, the
    /// back-off starts again.
    fn note_progress(&mut self, reason: &Reason) {
        let Some(outage) = &mut self.outage else { return };
        if reason.progress() > outage.progress {
            outage.progress = reason.progress();
            (self.failures, self.immediate) = (0, 0);
        }
    }
}

/// Whether a version is older than another. Versions are integers that grow with every write (KEP-5504); a version that
/// is not an integer is never older.
fn is_older(version: &str, than: &str) -> bool {
    matches!((version.parse::<u64>(), than.parse::<u64>()), (Ok(version), Ok(than)) if version < than)
}
