//! How fast to undo what others change: at once, unless they keep at it.

use std::time::{Duration, Instant};

/// So many repairs in a row are made at once.
const AT_ONCE: u32 = 5;
/// The next waits this long, and each further one twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// But never longer than this.
const LAST_DELAY: Duration = Duration::from_mins(1);
/// Who has left our tables alone for this long, beyond the last delay, has given up.
const PEACE: Duration = Duration::from_secs(10);

/// Counts repairs that follow each other closely.
#[derive(Debug, Default)]
pub(super) struct Fight {
    /// Repairs since it was quiet.
    rounds: u32,
    last: Option<Instant>,
}

impl Fight {
    /// Notes a repair that was made.
    pub(super) fn repaired(&mut self, now: Instant) {
        self.calm(now);
        self.rounds = self.rounds.saturating_add(1);
        self.last = Some(now);
    }

    /// How long to wait before the next repair.
    pub(super) fn delay(&mut self, now: Instant) -> Duration {
        self.calm(now);
        self.present_delay()
    }

    fn present_delay(&self) -> Duration {
        match self.rounds.checked_sub(AT_ONCE) {
            None => Duration::ZERO,
            Some(further) => FIRST_DELAY.saturating_mul(1 << further.min(16)).min(LAST_DELAY),
        }
    }

    /// Whether the next repair would be the first that waits.
    pub(super) fn begins(&self) -> bool {
        self.rounds == AT_ONCE
    }

    fn calm(&mut self, now: Instant) {
        let quiet = PEACE + self.present_delay();
        if self.last.is_some_and(|last| now.duration_since(last) > quiet) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repairs_are_made_at_once_until_somebody_keeps_at_it() {
        let (mut fight, mut now) = (Fight::default(), Instant::now());
        let mut delays = Vec::new();
        for _ in 0..16 {
            let delay = fight.delay(now);
            delays.push(delay.as_millis());
            now += delay + Duration::from_millis(1);
            fight.repaired(now);
        }
        assert_eq!(delays[..8], [0, 0, 0, 0, 0, 200, 400, 800]);
        assert_eq!(delays.last(), Some(&60_000));
        assert_eq!(fight.delay(now + Duration::from_secs(69)), LAST_DELAY);
        assert_eq!(fight.delay(now + Duration::from_secs(71)), Duration::ZERO, "they have given up");
    }

    #[test]
    fn repairs_far_apart_are_no_fight() {
        let (mut fight, mut now) = (Fight::default(), Instant::now());
        for _ in 0..100 {
            assert_eq!(fight.delay(now), Duration::ZERO);
            fight.repaired(now);
            now += Duration::from_secs(11);
        }
    }
}
