//! Events on Services: what went wrong with one, where `kubectl describe` shows it.

use std::sync::Arc;

use portolan_rules::model::ObjectName;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Events that wait to be written; what comes when so many wait is dropped: Events are a courtesy.
const CAPACITY: usize = 256;

/// A Warning about a Service (`events.k8s.io/v1` `Event`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Warning {
    /// The Service that it regards.
    pub service: ObjectName,
    /// `reason`: a word in upper camel case, such as `FailedToStartServiceHealthcheck`.
    pub reason: &'static str,
    /// `action`: what was being done, such as `SyncProxyRules`.
    pub action: &'static str,
    /// `note`: a sentence for people.
    pub note: Arc<str>,
}

/// Takes Warnings; who writes them, if anybody, is the cluster source's business. Never blocks.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Option<Sender<Warning>>);

impl Recorder {
    /// A recorder, and what it records. [`Recorder::default`] is one that nobody reads.
    pub fn new() -> (Self, Receiver<Warning>) {
        let (sender, receiver) = channel(CAPACITY);
        (Self(Some(sender)), receiver)
    }

    /// Records a Warning.
    pub fn warn(&self, warning: Warning) {
        if let Some(sender) = &self.0 {
            // Full, or nobody there: see `CAPACITY`.
            let _ = sender.try_send(warning);
        }
    }
}
