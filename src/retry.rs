//! How long to wait after a failure before the next attempt. Waits are random: nodes that lost the same API server, or
//! failed at the same change, must not all try again at once.

use std::time::Duration;

/// How long to wait before retrying to bind an address that is taken, as kube-proxy does.
pub(crate) const BIND_RETRY: Duration = Duration::from_secs(5);
/// The wait after the first failure, approximately. It is twice as long after every further failure.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const LAST: Duration = Duration::from_secs(30);

/// Between half of a duration and all of it, in proportion to a number between 0 and 1.
pub(crate) fn jitter(duration: Duration, random: f64) -> Duration {
    duration / 2 + (duration / 2).mul_f64(random)
}

/// The waits after failures in a row.
#[derive(Debug)]
pub(crate) struct Retry {
    first: Duration,
    last: Duration,
    waited: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self::between(FIRST, LAST)
    }
}

impl Retry {
    /// Waits that begin with about `first`, double, and end with `last`.
    pub const fn between(first: Duration, last: Duration) -> Self {
        Self { first, last, waited: Duration::ZERO }
    }

    /// The wait after one more failure: at random, between half of the back-off and all of it.
    pub fn wait(&mut self) -> Duration {
        self.waited = (self.waited * 2).clamp(self.first, self.last);
        jitter(self.waited, fastrand::f64())
    }

    /// Notes a success.
    pub const fn succeeded(&mut self) {
        self.waited = Duration::ZERO;
    }
}
