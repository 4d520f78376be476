//! From what the watches tell to what the agent is sent: first everything at once, then whatever arrived.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, timeout_at},
};
use tracing::{error, info, warn};

use super::Options;
use crate::{
    api::Kind,
    source::{Backlog, Change, Event, Inbox, Update},
};

/// What a watch tells.
#[derive(Debug)]
pub(super) struct Told {
    /// Of which kind.
    pub kind: Kind,
    /// What of it.
    pub what: What,
}

/// What a watch tells of its kind.
#[derive(Debug)]
pub(super) enum What {
    /// Something changed.
    Change {
        /// Number of objects, if all of them were listed.
        listed: Option<usize>,
        /// What changed.
        change: Change,
        /// When the change began.
        trigger: Option<Timestamp>,
    },
    /// The server does not show it, at least not now.
    Refused,
}

/// Without these nothing is sent.
const NEEDED: [Kind; 2] = [Kind::Service, Kind::EndpointSlice];

/// These are waited for, but not for ever.
const WELCOME: [Kind; 2] = [Kind::Node, Kind::ServiceCidr];

/// Sends the agent what the watches tell, until the agent is gone or no watch is left.
pub(super) async fn deliver(mut inbox: Receiver<Told>, events: impl Inbox, options: &Options) {
    let Ok(mut next) = gather(&mut inbox, options).await else {
        error!(
            node = &*options.node_name,
            "The Node does not say which networks its pods have (spec.podCIDRs), as --detect-local-mode NodeCIDR \
             needs; giving up after {:?}. The rules stay as they are",
            options.timing.pod_networks
        );
        // Nobody listens if the agent is stopping anyway.
        let _ = events.report(Event::Failed);
        return;
    };
    while let Some(update) = next {
        if !update.changes.is_empty() && events.report(Event::Cluster(update)).is_err() {
            return;
        }
        next = batch(&mut inbox).await;
    }
}

/// The Node has not said which networks its pods have.
struct NoPodNetworks;

/// Everything, once all kinds are listed, and the Node says what is needed of it; nothing when no watch is left.
async fn gather(inbox: &mut Receiver<Told>, options: &Options) -> Result<Option<Update>, NoPodNetworks> {
    let timing = options.timing;
    let began = Instant::now();
    let mut backlog = Backlog::default();
    let mut listed = BTreeSet::new();
    let (mut services, mut slices) = (0, 0);
    let (mut needed_at, mut is_said, mut refused) = (None, false, BTreeSet::new());
    loop {
        let is_listed = |kind: &Kind| listed.contains(kind);
        let mut wake = None;
        if NEEDED.iter().all(is_listed) {
            let missing: Vec<&str> =
                WELCOME.iter().filter(|kind| !is_listed(kind)).map(|kind| kind.name()).collect();
            let waits_for_node = !is_listed(&Kind::Node) && !refused.contains(&Kind::Node);
            let patience = if waits_for_node { timing.node } else { timing.patience };
            let needed_at = *needed_at.get_or_insert_with(Instant::now);
            let until = needed_at + patience;
            if !missing.is_empty() && Instant::now() < until {
                wake = Some(until);
            } else if options.needs_pod_networks
                && backlog.node().is_none_or(|node| node.pod_cidrs.is_empty())
            {
                // Without them nobody could be told from pods; the rules of an earlier run may know better.
                let until = needed_at + timing.pod_networks;
                if Instant::now() >= until {
                    return Err(NoPodNetworks);
                }
                if !std::mem::replace(&mut is_said, true) {
                    let node = &*options.node_name;
                    warn!(node, "Waiting for the Node to say which networks its pods have (spec.podCIDRs)");
                }
                wake = Some(until);
            } else {
                if !missing.is_empty() {
                    warn!("Starting without {}, which the API server does not tell", missing.join(", "));
                }
                info!(services, endpoint_slices = slices, elapsed = ?began.elapsed(), "Cluster listed");
                return Ok(Some(backlog.take()));
            }
        }
        let next = match wake {
            None => inbox.recv().await,
            Some(until) => match timeout_at(until, inbox.recv()).await {
                Ok(next) => next,
                Err(_) => continue,
            },
        };
        let Some(told) = next else { return Ok(None) };
        match told.what {
            What::Refused => _ = refused.insert(told.kind),
            What::Change { listed: count, change, trigger } => {
                if let Some(count) = count {
                    listed.insert(told.kind);
                    match told.kind {
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

/// What arrived, as soon as anything has; nothing when no watch is left.
async fn batch(inbox: &mut Receiver<Told>) -> Option<Update> {
    let mut update = Update::default();
    take(&mut update, inbox.recv().await?);
    while let Ok(told) = inbox.try_recv() {
        take(&mut update, told);
    }
    Some(update)
}

fn take(update: &mut Update, told: Told) {
    if let What::Change { change, trigger, .. } = told.what {
        update.triggers.extend(trigger);
        update.changes.push(change);
    }
}
