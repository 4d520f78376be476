//! A clock that keeps running while the machine is suspended, unlike [`std::time::Instant`]: data that was fresh before
//! a suspension is stale after it.

use std::{ops::Add, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// A moment (`CLOCK_BOOTTIME` of `clock_gettime(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The current moment.
    pub fn now() -> Self {
        // Counts from the start of the machine, so it is never negative.
        Self(clock_gettime(ClockId::Boottime).try_into().unwrap_or_default())
    }

    /// The time since an earlier moment; zero if `earlier` is in fact later.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/proc/uptime` also includes the time of suspension.
    #[test]
    fn the_clock_is_that_of_the_machine_s_uptime() {
        let uptime = || {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            Duration::from_secs_f64(text.split_whitespace().next().unwrap().parse().unwrap())
        };
        let (before, now, after) = (uptime(), Moment::now(), uptime());
        // The file has hundredths of seconds.
        assert!(
            before <= now.0 && now.0 <= after + Duration::from_millis(10),
            "{before:?} {now:?} {after:?}"
        );
        assert_eq!((now + Duration::from_secs(7)).saturating_duration_since(now), Duration::from_secs(7));
        assert_eq!(now.saturating_duration_since(now + Duration::from_secs(7)), Duration::ZERO);
    }
}
