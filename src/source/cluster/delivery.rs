//! Passes the deltas of all watches on to the agent: first everything at once, then whatever has arrived.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, timeout_at},
};
use tracing::{error, info, warn};

use super::options::Options;
use crate::{
    api::Kind,
    source::{
        backlog::Backlog,
        event::{Change, Inbox, SourceEvent, Update},
    },
};

/// A report of a reflector about its kind.
#[derive(Debug)]
pub(super) enum Delta {
    /// Objects changed.
    Changed {
        /// Their kind.
        kind: Kind,
        /// Number of objects, if all of them were listed.
        listed: Option<usize>,
        /// What changed.
        change: Change,
        /// When the change began.
        trigger: Option<Timestamp>,
    },
    /// The server does not serve the kind, or does not permit reading it.
    Denied(Kind),
}

/// Nothing is delivered before these kinds are listed.
const NEEDED: [Kind; 2] = [Kind::Service, Kind::EndpointSlice];

/// The first delivery waits for these kinds for a limited time.
const OPTIONAL: [Kind; 2] = [Kind::Node, Kind::ServiceCidr];

/// Delivers deltas to the agent until the agent or all watches are gone.
pub(super) async fn deliver(mut deltas: Receiver<Delta>, events: impl Inbox, options: &Options) {
    let Ok(mut next) = gather(&mut deltas, options).await else {
        error!(
            node = &*options.node_name,
            after = ?options.timing.pod_networks,
            "The Node has no spec.podCIDRs, which --detect-local-mode NodeCIDR needs; giving up, and leaving the rules \
             as they are"
        );
        // The agent may be stopping anyway.
        let _ = events.report(SourceEvent::Failed);
        return;
    };
    while let Some(update) = next {
        if !update.changes.is_empty() && events.report(SourceEvent::Update(update)).is_err() {
            return;
        }
        next = batch(&mut deltas).await;
    }
}

/// The Node has no `spec.podCIDRs`.
struct NoPodNetworks;

/// Returns all changes, once all kinds are listed and the Node has the fields that are needed; `None` when no watch is
/// left.
async fn gather(deltas: &mut Receiver<Delta>, options: &Options) -> Result<Option<Update>, NoPodNetworks> {
    let timing = options.timing;
    let began = Instant::now();
    let mut backlog = Backlog::default();
    let mut listed = BTreeSet::new();
    let (mut services, mut slices) = (0, 0);
    let (mut needed_at, mut is_waiting_logged, mut denied) = (None, false, BTreeSet::new());
    loop {
        let is_listed = |kind: &Kind| listed.contains(kind);
        let mut wake = None;
        if NEEDED.iter().all(is_listed) {
            let missing: Vec<&str> =
                OPTIONAL.iter().filter(|kind| !is_listed(kind)).map(|kind| kind.name()).collect();
            let waits_for_node = !is_listed(&Kind::Node) && !denied.contains(&Kind::Node);
            let patience = if waits_for_node { timing.node } else { timing.patience };
            let needed_at = *needed_at.get_or_insert_with(Instant::now);
            let until = needed_at + patience;
            if !missing.is_empty() && Instant::now() < until {
                wake = Some(until);
            } else if options.needs_pod_networks
                && backlog.node().is_none_or(|node| node.pod_cidrs.is_empty())
            {
                // Without pod CIDRs, pods cannot be recognised; the rules of an earlier run may be better.
                let until = needed_at + timing.pod_networks;
                if Instant::now() >= until {
                    return Err(NoPodNetworks);
                }
                if !std::mem::replace(&mut is_waiting_logged, true) {
                    warn!(node = &*options.node_name, "Waiting for the Node's spec.podCIDRs");
                }
                wake = Some(until);
            } else {
                if !missing.is_empty() {
                    warn!(
                        kinds = missing.join(", "),
                        "Starting without kinds that the API server has not listed"
                    );
                }
                info!(services, endpoint_slices = slices, elapsed = ?began.elapsed(), "Cluster listed");
                return Ok(Some(backlog.take()));
            }
        }
        let next = match wake {
            None => deltas.recv().await,
            Some(until) => match timeout_at(until, deltas.recv()).await {
                Ok(next) => next,
                Err(_) => continue,
            },
        };
        match next {
            None => return Ok(None),
            Some(Delta::Denied(kind)) => _ = denied.insert(kind),
            Some(Delta::Changed { kind, listed: count, change, trigger }) => {
                if let Some(count) = count {
                    listed.insert(kind);
                    match kind {
                        Kind::Service => services = count,
                        Kind::EndpointSlice => slices = count,
                        _ => {}
                    }
                }
                backlog.push(change);
                if let Some(trigger) = trigger {
                    backlog.push_trigger(trigger);
                }
            }
        }
    }
}

/// Waits for a delta, and returns all changes that have arrived by then; `None` when no watch is left.
async fn batch(deltas: &mut Receiver<Delta>) -> Option<Update> {
    let mut update = Update::default();
    let mut next = deltas.recv().await?;
    loop {
        if let Delta::Changed { change, trigger, .. } = next {
            update.triggers.extend(trigger);
            update.changes.push(change);
        }
        let Ok(more) = deltas.try_recv() else { return Some(update) };
        next = more;
    }
}
