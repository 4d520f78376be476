//! Writes Warnings as Events (`events.k8s.io/v1`), where `kubectl describe` shows them.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use serde_json::{Value, json};
use tokio::{sync::mpsc::Receiver, time::sleep};
use tracing::debug;

use super::{
    error::RequestError,
    request::{Connection, JSON, LONGEST_OBJECT, with_parameters},
};
use crate::observe::events::Warning;

/// `reportingController`.
const CONTROLLER: &str = "portolan";

/// Minimum time between two requests: Events are a courtesy, and there are thousands of nodes.
const PACE: Duration = Duration::from_millis(200);

/// The same Warning within this time after the last belongs to its series.
const SERIES: Duration = Duration::from_mins(10);

/// How many different Warnings are remembered.
const REMEMBERED: usize = 1024;

/// Longest `note`, in bytes.
const LONGEST_NOTE: usize = 1024;

/// Only the metadata of objects, from servers that support it.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// A Warning that was written.
struct Series {
    event: String,
    count: i32,
    last: Instant,
    written: Instant,
}

/// Writes Warnings until the sender is gone. A Warning that cannot be written is only logged, at debug level.
pub(super) async fn write(connection: Connection, node_name: Arc<str>, mut warnings: Receiver<Warning>) {
    let mut writer = Writer { connection, node_name, series: HashMap::new() };
    while let Some(warning) = warnings.recv().await {
        let (service, reason) = (warning.service.clone(), warning.reason);
        match writer.take(warning).await {
            Ok(false) => {}
            Ok(true) => sleep(PACE).await,
            Err(error) => {
                debug!(%service, reason, %error, "Event not written");
                sleep(PACE).await;
            }
        }
    }
}

/// Writes Events, and remembers them.
struct Writer {
    connection: Connection,
    node_name: Arc<str>,
    series: HashMap<Warning, Series>,
}

impl Writer {
    /// Writes a Warning, alone or as part of a series. Returns whether a request was sent.
    async fn take(&mut self, warning: Warning) -> Result<bool, RequestError> {
        let now = Instant::now();
        if let Some(series) = self.series.get_mut(&warning)
            && now.duration_since(series.last) < SERIES
        {
            series.count = series.count.saturating_add(1);
            series.last = now;
            if now.duration_since(series.written) < self.connection.timing.series {
                return Ok(false);
            }
            series.written = now;
            let observed = EventSeries { count: series.count, last_observed_time: micro_time() };
            let path = format!("{}/{}", collection(&warning), series.event);
            let series = json!({ "series": observed });
            let patched =
                self.connection.write("PATCH", &path, "application/merge-patch+json", &series).await;
            if !patched.as_ref().is_err_and(|error| error.reason.is_denied()) {
                return patched.map(|_| true);
            }
            // Events expire after an hour or so: this one is gone.
        }
        if self.series.len() >= REMEMBERED {
            self.series.retain(|_, series| now.duration_since(series.last) < SERIES);
        }
        let event = self.event(&warning).await;
        let name = event.metadata.name.clone().unwrap_or_default();
        if self.series.len() < REMEMBERED {
            let series = Series { event: name, count: 1, last: now, written: now };
            self.series.insert(warning.clone(), series);
        }
        self.connection.write("POST", &collection(&warning), JSON, &event).await?;
        Ok(true)
    }

    async fn event(&self, warning: &Warning) -> Event {
        let service = &warning.service;
        let mut note = warning.note.to_string();
        note.truncate(note.floor_char_boundary(LONGEST_NOTE));
        let name = format!("{}.{:x}", service.name, Timestamp::now().as_nanosecond());
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(service.namespace.to_string()),
                ..ObjectMeta::default()
            },
            action: Some(warning.action.to_owned()),
            event_time: Some(micro_time()),
            note: Some(note),
            reason: Some(warning.reason.to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Service".to_owned()),
                namespace: Some(service.namespace.to_string()),
                name: Some(service.name.to_string()),
                // `kubectl describe` finds Events by uid. Warnings are few, so the uid is not kept for every Service.
                uid: self.uid(warning).await,
                ..ObjectReference::default()
            }),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.node_name.to_string()),
            type_: Some("Warning".to_owned()),
            ..Event::default()
        }
    }

    /// Reads the Service's uid with a list, which a proxy is permitted; `get` may not be permitted.
    async fn uid(&self, warning: &Warning) -> Option<String> {
        let service = &warning.service;
        let path = with_parameters(
            &format!("/api/v1/namespaces/{}/services", service.namespace),
            &[("fieldSelector", &format!("metadata.name={}", service.name)), ("resourceVersion", "0")],
        );
        let text = self.connection.get_as(&path, METADATA).await.ok()?.text(LONGEST_OBJECT).await.ok()?;
        let list: Value = serde_json::from_slice(&text).ok()?;
        list["items"][0]["metadata"]["uid"].as_str().map(str::to_owned)
    }
}

fn collection(warning: &Warning) -> String {
    format!("/apis/events.k8s.io/v1/namespaces/{}/events", warning.service.namespace)
}

fn micro_time() -> MicroTime {
    MicroTime(k8s_openapi::jiff::Timestamp::now())
}
