//! How fast to undo what others change: at once, unless they keep at it.

use std::time::{Duration, Instant};

/// So many repairs in a row are made at once.
const AT_ONCE: u32 = 5;
/// The next is made this long after the one before, and each further one after twice as long.
const FIRST_SPACE: Duration = Duration::from_millis(200);
/// Until repairs take this part of the time: what is worse, nobody being served or the node being busy with it,
/// depends on what a repair costs.
const SHARE: u32 = 20;
/// But the space between them grows to this at least,
const LEAST_SPACE: Duration = Duration::from_secs(1);
/// and to this at most.
const MOST_SPACE: Duration = Duration::from_mins(1);
/// Who has left our tables alone for this long, beyond the space, has given up.
const PEACE: Duration = Duration::from_secs(10);

/// Counts repairs that follow each other closely.
#[derive(Debug, Default)]
pub(super) struct Fight {
    /// Repairs since it was quiet.
    rounds: u32,
    last: Option<Instant>,
    /// What the last one took.
    cost: Duration,
}

impl Fight {
    /// Notes a repair that was made for its own sake, and what it took. One that was made because a Service changed
    /// must not hold up the next.
    pub(super) fn repaired(&mut self, now: Instant, cost: Duration) {
        self.calm(now);
        self.rounds = self.rounds.saturating_add(1);
        self.last = Some(now);
        self.cost = cost;
    }

    /// How long to wait before the next repair.
    pub(super) fn delay(&mut self, now: Instant) -> Duration {
        self.calm(now);
        self.last.map_or(Duration::ZERO, |last| (last + self.space()).saturating_duration_since(now))
    }

    /// The least time between the last repair and the next.
    fn space(&self) -> Duration {
        match self.rounds.checked_sub(AT_ONCE) {
            None => Duration::ZERO,
            Some(further) => {
                let most = self.cost.saturating_mul(SHARE).clamp(LEAST_SPACE, MOST_SPACE);
                FIRST_SPACE.saturating_mul(1 << further.min(16)).min(most)
            }
        }
    }

    /// Whether the next repair would be the first that waits.
    pub(super) fn begins(&self) -> bool {
        self.rounds == AT_ONCE
    }

    fn calm(&mut self, now: Instant) {
        let quiet = PEACE + self.space();
        if self.last.is_some_and(|last| now.duration_since(last) > quiet) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The waits of somebody who undoes a repair as soon as it is made.
    fn waits(fight: &mut Fight, now: &mut Instant, cost: Duration) -> Vec<u128> {
        let mut waits = Vec::new();
        for _ in 0..16 {
            let delay = fight.delay(*now);
            waits.push(delay.as_millis());
            *now += delay;
            fight.repaired(*now, cost);
        }
        waits
    }

    #[test]
    fn repairs_are_made_at_once_until_somebody_keeps_at_it() {
        let (mut fight, mut now) = (Fight::default(), Instant::now());
        let waits = waits(&mut fight, &mut now, Duration::from_secs(10));
        assert_eq!(waits[..8], [0, 0, 0, 0, 0, 200, 400, 800]);
        assert_eq!(waits.last(), Some(&60_000));
        assert_eq!(fight.delay(now + Duration::from_secs(30)), Duration::from_secs(30));
        assert_eq!(fight.delay(now + Duration::from_secs(71)), Duration::ZERO, "they have given up");
    }

    #[test]
    fn repairs_that_cost_little_wait_little() {
        let (mut fight, mut now) = (Fight::default(), Instant::now());
        assert_eq!(waits(&mut fight, &mut now, Duration::from_millis(20)).last(), Some(&1_000));
        let (mut fight, mut now) = (Fight::default(), Instant::now());
        assert_eq!(waits(&mut fight, &mut now, Duration::from_millis(300)).last(), Some(&6_000));
    }

    #[test]
    fn changes_farther_apart_than_repairs_need_are_undone_at_once() {
        let (mut fight, mut now) = (Fight::default(), Instant::now());
        for _ in 0..100 {
            assert_eq!(fight.delay(now), Duration::ZERO);
            fight.repaired(now, Duration::from_millis(20));
            now += Duration::from_secs(9);
        }
    }
}
