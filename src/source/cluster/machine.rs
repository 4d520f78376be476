//! What to do next, of one kind of object: one function from a state, what became of the last action, and the time to
//! the next state and action.
//!
//! It knows nothing of sockets and clocks; `reflector.rs` carries out what it decides. ARCHITECTURE.md has its table.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    failure::{Failure, Why},
    timing::Timing,
};

/// A watch that was silent but alive for so long is taken for working.
const SETTLED: Duration = Duration::from_secs(3);

/// How long streaming lists are given up after the server has refused their parameters.
const REFUSED: Duration = Duration::from_hours(1);

/// Requests in a row that may go without a wait between them.
const HURRIED: u32 = 3;

/// Longest wait that a server may ask for; what is longer is a mistake.
const LONGEST_ASKED: Duration = Duration::from_hours(24);

/// `resourceVersion`.
pub(super) type Version = Box<str>;

/// The time, and a number between 0 and 1 for this moment: a thousand nodes that lost the same API server must not
/// come back at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub at: Instant,
    pub random: f64,
}

impl Now {
    /// Between half of a duration and all of it.
    pub fn jitter(self, step: Duration) -> Duration {
        step / 2 + (step / 2).mul_f64(self.random)
    }
}

/// How everything is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// As the initial events of a watch (KEP-3157).
    Streaming,
    /// As a list, in pages.
    Paged,
}

/// How old a list may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Any age: the server's cache will do, which spares etcd when many nodes start.
    Any,
    /// Not older than this version.
    NotOlder(Version),
    /// The newest there is.
    Newest,
}

/// What to ask for after a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    List(How),
    Watch(Version),
}

/// Where it stands.
#[derive(Clone, Debug)]
enum State {
    /// A list is under way.
    Listing { how: How, lasts: Duration },
    /// A watch is under way; everything up to the version is known.
    Watching { version: Version, lasts: Duration, open: Option<Open> },
    /// Nothing is under way.
    Waiting {
        until: Instant,
        next: Request,
        /// The server asked for the wait, so that nothing shortens it.
        is_asked: bool,
    },
}

/// A watch that the server has accepted.
#[derive(Clone, Copy, Debug)]
struct Open {
    since: Instant,
    heard: Instant,
    /// Longest silence.
    idle: Duration,
    /// It is taken for working.
    is_settled: bool,
}

/// What keeps objects from being read.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    /// The last failure.
    pub failure: Failure,
    pub since: Instant,
    /// The greatest [`Why::nearness`] since then.
    pub nearness: u8,
}

/// What became of an action.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// A list is complete.
    Listed {
        version: Version,
        /// Nothing is in it, though objects are known.
        is_emptied: bool,
    },
    /// The server has accepted a watch.
    Opened,
    /// An event or a bookmark of a watch, with its version if it has one.
    Heard(Option<Version>),
    /// Nothing was heard until the time given.
    Silent,
    /// The watch ended without an error.
    Ended,
    /// A request failed, or its answer broke off.
    Failed(Failure),
    /// The wait is over.
    Elapsed,
    /// The server has answered a request for another kind.
    Woken,
}

/// What becomes of what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Keep,
    /// The list replaces it.
    Replace,
    /// The event changes it.
    Apply,
    /// The server does not serve the kind, and it is not needed: there are no objects.
    DoWithout,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// List; the initial events of a streaming list are followed by a watch that lasts so long.
    List { how: How, from: From, lasts: Duration },
    /// Watch from a version on, for so long.
    Watch { version: Version, lasts: Duration },
    /// Read the next line of the watch.
    Read { until: Instant },
    /// Wait.
    Wait { until: Instant },
}

/// The state, and what outlives it.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    timing: Timing,
    /// Without this kind the proxy works, if not as well.
    is_optional: bool,
    state: State,
    /// The newest version seen; nothing while that is not known to be of the server's present history.
    known: Option<Version>,
    /// A list was taken up, or the kind done without.
    is_listed: bool,
    /// The last list was empty, and not believed.
    is_emptied: bool,
    trouble: Option<Trouble>,
    /// Failures since the last good watch, or since the server came nearer to answering.
    failures: u32,
    /// Requests without a wait since then.
    hurried: u32,
    /// How long watches have been open since the last line of one.
    silence: Duration,
    /// How often that must be as long as two watches may be silent, to mean that history was replaced; each time
    /// twice as often.
    patience: u32,
    /// No streaming lists before this.
    streams_from: Option<Instant>,
    /// When everything is listed anew, though nothing is known to be missing.
    relist_at: Option<Instant>,
}

impl Machine {
    /// Nothing is known, and the first action.
    pub fn start(timing: Timing, is_optional: bool, now: Now) -> (Self, Action) {
        let mut machine = Self {
            timing,
            is_optional,
            state: State::Listing { how: How::Streaming, lasts: Duration::ZERO },
            known: None,
            is_listed: false,
            is_emptied: false,
            trouble: None,
            failures: 0,
            hurried: 0,
            silence: Duration::ZERO,
            patience: 1,
            streams_from: None,
            relist_at: None,
        };
        let action = machine.list(How::Streaming, now);
        (machine, action)
    }

    /// What keeps objects from being read, if anything does.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// The newest version seen of the server's present history.
    pub fn known(&self) -> Option<&str> {
        self.known.as_deref()
    }

    /// Whether anything is known, if only that the kind is not served.
    pub fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// The next state and action, after the last action came to this.
    pub fn next(mut self, outcome: Outcome, now: Now) -> (Self, Effect, Action) {
        let mut effect = Effect::Keep;
        let action = match (self.state.clone(), outcome) {
            (State::Listing { how, .. }, Outcome::Listed { is_emptied: true, .. }) if !self.is_emptied => {
                self.is_emptied = true;
                let failure =
                    Failure::new(Why::Emptied, "the list is empty, though it was not; asking once more");
                self.pause(failure, Request::List(how), now)
            }
            (State::Listing { how, lasts }, Outcome::Listed { version, .. }) => {
                effect = Effect::Replace;
                self.listed(how, lasts, version, now)
            }
            (State::Listing { how, .. }, Outcome::Failed(failure)) => {
                let is_without = self.is_optional && failure.why.is_denied();
                if is_without && !self.is_listed {
                    effect = Effect::DoWithout;
                }
                self.list_failed(how, failure, now)
            }
            (State::Watching { version, lasts, open: None }, Outcome::Opened) => {
                if self.trouble.is_some() {
                    // It may be another server.
                    self.patience = 1;
                }
                let open = self.open(false, now);
                self.read(version, lasts, open)
            }
            (State::Watching { version, open: Some(open), .. }, Outcome::Heard(Some(heard)))
                if is_older(&heard, &version) =>
            {
                self.leave(open, now);
                (self.silence, self.known) = (Duration::ZERO, None);
                let message = format!("version {heard} came after {version}: history was replaced");
                self.hurry(Failure::new(Why::Replaced, message), self.how(now), now)
            }
            (State::Watching { version, lasts, open: Some(open) }, Outcome::Heard(heard)) => {
                effect = Effect::Apply;
                (self.silence, self.patience, self.trouble) = (Duration::ZERO, 1, None);
                let version = heard.unwrap_or(version);
                self.known = Some(version.clone());
                self.read(version, lasts, Open { heard: now.at, is_settled: true, ..open })
            }
            (State::Watching { version, lasts, open: Some(open) }, Outcome::Silent) => {
                self.silent(version, lasts, open, now)
            }
            (State::Watching { version, open: Some(open), .. }, Outcome::Ended) => {
                if self.leave(open, now) {
                    self.resume(version, now)
                } else {
                    self.pause_after(open, Failure::new(Why::Ended, "the watch ended at once"), version, now)
                }
            }
            (State::Watching { version, open, .. }, Outcome::Failed(failure)) => {
                self.watch_failed(version, open, failure, now)
            }
            (State::Waiting { next, .. }, Outcome::Elapsed) => match next {
                Request::List(how) => self.list(how, now),
                Request::Watch(version) => self.resume(version, now),
            },
            (State::Waiting { until, next, is_asked: false }, Outcome::Woken) => {
                let soon = now.at + now.jitter(self.timing.first_retry / 4);
                self.wait(until.min(soon), next, false)
            }
            (State::Waiting { until, next, is_asked }, _) => self.wait(until, next, is_asked),
            // No action comes to this.
            _ => {
                let failure = Failure::malformed("out of turn");
                self.pause(failure, Request::List(self.how(now)), now)
            }
        };
        (self, effect, action)
    }

    fn how(&self, now: Now) -> How {
        if self.streams_from.is_none_or(|from| now.at >= from) { How::Streaming } else { How::Paged }
    }

    fn list(&mut self, how: How, now: Now) -> Action {
        let lasts = now.jitter(self.timing.watch);
        self.state = State::Listing { how, lasts };
        let from = match &self.known {
            Some(version) => From::NotOlder(version.clone()),
            None if self.is_listed => From::Newest,
            None => From::Any,
        };
        Action::List { how, from, lasts }
    }

    /// Watches, unless it is time to list.
    fn watch(&mut self, version: Version, now: Now) -> Action {
        if self.relist_at.is_some_and(|at| now.at >= at) {
            return self.list(self.how(now), now);
        }
        // No two nodes the same: watches that began together, when the server came back, must not end together.
        let lasts = now.jitter(self.timing.watch);
        self.state = State::Watching { version: version.clone(), lasts, open: None };
        Action::Watch { version, lasts }
    }

    /// A watch that is accepted now.
    fn open(&self, is_settled: bool, now: Now) -> Open {
        // What fell silent for all nodes at once is not asked for by all at once.
        let idle = self.timing.idle / 16 * 13 + now.jitter(self.timing.idle / 8);
        Open { since: now.at, heard: now.at, idle, is_settled }
    }

    fn read(&mut self, version: Version, lasts: Duration, open: Open) -> Action {
        self.state = State::Watching { version, lasts, open: Some(open) };
        let settled = if open.is_settled { Duration::MAX } else { SETTLED };
        let until = (open.heard + open.idle.min(settled)).min(open.since + lasts + self.timing.watch_margin);
        Action::Read { until }
    }

    fn listed(&mut self, how: How, lasts: Duration, version: Version, now: Now) -> Action {
        (self.is_listed, self.is_emptied, self.trouble) = (true, false, None);
        self.known = Some(version.clone());
        self.relist_at = Some(now.at + now.jitter(self.timing.relist));
        match how {
            How::Paged => self.watch(version, now),
            How::Streaming => {
                let open = self.open(true, now);
                self.read(version, lasts, open)
            }
        }
    }

    fn list_failed(&mut self, how: How, failure: Failure, now: Now) -> Action {
        let again = Request::List(self.how(now));
        match (&failure.why, how) {
            (Why::VersionTooLarge | Why::Expired, _) => {
                // History was replaced; or a token of a page is too old, and asking for the newest does no harm.
                self.known = None;
                self.hurry(failure, how, now)
            }
            (Why::Refused { .. }, How::Streaming) => {
                self.streams_from = Some(now.at + REFUSED);
                self.hurry(failure, How::Paged, now)
            }
            // As something may do that does not know initial events: pages for once.
            (Why::Silent | Why::Malformed | Why::Ended, How::Streaming) => {
                self.hurry(failure, How::Paged, now)
            }
            (Why::Gateway { .. }, How::Streaming) => self.pause(failure, Request::List(How::Paged), now),
            (Why::Refused { .. }, How::Paged) => {
                self.known = None;
                self.pause(failure, again, now)
            }
            (why, _) if self.is_optional && why.is_denied() => {
                self.is_listed = true;
                self.pause(failure, again.clone(), now);
                self.wait(now.at + now.jitter(self.timing.optional_retry), again, false)
            }
            _ => self.pause(failure, again, now),
        }
    }

    fn watch_failed(&mut self, version: Version, open: Option<Open>, failure: Failure, now: Now) -> Action {
        if let Some(open) = open {
            self.leave(open, now);
        }
        let how = self.how(now);
        match &failure.why {
            Why::Expired => self.hurry(failure, how, now),
            Why::VersionTooLarge => {
                self.known = None;
                self.hurry(failure, how, now)
            }
            Why::Refused { .. } => {
                self.known = None;
                self.pause(failure, Request::List(how), now)
            }
            // The same would come again.
            Why::NotFound | Why::Malformed => self.pause(failure, Request::List(how), now),
            // The server ends a watch that works with an event that says why.
            Why::Unavailable { .. } if open.is_some() => self.pause(failure, Request::List(how), now),
            _ => match open {
                Some(open) => self.pause_after(open, failure, version, now),
                None => self.pause(failure, Request::Watch(version), now),
            },
        }
    }

    fn silent(&mut self, version: Version, lasts: Duration, open: Open, now: Now) -> Action {
        let is_over = now.at >= open.since + lasts + self.timing.watch_margin;
        if !open.is_settled && !is_over && now.at < open.heard + open.idle {
            self.trouble = None;
            return self.read(version, lasts, Open { is_settled: true, ..open });
        }
        self.leave(open, now);
        self.resume(version, now)
    }

    /// A watch is over. Says whether it was good; then the next failure is a first one.
    fn leave(&mut self, open: Open, now: Now) -> bool {
        self.silence += now.at - open.heard;
        let was_good = now.at >= open.since + self.timing.good_after;
        if was_good {
            (self.failures, self.hurried) = (0, 0);
        }
        was_good
    }

    /// Watches on, unless watches have been silent for too long. A server says nothing, and refuses nothing, from a
    /// version that it has not reached. One that sends no bookmarks is silent, too, while nothing changes.
    fn resume(&mut self, version: Version, now: Now) -> Action {
        if self.silence < (self.timing.idle * 7 / 4).saturating_mul(self.patience) {
            return self.watch(version, now);
        }
        (self.silence, self.patience, self.known) = (Duration::ZERO, self.patience.saturating_mul(2), None);
        let failure = Failure::new(Why::Replaced, "watches are silent: history may have been replaced");
        self.hurry(failure, self.how(now), now)
    }

    /// Asks without a wait for what is known to do better, but never again and again, nor if the server asks to wait.
    fn hurry(&mut self, failure: Failure, how: How, now: Now) -> Action {
        self.approach(&failure.why);
        if self.hurried >= HURRIED || failure.retry_after.is_some() {
            return self.pause(failure, Request::List(how), now);
        }
        self.hurried += 1;
        self.list(how, now)
    }

    /// Waits after a watch that had worked. Connections end, and are made anew; that this fails is what matters.
    fn pause_after(&mut self, open: Open, failure: Failure, version: Version, now: Now) -> Action {
        let is_trouble = self.trouble.is_some() || self.failures > 0 || !open.is_settled;
        let action = self.pause(failure, Request::Watch(version), now);
        if !is_trouble {
            self.trouble = None;
        }
        action
    }

    /// Waits: each time twice as long, and at least as long as the server asks for.
    fn pause(&mut self, failure: Failure, next: Request, now: Now) -> Action {
        self.approach(&failure.why);
        let since = self.trouble.as_ref().map_or(now.at, |trouble| trouble.since);
        let Timing { first_retry, last_retry, .. } = self.timing;
        let mut step = first_retry.saturating_mul(1 << self.failures.min(16)).min(last_retry);
        if failure.why == Why::Unreachable {
            // To try costs the server nothing, and it may just be restarting.
            step = step.min((first_retry * 2).max((now.at - since) / 8));
        }
        self.failures = self.failures.saturating_add(1);
        let mut until = now.at + now.jitter(step);
        if let Some(asked) = failure.retry_after {
            until = until.max(now.at + asked.min(LONGEST_ASKED) + now.jitter(first_retry));
        }
        let nearness = self.trouble.as_ref().map_or(0, |trouble| trouble.nearness);
        let (nearness, is_asked) = (nearness.max(failure.why.nearness()), failure.retry_after.is_some());
        self.trouble = Some(Trouble { failure, since, nearness });
        self.wait(until, next, is_asked)
    }

    fn wait(&mut self, until: Instant, next: Request, is_asked: bool) -> Action {
        self.state = State::Waiting { until, next, is_asked };
        Action::Wait { until }
    }

    /// A server that is coming back refuses requests before it is ready: each step nearer to being served, of one
    /// outage, makes the failure a first one.
    fn approach(&mut self, why: &Why) {
        let Some(trouble) = &mut self.trouble else { return };
        if why.nearness() > trouble.nearness {
            trouble.nearness = why.nearness();
            (self.failures, self.hurried) = (0, 0);
        }
    }
}

/// Whether a version is older than another. Versions are whole numbers that grow with every write (KEP-5504); what is no
/// number is never older.
fn is_older(version: &str, than: &str) -> bool {
    matches!((version.parse::<u64>(), than.parse::<u64>()), (Ok(version), Ok(than)) if version < than)
}
