//! Outages of the API server, for all kinds of objects together. Each outage is logged when it begins and when it ends,
//! not for every attempt and kind. The first answer after an outage wakes the other kinds. If one kind finds that the
//! server's history was replaced, all kinds are alerted.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

use super::error::{Reason, RequestError};
use crate::api::Kind;

/// The present outages.
#[derive(Debug)]
pub(super) struct Outages {
    current: Mutex<BTreeMap<Kind, Reason>>,
    /// A likely cause, until the server is reached for the first time.
    hint: Mutex<Option<&'static str>>,
    answered: Notify,
    /// How often history was found to have been replaced.
    replaced: watch::Sender<u32>,
}

/// Alerts by other kinds that the server's history was replaced.
#[derive(Debug)]
pub(super) struct Alerts(watch::Receiver<u32>);

impl Alerts {
    /// Waits until another kind finds that history was replaced. Cancel safe.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // All other kinds are gone: the process ends.
            std::future::pending::<()>().await;
        }
    }

    /// Ignores all alerts until now.
    pub fn skip(&mut self) {
        self.0.mark_unchanged();
    }
}

/// Whether a reason concerns all kinds alike. Permissions, for example, are per kind.
const fn is_common(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Unreachable | Reason::Gateway { .. } | Reason::Unavailable { .. } | Reason::Unauthorized
    )
}

impl Outages {
    /// Creates a value without outages. The hint is logged as long as the server has never been reached.
    pub fn new(hint: Option<&'static str>) -> Self {
        Self {
            current: Mutex::default(),
            hint: Mutex::new(hint),
            answered: Notify::new(),
            replaced: watch::Sender::new(0),
        }
    }

    fn current(&self) -> MutexGuard<'_, BTreeMap<Kind, Reason>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that objects of this kind cannot be read. If the kind is not needed, the proxy works without it.
    pub fn failed(&self, kind: Kind, error: &RequestError, is_needed: bool) {
        let reason = match &error.reason {
            Reason::Silent => Reason::Unreachable,
            reason => reason.clone(),
        };
        let mut current = self.current();
        let is_known =
            current.iter().any(|(other, known)| *known == reason && (*other == kind || is_common(&reason)));
        let is_unreachable = reason == Reason::Unreachable;
        current.insert(kind, reason);
        if is_known {
            debug!(%kind, %error, "Objects still cannot be read");
        } else if is_unreachable {
            let hint = *self.hint.lock().unwrap_or_else(PoisonError::into_inner);
            warn!(%error, hint, "API server cannot be reached; retrying");
        } else if is_needed {
            warn!(%kind, %error, "Objects cannot be read; retrying");
        } else {
            info!(%kind, %error, "Objects cannot be read; continuing without them");
        }
    }

    /// Notes that objects of this kind can be read again, after an outage of this length.
    pub fn recovered(&self, kind: Kind, after: Duration) {
        let mut current = self.current();
        let Some(reason) = current.remove(&kind) else { return };
        if is_common(&reason) && current.values().any(|other| *other == reason) {
            return;
        }
        let after = format_args!("{after:.1?}");
        if reason == Reason::Unreachable {
            info!(%after, "API server can be reached again");
        } else {
            info!(%kind, %after, "Objects can be read again");
        }
    }

    /// Notes that the server has served a request.
    pub fn reached(&self) {
        *self.hint.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Wakes the reflectors that back off, since the server has answered a request after an outage.
    pub fn wake(&self) {
        self.answered.notify_waiters();
    }

    /// Alerts all kinds that the server's history was replaced, so that they list again.
    pub fn alert(&self) {
        self.replaced.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The alerts by other kinds from now on.
    pub fn alerts(&self) -> Alerts {
        Alerts(self.replaced.subscribe())
    }

    /// Waits until the server answers a request for another kind.
    pub async fn answered(&self) {
        self.answered.notified().await;
    }
}
