//! How long to wait after a failure.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use super::timing::Timing;

/// Waits that double, each between half of its step and all of it: a thousand nodes that lost the same API server
/// must not come back at once.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    last: Duration,
    failures: u32,
    pardoned: bool,
}

impl Backoff {
    pub fn new(timing: &Timing) -> Self {
        Self { first: timing.first_retry, last: timing.last_retry, failures: 0, pardoned: false }
    }

    /// Number of failures since the last reset.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The next failure is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
        self.pardoned = false;
    }

    /// Whether a failure that something can be done about needs no wait. Only one does, until the next reset: a server
    /// that never gets better must not be asked without a pause.
    pub fn may_pardon(&self) -> bool {
        !self.pardoned
    }

    /// The same, of this failure.
    pub fn pardon(&mut self) -> bool {
        !std::mem::replace(&mut self.pardoned, true)
    }

    /// The next failure may be pardoned, too.
    pub fn allow_pardon(&mut self) {
        self.pardoned = false;
    }

    /// Counts a failure; how long to wait before the next attempt.
    pub fn next(&mut self) -> Duration {
        let step = self.first.saturating_mul(1 << self.failures.min(16)).min(self.last);
        self.failures = self.failures.saturating_add(1);
        jitter(step)
    }
}

/// Between half of a duration and all of it.
pub(super) fn jitter(step: Duration) -> Duration {
    // std's only source of randomness: each state hashes with keys of its own.
    let random = RandomState::new().hash_one(0_u8);
    step / 2 + (step / 2).mul_f64(f64::from(random as u32) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_last_and_begin_anew() {
        let mut backoff = Backoff::new(&Timing::default());
        for step in [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0].map(Duration::from_secs_f64) {
            let wait = backoff.next();
            assert!(step / 2 <= wait && wait <= step, "{wait:?} for {step:?}");
        }
        for _ in 0..100 {
            backoff.next();
        }
        assert!(backoff.next() <= Duration::from_secs(30));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(800));
    }

    #[test]
    fn no_two_nodes_wait_alike() {
        let waits: std::collections::BTreeSet<Duration> =
            (0..32).map(|_| jitter(Duration::from_secs(10))).collect();
        assert!(waits.len() > 16, "{waits:?}");
    }
}
