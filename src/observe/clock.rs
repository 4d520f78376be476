//! A clock that goes on while the machine is suspended, as [`std::time::Instant`] does not: data that was fresh before a
//! suspension is stale after it.

use std::{ops::Add, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// A moment (`CLOCK_BOOTTIME` of `clock_gettime(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        // Since the start of the machine, and so never negative.
        Self(clock_gettime(ClockId::Boottime).try_into().unwrap_or_default())
    }

    /// The time since an earlier moment; zero if that is a later one.
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

    /// `/proc/uptime` counts the time of suspension as well.
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
