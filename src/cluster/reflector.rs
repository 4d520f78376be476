//! Keeps what is known of one kind equal to what the API server has: list, then watch, for ever.
//!
//! As client-go's reflector: a streaming list where the server has them (KEP-3157), else a list in pages; then a
//! watch from there, taken up again where it ended. `410 Gone` means to list anew.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, sleep, timeout_at},
};
use tracing::{debug, info};

use super::{
    backoff::{Backoff, jitter},
    delivery::{Told, What},
    failure::Failure,
    kind::Watched,
    outages::Outages,
    request::{Connection, Lines, Status, add_parameter},
    split::Splitter,
    standing::Lookout,
    store::{Listing, Store},
};
use crate::{api::Field, health::Health, source::Change};

/// A watch that was silent but alive for so long is taken for working.
const SETTLED: Duration = Duration::from_secs(3);

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
    /// Where the watch continues; if not known, everything must be listed.
    position: Option<Box<str>>,
    /// Version that a list must not be older than; empty for the newest.
    not_older: Box<str>,
    /// How long the present watch was asked to last.
    asked: Duration,
    /// Whether to ask for streaming lists.
    streams: bool,
    /// Whether the server was seen to send bookmarks, so that silence means something.
    has_bookmarks: bool,
    /// Since when the watch works; nothing while it does not, or the first events are not complete.
    watching: Option<Instant>,
    /// Whether anything was told.
    is_listed: bool,
    relist_at: Instant,
    backoff: Backoff,
}

/// A line of a watch (`WatchEvent`).
#[derive(Deserialize)]
struct Event<T> {
    r#type: Box<str>,
    object: T,
}

impl<W: Watched> Reflector<W> {
    /// A reflector of the collection at this path, with parameters that select from it.
    pub fn new(connection: Connection, path: String, store: Store<W>, outlet: Outlet) -> Self {
        let backoff = Backoff::new(&connection.timing);
        Self {
            connection,
            path,
            store,
            outlet,
            position: None,
            not_older: "".into(),
            asked: Duration::ZERO,
            streams: true,
            has_bookmarks: false,
            watching: None,
            is_listed: false,
            relist_at: Instant::now(),
            backoff,
        }
    }

    /// Never ends.
    pub async fn run(mut self) {
        loop {
            match self.round().await {
                Err(failure) => self.recover(failure).await,
                Ok(()) => self.judge(),
            }
        }
    }

    /// How long the watch has worked, if it does.
    fn lasted(&self) -> Option<Duration> {
        self.watching.map(|since| since.elapsed())
    }

    /// After a watch that was good, the next failure is a first one.
    fn judge(&mut self) {
        if self.lasted() >= Some(self.connection.timing.good_after) {
            self.backoff.reset();
        }
    }

    /// One list or one watch.
    async fn round(&mut self) -> Result<(), Failure> {
        self.watching = None;
        // A net: an event that got lost without a trace would otherwise be missed until somebody restarts the
        // agent.
        if self.position.is_some() && Instant::now() >= self.relist_at {
            self.position = None;
        }
        match self.position.clone() {
            Some(position) => {
                let mut path = self.path.clone();
                self.add_watch_parameters(&mut path, &position);
                let answer = self.connection.get(&path).await?;
                self.follow(answer.lines(), None).await
            }
            None if self.streams => self.stream_list().await,
            None => self.list().await,
        }
    }

    fn add_watch_parameters(&mut self, path: &mut String, version: &str) {
        // No two nodes the same: watches that began together, when the server came back, must not end together.
        let seconds = jitter(self.connection.timing.watch).as_secs().max(1);
        self.asked = Duration::from_secs(seconds);
        add_parameter(path, "watch", "true");
        add_parameter(path, "allowWatchBookmarks", "true");
        add_parameter(path, "timeoutSeconds", &seconds.to_string());
        if !version.is_empty() {
            add_parameter(path, "resourceVersion", version);
        }
    }

    /// Lists with a watch that begins with all there is.
    async fn stream_list(&mut self) -> Result<(), Failure> {
        let mut path = self.path.clone();
        let version = self.not_older.clone();
        self.add_watch_parameters(&mut path, &version);
        add_parameter(&mut path, "sendInitialEvents", "true");
        add_parameter(&mut path, "resourceVersionMatch", "NotOlderThan");
        let lines = match self.connection.get(&path).await {
            Ok(answer) => answer.lines(),
            Err(failure) if failure.refuses_streaming() => {
                self.stop_streaming(&failure);
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        match self.follow(lines, Some(Listing::default())).await {
            Err(failure)
                if self.watching.is_none()
                    && (matches!(failure, Failure::Silent(_) | Failure::Garbled(_))
                        || failure.refuses_streaming()) =>
            {
                self.stop_streaming(&failure);
                Ok(())
            }
            result => result,
        }
    }

    /// The next round lists in pages.
    fn stop_streaming(&mut self, failure: &Failure) {
        debug!(kind = %W::KIND, "No streaming lists, taking pages: {failure}");
        self.streams = false;
    }

    /// Lists in pages.
    async fn list(&mut self) -> Result<(), Failure> {
        let mut listing = Listing::default();
        let mut page = String::new();
        loop {
            let mut path = self.path.clone();
            add_parameter(&mut path, "limit", &self.connection.timing.page.to_string());
            // The first list may come from the server's cache, which spares etcd when many nodes start; further
            // pages go on where the last one ended.
            match (&*page, self.is_listed, &*self.not_older) {
                ("", false, "") => add_parameter(&mut path, "resourceVersion", "0"),
                ("", _, "") => {}
                ("", _, version) => {
                    add_parameter(&mut path, "resourceVersion", version);
                    // With a limit, the default would be exactly this version.
                    add_parameter(&mut path, "resourceVersionMatch", "NotOlderThan");
                }
                (token, ..) => add_parameter(&mut path, "continue", token),
            }
            let mut answer = self.connection.get(&path).await?;
            let meta = {
                let mut splitter = Splitter::default();
                let mut item = |item: &[u8]| match serde_json::from_slice::<W>(item) {
                    Ok(object) => self.store.add(&mut listing, &object),
                    Err(error) => self.store.unreadable(&error),
                };
                while let Some(bytes) = answer.next().await? {
                    splitter.feed(&bytes, &mut item)?;
                }
                splitter.finish()?
            };
            self.outlet.health.heard(W::KIND);
            if let Some(token) = meta.r#continue.filter(|token| !token.is_empty()) {
                page = token.into();
            } else if let Some(version) = meta.resource_version.filter(|version| !version.is_empty()) {
                self.position = Some(version);
                self.replace(listing).await;
                return Ok(());
            } else {
                return Err(Failure::Garbled("the list has no resourceVersion".into()));
            }
        }
    }

    /// Takes up a complete list.
    async fn replace(&mut self, listing: Listing<W>) {
        let change = self.store.replace(listing);
        if let Some(position) = &self.position {
            self.not_older.clone_from(position);
        }
        self.relist_at = Instant::now() + jitter(self.connection.timing.relist);
        self.is_listed = true;
        let count = self.store.models().len();
        debug!(kind = %W::KIND, count, version = self.position.as_deref(), "Listed");
        self.outlet.outages.recovered(W::KIND);
        self.tell(Some(count), change, None).await;
    }

    async fn tell(&self, listed: Option<usize>, change: Change, trigger: Option<Timestamp>) {
        if let Some(standing) = W::standing(self.store.models()) {
            self.outlet.lookout.note(standing, &self.outlet.health);
        }
        self.send(What::Change { listed, change, trigger }).await;
    }

    async fn send(&self, what: What) {
        // Nobody listens when the process ends.
        let _ = self.outlet.told.send(Told { kind: W::KIND, what }).await;
    }

    /// Reads a watch to its end. With `initial`, what comes first is a list, up to a bookmark that ends it.
    async fn follow(&mut self, mut lines: Lines, mut initial: Option<Listing<W>>) -> Result<(), Failure> {
        let timing = self.connection.timing;
        let began = Instant::now();
        let end = began + self.asked + timing.watch_margin;
        let mut heard_at = began;
        let mut is_settled = false;
        if initial.is_none() {
            self.watching = Some(began);
        }
        loop {
            let silence = if initial.is_some() { timing.initial_events } else { timing.idle };
            let mut until = end.min(heard_at + silence);
            if initial.is_some() {
                until = until.min(began + timing.response);
            } else if !is_settled {
                until = until.min(began.max(heard_at) + SETTLED);
            }
            let line = match timeout_at(until, lines.next()).await {
                Ok(line) => line?,
                Err(_) if initial.is_none() && !is_settled && until < end.min(heard_at + silence) => {
                    is_settled = true;
                    self.outlet.outages.recovered(W::KIND);
                    continue;
                }
                Err(_) => return Err(Failure::Silent(heard_at.elapsed())),
            };
            let Some(line) = line else {
                if initial.is_some() {
                    // As what answers in place of a server that knows initial events may do.
                    return Err(Failure::Garbled("the watch ended before all objects were told".into()));
                }
                // Whatever it said before: the next one may be as short.
                if began.elapsed() < timing.first_retry {
                    return Err(Failure::Transport("the watch ended at once".into()));
                }
                debug!(kind = %W::KIND, after = ?began.elapsed(), "Watch ended");
                self.outlet.outages.recovered(W::KIND);
                return Ok(());
            };
            heard_at = Instant::now();
            self.outlet.health.heard(W::KIND);
            self.line(line, &mut initial).await?;
            if initial.is_none() && !is_settled {
                is_settled = true;
                self.watching.get_or_insert(heard_at);
                self.outlet.outages.recovered(W::KIND);
            }
        }
    }

    /// Takes up a line of a watch.
    async fn line(&mut self, line: &[u8], initial: &mut Option<Listing<W>>) -> Result<(), Failure> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let event = match serde_json::from_slice::<Event<W>>(line) {
            Ok(event) => event,
            Err(error) if error.is_data() => {
                self.store.unreadable(&error);
                return Ok(());
            }
            Err(error) => return Err(Failure::Garbled(error.to_string())),
        };
        let object = event.object;
        let version = object.metadata().get().and_then(|metadata| metadata.resource_version.get().cloned());
        let is_deletion = match &*event.r#type {
            "ADDED" | "MODIFIED" => false,
            "DELETED" => true,
            "BOOKMARK" => return self.bookmark(&object, version, initial).await,
            "ERROR" => {
                let error = serde_json::from_slice::<Event<Status>>(line);
                return Err(
                    error.map_or_else(|e| Failure::Garbled(e.to_string()), |event| event.object.into())
                );
            }
            other => {
                debug!(kind = %W::KIND, "Event of the unknown type {other:?} ignored");
                return Ok(());
            }
        };
        if let Some(listing) = initial {
            if is_deletion {
                listing.remove(&object);
            } else {
                self.store.add(listing, &object);
            }
            return Ok(());
        }
        self.advance(version);
        if let Some(change) = self.store.apply(&object, is_deletion) {
            let trigger = object.trigger().filter(|at| !is_deletion && *at >= self.outlet.started);
            self.tell(None, change, trigger).await;
        }
        Ok(())
    }

    async fn bookmark(
        &mut self,
        object: &W,
        version: Option<Box<str>>,
        initial: &mut Option<Listing<W>>,
    ) -> Result<(), Failure> {
        let is_end =
            matches!(object.metadata(), Field::Value(metadata) if metadata.is_end_of_initial_events());
        match initial.take() {
            Some(listing) if is_end => {
                self.advance(version);
                if self.position.is_none() {
                    return Err(Failure::Garbled("the bookmark has no resourceVersion".into()));
                }
                self.replace(listing).await;
            }
            // A server that knows nothing of initial events took this for a watch like any other.
            Some(_) => {
                return Err(Failure::Garbled("a bookmark came before the end of initial events".into()));
            }
            None => {
                self.has_bookmarks = true;
                self.advance(version);
            }
        }
        Ok(())
    }

    fn advance(&mut self, version: Option<Box<str>>) {
        if let Some(version) = version {
            self.not_older.clone_from(&version);
            self.position = Some(version);
        }
    }

    /// Decides what to do after a failure, and waits.
    async fn recover(&mut self, failure: Failure) {
        let timing = self.connection.timing;
        self.judge();
        let lasted = self.lasted();
        self.watching = None;
        let is_first = self.backoff.failures() == 0;
        let mut wait = self.backoff.next();
        // What is not the server's trouble needs no wait: something is known to do better now. That holds after
        // an outage, too, when the server has forgotten what came before.
        let mut is_ours = false;
        if self.position.is_some() {
            // A watch that worked ends with an event that says why, if the server ends it early.
            if failure.is_about_the_version() || lasted.is_some() && failure.is_refusal() {
                self.position = None;
                is_ours = true;
            }
        } else if failure.is_about_the_version() && !self.not_older.is_empty() {
            // Never twice for one version, so that this may be made up for as well.
            self.not_older = "".into();
            self.backoff.allow_pardon();
            is_ours = true;
        } else if failure.is_gone() {
            // The token of the next page is too old.
            is_ours = true;
        }
        if failure.is_unavailable() && !self.is_listed && !W::IS_OPTIONAL {
            self.send(What::Refused).await;
        }
        if W::IS_OPTIONAL && failure.is_unavailable() && self.store.models().len() == 0 {
            if !self.is_listed {
                info!("{}s cannot be read; going on without: {failure}", W::KIND);
                self.replace(Listing::default()).await;
            }
            sleep(jitter(timing.optional_retry)).await;
            return;
        }
        match (&failure, lasted) {
            (Failure::Silent(_), Some(_)) => {
                is_ours = true;
                if self.has_bookmarks {
                    info!("Watch of {}s is stale, starting it anew: {failure}", W::KIND);
                }
            }
            // Connections end, and are made anew; that this fails is what matters.
            _ if is_ours && self.backoff.may_pardon() || is_first && lasted.is_some() => {
                debug!(kind = %W::KIND, "Watch broke off: {failure}");
            }
            _ => self.outlet.outages.failed(W::KIND, &failure),
        }
        if is_ours && self.backoff.pardon() {
            self.outlet.outages.answered(W::KIND);
            return;
        }
        if let Some(asked) = failure.retry_after() {
            wait = wait.max(asked.min(timing.last_retry) + jitter(timing.first_retry));
        }
        tokio::select! {
            () = sleep(wait) => {}
            // The server is back, as another kind has found out.
            () = self.outlet.outages.ended(), if matches!(failure, Failure::Transport(_) | Failure::Silent(_)) => {
                sleep(jitter(timing.first_retry / 4)).await;
            }
        }
    }
}
