//! Watches: changes since a version, one JSON document per line.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::{sync::watch::Receiver, time::Instant};

use super::{
    object::{Object, WatchEvent},
    protobuf::Encoding,
    query::ListOptions,
    serve::Shared,
    status::Refusal,
    store::Change,
};

/// How long a watch without `timeoutSeconds` lasts; a real server ends it after 30 to 60 minutes.
const LIFETIME: Duration = Duration::from_mins(30);
/// How long before its timeout a watch gets its last bookmark.
const FAREWELL: Duration = Duration::from_secs(2);
/// How many events go into one piece of the response.
const PIECE: usize = 256;

/// A watch in progress.
struct Watch {
    shared: Arc<Shared>,
    options: ListOptions,
    /// The version that the watch began at; only newer changes are sent.
    start: u64,
    /// Changes up to this version have been sent, or do not matter.
    position: u64,
    /// Events that are ready to be sent.
    ready: VecDeque<WatchEvent>,
    /// The number of events so far.
    count: usize,
    signal: Receiver<u64>,
    /// How many of the bookmarks that the test requested were sent.
    bookmarks: u64,
    next_bookmark: Instant,
    /// When the bookmark before the end is due.
    last_bookmark: Option<Instant>,
    end: Instant,
    over: bool,
    /// Whether some initial events are not sent yet.
    initial: bool,
    /// [`Faults::forgotten`](super::fault::Faults::forgotten) when the watch began.
    generation: u32,
}

/// Answers a watch.
///
/// # Errors
/// The refusal, if the server refuses the watch rather than begins it.
pub(super) fn watch(shared: &Arc<Shared>, options: ListOptions) -> Result<Response, Refusal> {
    let faults = shared.faults();
    let mut store = shared.store();
    let newest = store.version();
    let mut ready = VecDeque::new();
    let mut over = false;
    let initial = options.send_initial_events == Some(true)
        || (options.send_initial_events.is_none() && options.version.is_none());
    // A watch from a future version is silent until that version; only its initial events cannot be sent.
    if let Some(version) = options.version.filter(|version| initial && *version > newest) {
        ready.push_back(error(&Refusal::too_large(version, newest)));
        over = true;
    } else if initial {
        let page = super::serve::page(&mut store, &options, None, usize::MAX)?;
        ready.extend(page.items.into_iter().map(|object| WatchEvent { kind: "ADDED", object }));
        if options.send_initial_events.is_some() && options.bookmarks {
            ready.push_back(bookmark(&options, newest, true));
        }
    }
    let start = if initial { newest } else { options.version.unwrap_or(newest) };
    if faults.gone_as_status && store.since(start).is_err() {
        return Err(too_old(start));
    }
    let content_type = match options.encoding {
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Encoding::Json => "application/json",
    };
    let now = Instant::now();
    let end = now + options.timeout.unwrap_or(LIFETIME);
    let watch = Watch {
        start,
        position: start,
        ready,
        count: 0,
        signal: shared.signal(),
        bookmarks: shared.bookmarks(),
        next_bookmark: now + shared.bookmark_period,
        last_bookmark: options
            .timeout
            .and_then(|timeout| timeout.checked_sub(FAREWELL))
            .map(|after| now + after),
        end,
        over,
        initial,
        generation: faults.forgotten,
        shared: shared.clone(),
        options,
    };
    drop(store);
    let pieces = stream::unfold(watch, |mut watch| async move {
        let piece = watch.next().await?;
        Some((Ok::<_, Infallible>(piece), watch))
    });
    Ok(([(CONTENT_TYPE, content_type)], Body::from_stream(pieces)).into_response())
}

impl Watch {
    /// The next piece of the response; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // Signals from here on are not missed.
            self.signal.mark_unchanged();
            let silent = self.shared.faults().silence(self.generation);
            if !silent {
                if self.ready.is_empty() && !self.over {
                    self.collect();
                }
                if !self.ready.is_empty() {
                    let count = self.ready.len().min(PIECE);
                    let (resource, encoding) = (self.options.resource, self.options.encoding);
                    let encode = |event: WatchEvent| event.encoded(resource, encoding);
                    let piece: Vec<u8> = self.ready.drain(..count).flat_map(encode).collect();
                    if self.initial && self.ready.is_empty() {
                        self.initial = false;
                        self.shared.listed();
                    }
                    return Some(piece.into());
                }
            }
            let ended = !silent && (self.over || Instant::now() >= self.end);
            if ended {
                return None;
            }
            let next = self.last_bookmark.map_or(self.next_bookmark, |last| last.min(self.next_bookmark));
            let wake = if silent { Instant::now() + LIFETIME } else { next.min(self.end) };
            tokio::select! {
                changed = self.signal.changed() => changed.ok()?,
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Collects the events that are available.
    fn collect(&mut self) {
        let store = self.shared.store();
        let Ok(changes) = store.since(self.position) else {
            self.ready.push_back(error(&too_old(self.position)));
            self.over = true;
            return;
        };
        let events = changes.filter_map(|change| self.event(change)).collect();
        self.position = store.version().max(self.start);
        drop(store);
        let faults = self.shared.faults().events;
        self.ready.extend(faults.distort(events, &mut self.count));
        let (asked, now) = (self.shared.bookmarks(), Instant::now());
        let is_last = self.last_bookmark.take_if(|last| now >= *last).is_some();
        let is_due = is_last || asked != self.bookmarks || now >= self.next_bookmark;
        if self.options.bookmarks && is_due && self.position > self.start {
            self.ready.push_back(bookmark(&self.options, self.position, false));
        }
        self.bookmarks = asked;
        if now >= self.next_bookmark {
            self.next_bookmark = now + self.shared.bookmark_period;
        }
    }

    /// The event of a change for this watch: an object that is no longer selected is deleted, a newly selected one is
    /// added.
    fn event(&self, change: &Change) -> Option<WatchEvent> {
        let selected = |object: &&Arc<Object>| super::serve::is_wanted(&self.options, object);
        if change.resource != self.options.resource {
            return None;
        }
        let (before, after) =
            (change.before.as_ref().filter(selected), change.after.as_ref().filter(selected));
        let event = |kind, object: &Arc<Object>| WatchEvent { kind, object: Arc::clone(object) };
        match (before, after) {
            (None, None) => None,
            (None, Some(object)) => Some(event("ADDED", object)),
            (Some(_), Some(object)) => Some(event("MODIFIED", object)),
            (Some(object), None) => {
                let mut object = Value::clone(object);
                object["metadata"]["resourceVersion"] = change.version.to_string().into();
                Some(WatchEvent::new("DELETED", object))
            }
        }
    }
}

fn error(refusal: &Refusal) -> WatchEvent {
    WatchEvent::new("ERROR", refusal.status())
}

fn bookmark(options: &ListOptions, version: u64, is_end_of_initial_events: bool) -> WatchEvent {
    let resource = options.resource;
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if is_end_of_initial_events {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    let object = json!({"kind": resource.kind(), "apiVersion": resource.version(), "metadata": metadata});
    WatchEvent::new("BOOKMARK", object)
}

fn too_old(version: u64) -> Refusal {
    Refusal::gone(format!("too old resource version: {version}"))
}
