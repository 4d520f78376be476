//! Events on Services: problems with a Service, where `kubectl describe` shows them.

use std::sync::Arc;

use portolan_rules::model::ObjectName;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// The capacity of the queue of Events to be written. Further Events are dropped: Events are best effort.
const CAPACITY: usize = 256;

/// A Warning about a Service (`events.k8s.io/v1` `Event`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Warning {
    /// The Service that it is about.
    pub service: ObjectName,
    /// `reason`: a word in upper camel case, such as `FailedToStartServiceHealthcheck`.
    pub reason: &'static str,
    /// `action`: what was being done, such as `SyncProxyRules`.
    pub action: &'static str,
    /// `note`: a sentence for people.
    pub note: Arc<str>,
}

/// Records Warnings, which the cluster source writes to the API server. Never blocks.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Option<Sender<Warning>>);

impl Recorder {
    /// Returns a recorder and the queue of its Warnings. [`Recorder::default`] discards them.
    pub fn new() -> (Self, Receiver<Warning>) {
        let (sender, receiver) = channel(CAPACITY);
        (Self(Some(sender)), receiver)
    }

    /// Records a Warning.
    pub fn warn(&self, warning: Warning) {
        if let Some(sender) = &self.0 {
            // Full or closed: see `CAPACITY`.
            let _ = sender.try_send(warning);
        }
    }
}
