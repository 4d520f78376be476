//! Random delays: nodes that lost the same API server, or failed at the same change, must not all try again at once.

use std::time::Duration;

/// Between half of a duration and all of it, as a number between 0 and 1 says.
pub(crate) fn jitter(duration: Duration, random: f64) -> Duration {
    duration / 2 + (duration / 2).mul_f64(random)
}
