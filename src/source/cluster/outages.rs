//! What is wrong with the API server, of all kinds of objects together: logged when it begins and when it ends, not for
//! every attempt and every kind; and the signal that the server has answered.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::failure::{Failure, Why};
use crate::api::Kind;

/// What is wrong at present.
#[derive(Debug)]
pub(super) struct Outages {
    current: Mutex<BTreeMap<Kind, Why>>,
    /// Something that may help, as long as the server was never reached.
    hint: Mutex<Option<&'static str>>,
    answered: Notify,
}

/// Whether it concerns all kinds alike: permissions, for one, are by kind.
const fn is_common(why: &Why) -> bool {
    matches!(why, Why::Unreachable | Why::Gateway { .. } | Why::Unavailable { .. } | Why::Unauthorized)
}

impl Outages {
    /// No outage; the hint is given as long as the server was never reached.
    pub fn new(hint: Option<&'static str>) -> Self {
        Self { current: Mutex::default(), hint: Mutex::new(hint), answered: Notify::new() }
    }

    fn current(&self) -> MutexGuard<'_, BTreeMap<Kind, Why>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Objects of this kind cannot be read; without some kinds the proxy goes on.
    pub fn failed(&self, kind: Kind, failure: &Failure, is_needed: bool) {
        let why = match &failure.why {
            Why::Silent => Why::Unreachable,
            why => why.clone(),
        };
        let mut current = self.current();
        let is_known =
            current.iter().any(|(other, known)| *known == why && (*other == kind || is_common(&why)));
        let is_unreachable = why == Why::Unreachable;
        current.insert(kind, why);
        if is_known {
            debug!(%kind, "Still: {failure}");
        } else if is_unreachable {
            let hint = *self.hint.lock().unwrap_or_else(PoisonError::into_inner);
            warn!("API server cannot be reached; trying again: {failure}{}", hint.unwrap_or_default());
        } else if is_needed {
            warn!("{kind}s cannot be read; trying again: {failure}");
        } else {
            info!("{kind}s cannot be read; going on without: {failure}");
        }
    }

    /// Objects of this kind can be read again, after so long.
    pub fn recovered(&self, kind: Kind, after: Duration) {
        let mut current = self.current();
        let Some(why) = current.remove(&kind) else { return };
        if is_common(&why) && current.values().any(|other| *other == why) {
            return;
        }
        if why == Why::Unreachable {
            info!("API server can be reached again after {after:.1?}");
        } else {
            info!("{kind}s can be read again after {after:.1?}");
        }
    }

    /// The server has served a request.
    pub fn reached(&self) {
        *self.hint.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The server has answered a request, after an outage: whoever waits for it need not wait any longer.
    pub fn wake(&self) {
        self.answered.notify_waiters();
    }

    /// Waits until the server answers a request for another kind.
    pub async fn answered(&self) {
        self.answered.notified().await;
    }
}
