//! From what the watches tell to what the agent is sent: first everything at once, then whatever arrived.

use std::{collections::BTreeSet, sync::mpsc::Sender, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

use crate::{
    agent::Event,
    api::Kind,
    source::{Change, Update},
};

/// What a watch tells.
#[derive(Debug)]
pub(super) struct Told {
    /// Of which kind.
    pub kind: Kind,
    /// Number of objects, if all of them were listed.
    pub listed: Option<usize>,
    /// What changed.
    pub change: Change,
    /// When the change began.
    pub trigger: Option<Timestamp>,
}

/// Without these nothing is sent.
const NEEDED: [Kind; 2] = [Kind::Service, Kind::EndpointSlice];

/// These are waited for, but not for ever.
const WELCOME: [Kind; 2] = [Kind::Node, Kind::ServiceCidr];

/// Sends the agent what the watches tell, until the agent is gone or no watch is left.
pub(super) async fn deliver(mut inbox: Receiver<Told>, events: Sender<Event>, patience: Duration) {
    let Some(first) = gather(&mut inbox, patience).await else { return };
    let mut next = Some(first);
    while let Some(update) = next {
        if events.send(Event::Cluster(update)).is_err() {
            return;
        }
        next = batch(&mut inbox).await;
    }
}

/// Everything, once all kinds are listed.
async fn gather(inbox: &mut Receiver<Told>, patience: Duration) -> Option<Update> {
    let began = Instant::now();
    let mut update = Update::default();
    let mut listed = BTreeSet::new();
    let (mut services, mut slices) = (0, 0);
    let mut deadline = None;
    loop {
        let is_listed = |kind: &Kind| listed.contains(kind);
        if NEEDED.iter().all(is_listed) {
            let missing: Vec<&str> =
                WELCOME.iter().filter(|kind| !is_listed(kind)).map(|kind| kind.name()).collect();
            let until = *deadline.get_or_insert_with(|| Instant::now() + patience);
            if missing.is_empty() || Instant::now() >= until {
                if !missing.is_empty() {
                    warn!("Starting without {}, which the API server does not tell", missing.join(", "));
                }
                info!(services, endpoint_slices = slices, elapsed = ?began.elapsed(), "Cluster listed");
                return Some(update);
            }
        }
        let next = match deadline {
            None => inbox.recv().await,
            Some(until) => match timeout_at(until, inbox.recv()).await {
                Ok(next) => next,
                Err(_) => continue,
            },
        };
        let told = next?;
        if let Some(count) = told.listed {
            listed.insert(told.kind);
            match told.kind {
                Kind::Service => services = count,
                Kind::EndpointSlice => slices = count,
                _ => {}
            }
            // What was told before the list is in the list.
            update.changes.retain(|change| kind(change) != told.kind);
        }
        take(&mut update, told);
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
    update.triggers.extend(told.trigger);
    update.changes.push(told.change);
}

const fn kind(change: &Change) -> Kind {
    match change {
        Change::Service(..) | Change::Services(_) => Kind::Service,
        Change::Slice(..) | Change::Slices(_) => Kind::EndpointSlice,
        Change::Node(_) => Kind::Node,
        Change::ServiceCidrs(_) => Kind::ServiceCidr,
    }
}
