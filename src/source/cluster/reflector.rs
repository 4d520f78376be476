//! Keeps the store of one kind equal to the API server's objects.
//!
//! The reflector lists the objects, then watches from the version of the list, and resumes each watch where it ended.
//! `machine.rs` decides the next action; the reflector carries it out. A list comes from the server's cache in one
//! piece and compressed, with an eighth of the bytes of a streaming list (KEP-3157), which servers do not compress.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tracing::{debug, info};

use super::{
    action::{Action, Effect, Freshness, Outcome, Version},
    decode::{self, Decoded, page},
    delivery::Delta,
    error::{Reason, RequestError},
    kind::Watched,
    list::in_namespace,
    machine::{Machine, Now, Outage},
    outages::Outages,
    request::{Connection, Lines, with_parameters},
    startup_taint::StartupTaint,
    store::{self, Listing, Store},
};
use crate::{
    observe::health::Health,
    source::{eligibility::EligibilityTracker, event::Change},
};

/// The receivers of the reports of all reflectors.
#[derive(Clone)]
pub(super) struct Reporter {
    pub deltas: Sender<Delta>,
    pub health: Health,
    pub outages: Arc<Outages>,
    pub eligibility: Arc<EligibilityTracker>,
    /// The taint to be removed, if there is one.
    pub startup_taint: Option<Arc<StartupTaint>>,
    /// Endpoint changes that began earlier do not count for the latency of the agent.
    pub started: Timestamp,
}

/// Which objects of a kind are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Selectors {
    /// `labelSelector`.
    pub labels: String,
    /// `fieldSelector`.
    pub fields: String,
}

impl Selectors {
    /// The path of a collection with these selectors and other parameters.
    fn path(&self, collection: &str, parameters: &[(&str, &str)]) -> String {
        let selectors = [("labelSelector", &*self.labels), ("fieldSelector", &*self.fields)];
        let given = selectors.into_iter().filter(|(_, selector)| !selector.is_empty());
        with_parameters(collection, &given.chain(parameters.iter().copied()).collect::<Vec<_>>())
    }
}

/// Lists and watches one kind.
pub(super) struct Reflector<W: Watched> {
    connection: Connection,
    /// Which objects are wanted.
    selectors: Selectors,
    store: Store<W>,
    reporter: Reporter,
    /// The present watch.
    lines: Option<Lines>,
    /// A complete list that is not yet in the store.
    listing: Option<Listing<W>>,
    /// An object that is not yet in the store, and whether it was deleted.
    event: Option<(W, bool)>,
}

fn now() -> Now {
    Now { at: Instant::now(), random: fastrand::f64() }
}

impl<W: Watched> Reflector<W> {
    /// A reflector of the objects that these selectors choose.
    pub fn new(connection: Connection, selectors: Selectors, store: Store<W>, reporter: Reporter) -> Self {
        Self { connection, selectors, store, reporter, lines: None, listing: None, event: None }
    }

    /// Runs the reflector. Never ends.
    pub async fn run(mut self) {
        let (mut machine, mut action) = Machine::start(self.connection.timing, W::IS_OPTIONAL);
        let mut alerts = self.reporter.outages.alerts();
        loop {
            let outcome = tokio::select! {
                outcome = self.perform(action) => outcome.unwrap_or_else(Outcome::Failed),
                // Without a position there is nothing to forget.
                () = alerts.next(), if machine.known().is_some() => Outcome::Alerted,
            };
            let is_answered = matches!(
                outcome,
                Outcome::Opened | Outcome::Verified | Outcome::Contradicted | Outcome::Listed { .. }
            );
            let error = if let Outcome::Failed(error) = &outcome { Some(error.clone()) } else { None };
            let before = machine.outage().cloned();
            let (next, effect, then) = machine.next(outcome, now());
            machine = next;
            let is_failure = error.is_some() || before.is_none();
            if let Some(error) = error {
                debug!(kind = %W::KIND, %error, next = ?then, "Request failed");
                if error.reason.is_denied() && !machine.is_listed() {
                    self.send(Delta::Denied(W::KIND)).await;
                }
            }
            self.report(before.as_ref(), is_answered, is_failure, &machine);
            self.effect(effect, &machine).await;
            if matches!(effect, Effect::Alert | Effect::Replace) {
                // This kind found the replacement itself, or has listed since.
                alerts.skip();
            }
            action = then;
        }
    }

    /// Logs the beginning and the end of an outage, and wakes other kinds when the server has made progress.
    fn report(&self, before: Option<&Outage>, is_answered: bool, is_failure: bool, machine: &Machine) {
        let outages = &self.reporter.outages;
        match (before, machine.outage()) {
            (Some(before), None) => outages.recovered(W::KIND, before.since.elapsed()),
            (_, Some(outage)) if is_failure => {
                let is_needed = !(W::IS_OPTIONAL && outage.error.reason.is_denied());
                outages.failed(W::KIND, &outage.error, is_needed);
            }
            _ => {}
        }
        if is_answered {
            outages.reached();
        }
        let is_progress =
            |before: &Outage| machine.outage().is_some_and(|outage| outage.progress > before.progress);
        if before.is_some_and(|before| is_answered || is_progress(before)) {
            outages.wake();
        }
    }

    /// Changes the store.
    async fn effect(&mut self, effect: Effect, machine: &Machine) {
        match effect {
            Effect::Keep => self.event = None,
            Effect::Alert => {
                self.event = None;
                info!(kind = %W::KIND, "The API server's history was replaced, as by a backup; relisting all kinds");
                self.reporter.outages.alert();
            }
            Effect::Replace => {
                let listing = self.listing.take().unwrap_or_default();
                self.reporter.health.heard(W::KIND);
                self.replace(listing, machine.known()).await;
            }
            Effect::Clear => self.replace(Listing::<W>::default(), None).await,
            Effect::Apply => {
                self.reporter.health.heard(W::KIND);
                let Some((object, is_deletion)) = self.event.take() else { return };
                if let Some(change) = self.store.apply(&object, is_deletion) {
                    let trigger = object.trigger().filter(|at| !is_deletion && *at >= self.reporter.started);
                    self.changed(None, change, trigger).await;
                }
            }
        }
    }

    async fn perform(&mut self, action: Action) -> Result<Outcome, RequestError> {
        match action {
            Action::List { freshness } => {
                self.lines = None;
                let limit = self.connection.timing.list;
                let late =
                    RequestError::new(Reason::Silent, format!("the list was not complete within {limit:?}"));
                let (listing, version) = timeout(limit, self.list(&freshness)).await.map_err(|_| late)??;
                let is_emptied = listing.objects.is_empty() && !self.store.models().objects.is_empty();
                self.listing = Some(listing);
                Ok(Outcome::Listed { version, is_emptied })
            }
            Action::Verify { version } => {
                self.lines = None;
                self.verify(&version).await
            }
            Action::Watch { version, duration } => {
                self.lines = None;
                let path = self.watch_path(&version, duration);
                self.lines = Some(self.connection.watch(&path).await?);
                Ok(Outcome::Opened)
            }
            Action::Read { until } => self.read(until).await,
            Action::Wait { until } => {
                self.lines = None;
                tokio::select! {
                    () = sleep_until(until) => Ok(Outcome::Elapsed),
                    () = self.reporter.outages.answered() => Ok(Outcome::Woken),
                }
            }
        }
    }

    /// Checks that the object that changed last is, at a version of the server's history, as it is known.
    async fn verify(&mut self, version: &str) -> Result<Outcome, RequestError> {
        let exact = [("resourceVersion", version), ("resourceVersionMatch", "Exact")];
        let Some(latest) = self.store.models().latest.clone() else {
            let path = self.selectors.path(W::PATH, &[&[("limit", "1")], &exact[..]].concat());
            page::<W>(&self.connection, &path, &mut |_| Ok(())).await?;
            return Ok(Outcome::Verified);
        };
        let mut selectors = self.selectors.clone();
        if !selectors.fields.is_empty() {
            selectors.fields.push(',');
        }
        selectors.fields.extend(["metadata.name=", &*latest.name.name]);
        let collection = if W::KIND.is_namespaced() {
            in_namespace(W::PATH, &latest.name.namespace)
        } else {
            W::PATH.to_owned()
        };
        let mut found = None;
        let mut item = |object: &W| {
            found = store::version(object);
            Ok(())
        };
        page(&self.connection, &selectors.path(&collection, &exact), &mut item).await?;
        let expected = (!latest.is_deletion).then_some(latest.version);
        Ok(if found == expected { Outcome::Verified } else { Outcome::Contradicted })
    }

    /// The path of a watch from a version.
    fn watch_path(&self, version: &str, duration: Duration) -> String {
        let seconds = duration.as_secs().max(1).to_string();
        let parameters = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", &seconds),
            ("resourceVersion", version),
        ];
        self.selectors.path(W::PATH, &parameters)
    }

    /// Lists in pages.
    async fn list(&mut self, freshness: &Freshness) -> Result<(Listing<W>, Version), RequestError> {
        let limit = self.connection.timing.page.to_string();
        let mut listing = Listing::<W>::default();
        let mut token: Box<str> = "".into();
        loop {
            let limit = ("limit", &*limit);
            let path = match (&*token, freshness) {
                // As in client-go, without a limit: old servers read a list with a limit and a version from etcd.
                ("", Freshness::NotOlder(version)) => {
                    self.selectors.path(W::PATH, &[("resourceVersion", version)])
                }
                ("", Freshness::Any) => self.selectors.path(W::PATH, &[limit, ("resourceVersion", "0")]),
                ("", Freshness::Newest) => self.selectors.path(W::PATH, &[limit]),
                (token, _) => self.selectors.path(W::PATH, &[limit, ("continue", token)]),
            };
            let meta =
                page(&self.connection, &path, &mut |object| add(&mut self.store, &mut listing, object))
                    .await?;
            match meta.r#continue.filter(|token| !token.is_empty()) {
                Some(next) if next == token => {
                    return Err(RequestError::malformed("the continue token is that of the previous page"));
                }
                Some(next) => token = next,
                None => {
                    let version = meta.resource_version.filter(|version| !version.is_empty());
                    let version =
                        version.ok_or_else(|| RequestError::malformed("the list has no resourceVersion"))?;
                    return Ok((listing, version));
                }
            }
        }
    }

    /// Reads the next line of the watch.
    async fn read(&mut self, until: Instant) -> Result<Outcome, RequestError> {
        let Some(lines) = &mut self.lines else { return Ok(Outcome::Ended) };
        let encoding = lines.encoding;
        loop {
            let Ok(line) = timeout_at(until, lines.next()).await else { return Ok(Outcome::Silent) };
            let Some(line) = line? else { return Ok(Outcome::Ended) };
            match decode::event::<W>(line, encoding)? {
                None => {}
                Some(Decoded::Object(object, is_deletion)) => {
                    let version = decode::version(&object);
                    self.event = Some((object, is_deletion));
                    return Ok(Outcome::Received(version));
                }
                Some(Decoded::Bookmark(version)) => return Ok(Outcome::Received(version)),
                Some(Decoded::Undecodable(error)) => {
                    // The object keeps its state.
                    self.store.undecodable(&error);
                    return Ok(Outcome::Received(None));
                }
            }
        }
    }

    /// Replaces all objects.
    async fn replace(&mut self, listing: Listing<W>, version: Option<&str>) {
        let (change, removed) = self.store.replace(listing);
        let count = self.store.models().objects.len();
        if removed > 0 {
            info!(kind = %W::KIND, count, removed, version, "Listed; objects that are no longer there are removed");
        } else {
            debug!(kind = %W::KIND, count, version, "Listed");
        }
        self.changed(Some(count), change, None).await;
    }

    async fn changed(&mut self, listed: Option<usize>, change: Change, trigger: Option<Timestamp>) {
        if let Some(eligibility) = W::eligibility(self.store.models()) {
            self.reporter.eligibility.update(eligibility, &self.reporter.health);
        }
        if let Some(taint) = &self.reporter.startup_taint
            && let Some(is_there) = W::has_taint(self.store.models(), taint.key())
        {
            taint.note(is_there);
        }
        self.send(Delta::Changed { kind: W::KIND, listed, change, trigger }).await;
    }

    async fn send(&mut self, delta: Delta) {
        // The receiver is gone when the process ends.
        let _ = self.reporter.deltas.send(delta).await;
    }
}

/// Adds an object to a list.
fn add<W: Watched>(store: &mut Store<W>, listing: &mut Listing<W>, object: &W) -> Result<(), RequestError> {
    let name = object.metadata().get().and_then(|metadata| metadata.name.get());
    if name.is_none_or(|name| name.is_empty()) {
        return Err(RequestError::malformed("an item: metadata.name is missing"));
    }
    store.add(listing, object);
    Ok(())
}
