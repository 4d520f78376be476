//! What is wrong with the API server: said when it begins and when it ends, not for every attempt and every kind.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::failure::Failure;
use crate::api::Kind;

/// What is wrong at present, of all kinds together.
#[derive(Debug)]
pub(super) struct Outages {
    /// By kind: what it suffers from, and since when.
    current: Mutex<BTreeMap<Kind, (Trouble, Instant)>>,
    /// Something that may help, as long as the server was never reached.
    hint: Mutex<Option<&'static str>>,
    ended: Notify,
}

/// Troubles that are one and the same for whoever reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// No connection, or no answer.
    Unreachable,
    /// A refusal that concerns all kinds, such as 401 or 503.
    Refused(u16),
    /// A refusal of this kind, such as 403: permissions are by kind.
    RefusedKind(u16, Kind),
    /// An answer that makes no sense.
    Garbled,
}

impl Trouble {
    const fn new(kind: Kind, failure: &Failure) -> Self {
        match failure {
            Failure::Transport(_) | Failure::Silent(_) => Self::Unreachable,
            Failure::Status { code: code @ (401 | 429 | 500..), .. } => Self::Refused(*code),
            Failure::Status { code, .. } => Self::RefusedKind(*code, kind),
            Failure::Garbled(_) => Self::Garbled,
        }
    }
}

impl Outages {
    /// No outage; the hint is given as long as the server was never reached.
    pub fn new(hint: Option<&'static str>) -> Self {
        Self { current: Mutex::default(), hint: Mutex::new(hint), ended: Notify::new() }
    }

    fn current(&self) -> MutexGuard<'_, BTreeMap<Kind, (Trouble, Instant)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request for objects of this kind failed.
    pub fn failed(&self, kind: Kind, failure: &Failure) {
        let trouble = Trouble::new(kind, failure);
        let mut current = self.current();
        let is_known = current.values().any(|(other, _)| *other == trouble);
        let before = current.get(&kind).copied();
        let since = before.map_or_else(Instant::now, |(_, since)| since);
        current.insert(kind, (trouble, since));
        if trouble != Trouble::Unreachable && before.is_some_and(|(before, _)| before == Trouble::Unreachable)
        {
            self.ended.notify_waiters();
        }
        if is_known {
            debug!(%kind, "Still: {failure}");
            return;
        }
        if trouble == Trouble::Unreachable {
            let hint = *self.hint.lock().unwrap_or_else(PoisonError::into_inner);
            warn!("API server cannot be reached; trying again: {failure}{}", hint.unwrap_or_default());
        } else {
            warn!("{kind}s cannot be read; trying again: {failure}");
        }
    }

    /// The server answered a request for objects of this kind, if not with objects: whoever waits for it to be
    /// back need not wait any longer.
    pub fn answered(&self, kind: Kind) {
        if self.current().get(&kind).is_some_and(|(trouble, _)| *trouble == Trouble::Unreachable) {
            self.ended.notify_waiters();
        }
    }

    /// Objects of this kind are read again.
    pub fn recovered(&self, kind: Kind) {
        *self.hint.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut current = self.current();
        let before = current.remove(&kind);
        if current.values().any(|(other, _)| *other == Trouble::Unreachable) {
            // Whoever still waits for the server to be back need not wait any longer.
            self.ended.notify_waiters();
        }
        let Some((trouble, since)) = before else { return };
        if current.values().any(|(other, _)| *other == trouble) {
            return;
        }
        let after = since.elapsed();
        if trouble == Trouble::Unreachable {
            info!("API server can be reached again after {after:.1?}");
        } else {
            info!("{kind}s can be read again after {after:.1?}");
        }
    }

    /// Waits until some kind is read again that was not, or the server at least answers.
    pub async fn ended(&self) {
        self.ended.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_the_server_is_woken_by_whoever_reads_it() {
        let outages = Outages::new(None);
        outages.failed(Kind::EndpointSlice, &Failure::Transport("connection refused".into()));
        let waiting = outages.ended();
        let woken = async {
            // Services were never said to be in trouble: the first break of a good watch is not.
            outages.recovered(Kind::Service);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = waiting => {}
            () = woken => {}
            _ = timeout(Duration::from_secs(30), std::future::pending::<()>()) => panic!("nobody was woken"),
        }
    }
}
