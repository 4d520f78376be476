//! The back-off of repairs: changes by other processes are undone at once, unless they continue.

use std::time::{Duration, Instant};

/// This many repairs in a row are made without a wait.
const AT_ONCE: u32 = 5;
/// The next repair waits this long after the one before; each further wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The wait grows to this many times the cost of a repair, within the two limits below: the cost decides whether broken
/// rules or a busy node is worse.
const SHARE: u32 = 20;
/// Lower limit of the longest wait.
const LEAST_MAX_WAIT: Duration = Duration::from_secs(1);
/// Upper limit of the longest wait.
const MOST_MAX_WAIT: Duration = Duration::from_mins(1);
/// The back-off ends when no repair was made for this long after the wait.
const QUIET: Duration = Duration::from_secs(10);

/// Counts repairs that follow each other closely.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    /// Repairs since the last quiet time.
    repairs: u32,
    last: Option<Instant>,
    /// How long the last repair took.
    cost: Duration,
}

impl BackOff {
    /// Notes a repair and how long it took. Repairs that came with a change of a Service are not noted: they must not
    /// delay the next repair.
    pub(super) fn repaired(&mut self, now: Instant, cost: Duration) {
        self.end_if_quiet(now);
        self.repairs = self.repairs.saturating_add(1);
        self.last = Some(now);
        self.cost = cost;
    }

    /// How long to wait before the next repair.
    pub(super) fn delay(&mut self, now: Instant) -> Duration {
        self.end_if_quiet(now);
        self.last.map_or(Duration::ZERO, |last| (last + self.wait()).saturating_duration_since(now))
    }

    /// The wait between the last repair and the next.
    fn wait(&self) -> Duration {
        match self.repairs.checked_sub(AT_ONCE) {
            None => Duration::ZERO,
            Some(further) => {
                let most = self.cost.saturating_mul(SHARE).clamp(LEAST_MAX_WAIT, MOST_MAX_WAIT);
                FIRST_WAIT.saturating_mul(1 << further.min(16)).min(most)
            }
        }
    }

    /// Whether the next repair would be the first that waits.
    pub(super) fn begins(&self) -> bool {
        self.repairs == AT_ONCE
    }

    fn end_if_quiet(&mut self, now: Instant) {
        let quiet = QUIET + self.wait();
        if self.last.is_some_and(|last| now.duration_since(last) > quiet) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The waits if each repair is undone as soon as it is made.
    fn waits(back_off: &mut BackOff, now: &mut Instant, cost: Duration) -> Vec<u128> {
        let mut waits = Vec::new();
        for _ in 0..16 {
            let delay = back_off.delay(*now);
            waits.push(delay.as_millis());
            *now += delay;
            back_off.repaired(*now, cost);
        }
        waits
    }

    #[test]
    fn repairs_are_made_at_once_until_changes_go_on() {
        let (mut back_off, mut now) = (BackOff::default(), Instant::now());
        let waits = waits(&mut back_off, &mut now, Duration::from_secs(10));
        assert_eq!(waits[..8], [0, 0, 0, 0, 0, 200, 400, 800]);
        assert_eq!(waits.last(), Some(&60_000));
        assert_eq!(back_off.delay(now + Duration::from_secs(30)), Duration::from_secs(30));
        assert_eq!(back_off.delay(now + Duration::from_secs(71)), Duration::ZERO, "the changes have ended");
    }

    #[test]
    fn repairs_that_cost_little_wait_little() {
        let (mut back_off, mut now) = (BackOff::default(), Instant::now());
        assert_eq!(waits(&mut back_off, &mut now, Duration::from_millis(20)).last(), Some(&1_000));
        let (mut back_off, mut now) = (BackOff::default(), Instant::now());
        assert_eq!(waits(&mut back_off, &mut now, Duration::from_millis(300)).last(), Some(&6_000));
    }

    #[test]
    fn changes_farther_apart_than_repairs_need_are_undone_at_once() {
        let (mut back_off, mut now) = (BackOff::default(), Instant::now());
        for _ in 0..100 {
            assert_eq!(back_off.delay(now), Duration::ZERO);
            back_off.repaired(now, Duration::from_millis(20));
            now += Duration::from_secs(9);
        }
    }
}
