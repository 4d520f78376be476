//! Removes the startup taint (`--remove-taint`) from this Node once its Services are programmed.
//!
//! The taint keeps away Pods that would find no Services. The Node is registered with the taint, for example by the
//! kubelet's `--register-with-taints`. A Node that is registered again has the taint again, and loses it again.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use super::{
    error::{Reason, RequestError},
    request::Connection,
    timing::Timing,
};
use crate::{observe::health::Health, retry::Retry};

/// How often to check whether the Services are programmed, until they are.
const POLL: Duration = Duration::from_millis(200);
/// How many times the Node is read again at once because others changed it before it was patched.
const CONFLICTS: u32 = 5;

/// The path of the taints in a Node.
const TAINTS: &str = "/spec/taints";

/// The taint, and whether the Node has it.
pub(super) struct StartupTaint {
    key: Box<str>,
    is_there: watch::Sender<bool>,
}

impl StartupTaint {
    /// The taint with this key; the Node is not known yet.
    pub fn new(key: &str) -> Self {
        Self { key: key.into(), is_there: watch::Sender::new(false) }
    }

    /// The key of the taint.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Notes whether the Node has the taint.
    pub fn note(&self, is_there: bool) {
        // Every change of the Node is a reason to look again.
        self.is_there.send_replace(is_there);
    }

    /// Removes the taint whenever the Node has it and the Services are programmed. Never ends.
    pub async fn remove(self: Arc<Self>, connection: Connection, node: Arc<str>, health: Health) {
        let mut is_there = self.is_there.subscribe();
        // Once is enough: an outage of the API server later on leaves the rules in place.
        while !health.report().is_ready() {
            sleep(POLL).await;
        }
        let Timing { first_retry, last_retry, .. } = connection.timing;
        let (key, mut logged, mut waits) = (&*self.key, None, Retry::between(first_retry, last_retry));
        loop {
            // `self` owns the sender, so this does not fail.
            let _ = is_there.wait_for(|is_there| *is_there).await;
            let error = match self.try_to_remove(&connection, &node).await {
                Ok(removed) => {
                    if removed {
                        info!(node = &*node, taint = key, "Startup taint removed: Services are programmed");
                    }
                    logged = None;
                    waits.succeeded();
                    // Wait until the watch shows the Node without the taint, or with it again.
                    let _ = is_there.changed().await;
                    continue;
                }
                Err(error) => error,
            };
            if logged.as_ref() != Some(&error.reason) {
                let hint = error.reason.is_denied().then_some(
                    "grant the right to patch nodes: docker/kustomize/components/startup-taint, removeTaint of the chart",
                );
                warn!(node = &*node, taint = key, %error, hint, "Startup taint cannot be removed; trying again");
                logged = Some(error.reason);
            }
            sleep(error.retry_after.unwrap_or_default().max(waits.wait())).await;
        }
    }

    /// Removes the taint if the Node has it. Returns false if the Node does not have it.
    async fn try_to_remove(&self, connection: &Connection, node: &str) -> Result<bool, RequestError> {
        let name = format!("metadata.name={node}");
        let this_node = format!("/api/v1/nodes/{node}");
        for conflicts in 0.. {
            // Read with a list, which a proxy is permitted; `get` may not be permitted.
            let nodes = connection.items("/api/v1/nodes", &[("fieldSelector", &name)]).await?;
            let Some(patch) = nodes.first().and_then(|node| self.patch(&node["spec"]["taints"])) else {
                return Ok(false);
            };
            match connection.write("PATCH", &this_node, "application/json-patch+json", &patch).await {
                Ok(_) => return Ok(true),
                // The taints have changed since they were read.
                Err(RequestError { reason: Reason::Refused, .. }) if conflicts < CONFLICTS => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// The JSON patch that removes the taint from these taints, and that the server refuses if they have changed;
    /// `None` if the taint is not among them.
    fn patch(&self, taints: &Value) -> Option<Value> {
        let all = taints.as_array()?;
        let rest: Vec<&Value> = all.iter().filter(|taint| taint["key"] != *self.key).collect();
        if rest.len() == all.len() {
            return None;
        }
        let change = if rest.is_empty() {
            json!({"op": "remove", "path": TAINTS})
        } else {
            json!({"op": "replace", "path": TAINTS, "value": rest})
        };
        Some(json!([{"op": "test", "path": TAINTS, "value": taints}, change]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_taint_goes_with_every_effect_and_the_others_stay() {
        let taint = StartupTaint::new("portolan.io/not-ready");
        let ours = |effect: &str| json!({"key": "portolan.io/not-ready", "effect": effect});
        let other = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule", "timeAdded": "x"});
        let all = json!([ours("NoSchedule"), other, ours("NoExecute")]);
        let patch = taint.patch(&all).unwrap();
        assert_eq!(
            patch,
            json!([
                {"op": "test", "path": "/spec/taints", "value": all},
                {"op": "replace", "path": "/spec/taints", "value": [other]},
            ])
        );
        let alone = json!([ours("NoSchedule")]);
        assert_eq!(taint.patch(&alone).unwrap()[1], json!({"op": "remove", "path": "/spec/taints"}));
        for without in [json!(null), json!([]), json!([other])] {
            assert_eq!(taint.patch(&without), None);
        }
    }
}
