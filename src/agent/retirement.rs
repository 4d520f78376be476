//! When to remove what nothing refers to any more: after a second, when no packet is on its way there any more. Until
//! then it is kept ([`portolan_rules::incremental::plan::Retiring`]).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The longest time between two lookups for one packet: the thread may be preempted in between.
const AFTER: Duration = Duration::from_secs(1);

/// When the things with each number may be removed, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Retirement(VecDeque<(Instant, u64)>);

impl Retirement {
    /// Notes the number of what began to retire last; `None` if nothing is retiring.
    pub(super) fn note(&mut self, now: Instant, last: Option<u64>) {
        match last {
            None => self.0.clear(),
            Some(last) if self.0.back().is_none_or(|(_, known)| *known < last) => {
                self.0.push_back((now + AFTER, last));
            }
            Some(_) => {}
        }
    }

    /// The number up to which everything may be removed now.
    pub(super) fn due(&self, now: Instant) -> Option<u64> {
        let due = self.0.partition_point(|(at, _)| *at <= now);
        self.0.get(due.checked_sub(1)?).map(|(_, number)| *number)
    }

    /// When something may be removed next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.front().map(|(at, _)| *at)
    }

    /// Notes that everything up to this number is removed.
    pub(super) fn done(&mut self, number: u64) {
        self.0.retain(|(_, other)| *other > number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_retires_is_due_a_second_later_and_in_order() {
        let mut retirement = Retirement::default();
        let start = Instant::now();
        retirement.note(start, Some(1));
        retirement.note(start + AFTER / 2, Some(1));
        retirement.note(start + AFTER / 2, Some(2));
        assert_eq!(retirement.due(start), None);
        assert_eq!(retirement.due(start + AFTER), Some(1));
        assert_eq!(retirement.due(start + 2 * AFTER), Some(2));
        retirement.done(1);
        assert_eq!(
            (retirement.due(start + AFTER), retirement.next()),
            (None, Some(start + AFTER / 2 + AFTER))
        );
        retirement.note(start, None);
        assert_eq!(retirement.next(), None);
    }
}
