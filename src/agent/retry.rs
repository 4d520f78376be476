//! How long to wait before what failed is tried again.

use std::time::Duration;

use crate::jitter::jitter;

/// After a failure, wait about this long before the next attempt, and twice as long after every further failure,
const FIRST: Duration = Duration::from_millis(100);
/// but never longer than this.
const LAST: Duration = Duration::from_secs(30);

/// The waits after failures in a row.
#[derive(Debug, Default)]
pub struct Retry(Duration);

impl Retry {
    /// The wait after one more failure: between half of it and all of it, at random.
    pub fn wait(&mut self) -> Duration {
        self.0 = (self.0 * 2).clamp(FIRST, LAST);
        jitter(self.0, fastrand::f64())
    }

    /// Notes a success.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }
}
