//! Keeps what is known of one kind equal to what the API server has: list, then watch, for ever.
//!
//! As client-go's reflector: a streaming list where the server has them (KEP-3157), else a list in pages; then a watch
//! from there, taken up again where it ended. What follows on what is decided by `machine.rs`, and carried out here.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde::Deserialize;
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tracing::{debug, info};

use super::{
    delivery::{Told, What},
    failure::{Failure, Why},
    kind::Watched,
    machine::{Action, Effect, From, How, Machine, Now, Outcome, Trouble, Version},
    outages::Outages,
    request::{Connection, Lines, add_parameter},
    split::Splitter,
    standing::Lookout,
    store::{Listing, Store},
};
use crate::{api::Field, observe::health::Health, source::Change};

/// What all reflectors share.
#[derive(Clone)]
pub(super) struct Outlet {
    pub told: Sender<Told>,
    pub health: Health,
    pub outages: Arc<Outages>,
    pub lookout: Arc<Lookout>,
    /// Changes of endpoints that began earlier say nothing about how fast the agent is.
    pub started: Timestamp,
}

/// Lists and watches one kind.
pub(super) struct Reflector<W: Watched> {
    connection: Connection,
    /// Path of the collection, with what is selected of it.
    path: String,
    store: Store<W>,
    outlet: Outlet,
    /// The watch that is under way.
    lines: Option<Lines>,
    /// A list that is complete, and an object with whether it was deleted: not yet taken up.
    listing: Option<Listing<W>>,
    event: Option<(W, bool)>,
}

/// A line of a watch (`WatchEvent`).
#[derive(Deserialize)]
struct Event<T> {
    r#type: Box<str>,
    object: T,
}

/// A line of a watch, as far as it matters.
enum Line<W> {
    Object {
        object: W,
        is_deletion: bool,
    },
    Bookmark {
        version: Option<Version>,
        is_end_of_initial_events: bool,
    },
    /// Nothing of an object is in it.
    Other,
}

fn now() -> Now {
    // std's only source of randomness: each state hashes with keys of its own.
    let random = RandomState::new().hash_one(0_u8);
    Now { at: Instant::now(), random: f64::from(random as u32) / f64::from(u32::MAX) }
}

fn version<W: Watched>(object: &W) -> Option<Version> {
    let version = object.metadata().get()?.resource_version.get()?;
    (!version.is_empty()).then(|| version.clone())
}

impl<W: Watched> Reflector<W> {
    /// A reflector of the collection at this path, with parameters that select from it.
    pub fn new(connection: Connection, path: String, store: Store<W>, outlet: Outlet) -> Self {
        Self { connection, path, store, outlet, lines: None, listing: None, event: None }
    }

    /// Never ends.
    pub async fn run(mut self) {
        let (mut machine, mut action) = Machine::start(self.connection.timing, W::IS_OPTIONAL, now());
        loop {
            let outcome = self.perform(action).await.unwrap_or_else(Outcome::Failed);
            let is_answered = matches!(outcome, Outcome::Opened | Outcome::Listed { .. });
            let failure = if let Outcome::Failed(failure) = &outcome { Some(failure.clone()) } else { None };
            let (before, was_known) = (machine.trouble().cloned(), machine.known().is_some());
            let (next, effect, then) = machine.next(outcome, now());
            machine = next;
            let is_failure = failure.is_some() || before.is_none();
            if let Some(failure) = failure {
                debug!(kind = %W::KIND, next = ?then, "{failure}");
                self.failed(&failure, &machine).await;
            }
            if was_known && machine.known().is_none() {
                info!(kind = %W::KIND, "What is known may not be of the server's present history; listing anew");
            }
            self.report(before.as_ref(), is_answered, is_failure, &machine);
            self.effect(effect, &machine).await;
            action = then;
        }
    }

    /// Logs what has become better or worse, and wakes other kinds when the server has come nearer to answering.
    fn report(&self, before: Option<&Trouble>, is_answered: bool, is_failure: bool, machine: &Machine) {
        let outages = &self.outlet.outages;
        match (before, machine.trouble()) {
            (Some(before), None) => outages.recovered(W::KIND, before.since.elapsed()),
            (_, Some(trouble)) if is_failure => {
                let is_needed = !(W::IS_OPTIONAL && trouble.failure.why.is_denied());
                outages.failed(W::KIND, &trouble.failure, is_needed);
            }
            _ => {}
        }
        if is_answered {
            outages.reached();
        }
        let is_nearer =
            |before: &Trouble| machine.trouble().is_some_and(|trouble| trouble.nearness > before.nearness);
        if before.is_some_and(|before| is_answered || is_nearer(before)) {
            outages.wake();
        }
    }

    async fn failed(&mut self, failure: &Failure, machine: &Machine) {
        if failure.why.is_denied() && !machine.is_listed() {
            self.send(What::Refused).await;
        }
    }

    /// Changes what is known.
    async fn effect(&mut self, effect: Effect, machine: &Machine) {
        match effect {
            Effect::Keep => self.event = None,
            Effect::Replace => {
                let listing = self.listing.take().unwrap_or_default();
                self.outlet.health.heard(W::KIND);
                self.replace(listing, machine.known()).await;
            }
            Effect::DoWithout => self.replace(Listing::default(), None).await,
            Effect::Apply => {
                self.outlet.health.heard(W::KIND);
                let Some((object, is_deletion)) = self.event.take() else { return };
                if let Some(change) = self.store.apply(&object, is_deletion) {
                    let trigger = object.trigger().filter(|at| !is_deletion && *at >= self.outlet.started);
                    self.tell(None, change, trigger).await;
                }
            }
        }
    }

    async fn perform(&mut self, action: Action) -> Result<Outcome, Failure> {
        match action {
            Action::List { how, from, lasts } => {
                self.lines = None;
                let limit = self.connection.timing.list;
                let list = async {
                    match how {
                        How::Streaming => self.stream_list(&from, lasts).await,
                        How::Paged => self.list(&from).await,
                    }
                };
                let late = Failure::new(Why::Silent, format!("the list was not complete within {limit:?}"));
                let (listing, version) = timeout(limit, list).await.map_err(|_| late)??;
                let is_emptied = listing.is_empty() && self.store.models().len() > 0;
                self.listing = Some(listing);
                Ok(Outcome::Listed { version, is_emptied })
            }
            Action::Watch { version, lasts } => {
                self.lines = None;
                let path = self.watch_path(&version, lasts);
                self.lines = Some(self.connection.get(&path).await?.lines());
                Ok(Outcome::Opened)
            }
            Action::Read { until } => self.read(until).await,
            Action::Wait { until } => {
                self.lines = None;
                tokio::select! {
                    () = sleep_until(until) => Ok(Outcome::Elapsed),
                    () = self.outlet.outages.answered() => Ok(Outcome::Woken),
                }
            }
        }
    }

    fn watch_path(&self, version: &str, lasts: Duration) -> String {
        let mut path = self.path.clone();
        add_parameter(&mut path, "watch", "true");
        add_parameter(&mut path, "allowWatchBookmarks", "true");
        add_parameter(&mut path, "timeoutSeconds", &lasts.as_secs().max(1).to_string());
        if !version.is_empty() {
            add_parameter(&mut path, "resourceVersion", version);
        }
        path
    }

    /// Lists with a watch that begins with all there is.
    async fn stream_list(&mut self, from: &From, lasts: Duration) -> Result<(Listing<W>, Version), Failure> {
        let mut path = self.watch_path(if let From::NotOlder(version) = from { version } else { "" }, lasts);
        add_parameter(&mut path, "sendInitialEvents", "true");
        add_parameter(&mut path, "resourceVersionMatch", "NotOlderThan");
        let mut lines = self.connection.get(&path).await?.lines();
        let mut listing = Listing::default();
        let silence = self.connection.timing.initial_events;
        loop {
            let line = timeout(silence, lines.next()).await.map_err(|_| Failure::silent(silence))??;
            let ended = || Failure::new(Why::Ended, "the watch ended before the end of initial events");
            match parse::<W>(line.ok_or_else(ended)?)?.map_err(Failure::malformed)? {
                Line::Object { object, is_deletion: false } => self.add(&mut listing, &object)?,
                Line::Object { object, is_deletion: true } => listing.remove(&object),
                Line::Bookmark { version, is_end_of_initial_events: true } => {
                    let version =
                        version.ok_or_else(|| Failure::malformed("the bookmark has no resourceVersion"))?;
                    self.lines = Some(lines);
                    return Ok((listing, version));
                }
                // A server that knows nothing of initial events took this for a watch like any other.
                Line::Bookmark { .. } => {
                    return Err(Failure::malformed("a bookmark came before the end of initial events"));
                }
                Line::Other => {}
            }
        }
    }

    /// Lists in pages.
    async fn list(&mut self, from: &From) -> Result<(Listing<W>, Version), Failure> {
        let limit = self.connection.timing.page.to_string();
        let mut listing = Listing::default();
        let mut token: Box<str> = "".into();
        loop {
            let mut path = self.path.clone();
            match (&*token, from) {
                // Old servers read a list with a limit and a version from etcd; as client-go, without a limit.
                ("", From::NotOlder(version)) => add_parameter(&mut path, "resourceVersion", version),
                ("", From::Any) => {
                    add_parameter(&mut path, "limit", &limit);
                    add_parameter(&mut path, "resourceVersion", "0");
                }
                ("", From::Newest) => add_parameter(&mut path, "limit", &limit),
                (token, _) => {
                    add_parameter(&mut path, "limit", &limit);
                    add_parameter(&mut path, "continue", token);
                }
            }
            let mut answer = self.connection.get(&path).await?;
            let mut splitter = Splitter::default();
            let mut item = |item: &[u8]| {
                let object = serde_json::from_slice::<W>(item);
                self.add(
                    &mut listing,
                    &object.map_err(|error| Failure::malformed(format_args!("an item: {error}")))?,
                )
            };
            while let Some(bytes) = answer.next().await? {
                splitter.feed(&bytes, &mut item)?;
            }
            let meta = splitter.finish(W::KIND.name())?;
            match meta.r#continue.filter(|token| !token.is_empty()) {
                Some(next) if next == token => {
                    return Err(Failure::malformed("the token of the next page is that of the last"));
                }
                Some(next) => token = next,
                None => {
                    let version = meta.resource_version.filter(|version| !version.is_empty());
                    let version =
                        version.ok_or_else(|| Failure::malformed("the list has no resourceVersion"))?;
                    return Ok((listing, version));
                }
            }
        }
    }

    /// Takes up an object of a list. Nothing that is known changes.
    fn add(&mut self, listing: &mut Listing<W>, object: &W) -> Result<(), Failure> {
        let name = object.metadata().get().and_then(|metadata| metadata.name.get());
        if name.is_none_or(|name| name.is_empty()) {
            return Err(Failure::malformed("an item: metadata.name is missing"));
        }
        self.store.add(listing, object);
        Ok(())
    }

    /// Reads the next line of the watch.
    async fn read(&mut self, until: Instant) -> Result<Outcome, Failure> {
        let Some(lines) = &mut self.lines else { return Ok(Outcome::Ended) };
        loop {
            let Ok(line) = timeout_at(until, lines.next()).await else { return Ok(Outcome::Silent) };
            let Some(line) = line? else { return Ok(Outcome::Ended) };
            match parse::<W>(line)? {
                Ok(Line::Object { object, is_deletion }) => {
                    let version = version(&object);
                    self.event = Some((object, is_deletion));
                    return Ok(Outcome::Heard(version));
                }
                Ok(Line::Bookmark { version, .. }) => return Ok(Outcome::Heard(version)),
                Ok(Line::Other) => {}
                // It stays what it was.
                Err(error) => {
                    self.store.unreadable(&error);
                    return Ok(Outcome::Heard(None));
                }
            }
        }
    }

    /// Takes these for all objects there are.
    async fn replace(&mut self, listing: Listing<W>, version: Option<&str>) {
        let (change, removed) = self.store.replace(listing);
        let count = self.store.models().len();
        if removed > 0 {
            info!(version, "Listed: {count} {}s; removed {removed} that are no longer there", W::KIND);
        } else {
            debug!(kind = %W::KIND, count, version, "Listed");
        }
        self.tell(Some(count), change, None).await;
    }

    async fn tell(&mut self, listed: Option<usize>, change: Change, trigger: Option<Timestamp>) {
        if let Some(standing) = W::standing(self.store.models()) {
            self.outlet.lookout.note(standing, &self.outlet.health);
        }
        self.send(What::Change { listed, change, trigger }).await;
    }

    async fn send(&mut self, what: What) {
        // Nobody listens when the process ends.
        let _ = self.outlet.told.send(Told { kind: W::KIND, what }).await;
    }
}

/// Takes a line of a watch apart. The inner error is of an object that cannot be decoded.
fn parse<W: Watched>(line: &[u8]) -> Result<Result<Line<W>, serde_json::Error>, Failure> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(Ok(Line::Other));
    }
    let Event { r#type, object } = match serde_json::from_slice::<Event<W>>(line) {
        Ok(event) => event,
        Err(error) if error.is_data() => return Ok(Err(error)),
        Err(error) => return Err(Failure::malformed(error)),
    };
    let is_deletion = match &*r#type {
        "ADDED" | "MODIFIED" => false,
        "DELETED" => true,
        "BOOKMARK" => {
            let is_end_of_initial_events =
                matches!(object.metadata(), Field::Value(metadata) if metadata.is_end_of_initial_events());
            return Ok(Ok(Line::Bookmark { version: version(&object), is_end_of_initial_events }));
        }
        "ERROR" => {
            let event = serde_json::from_slice::<Event<serde_json::Value>>(line);
            return Err(event.map_or_else(Failure::malformed, |event| Failure::event(event.object)));
        }
        other => {
            debug!(kind = %W::KIND, "Event of the unknown type {other:?} ignored");
            return Ok(Ok(Line::Other));
        }
    };
    Ok(Ok(Line::Object { object, is_deletion }))
}
