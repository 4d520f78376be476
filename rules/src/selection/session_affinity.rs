//! `sessionAffinity`: whether clients stay with their endpoint, and for how long.
//!
//! The consequences are elsewhere: the chains that remember clients in [`crate::plane`], and the endpoint ids that
//! clients are remembered with in [`crate::placement`].

use crate::model::Service;

/// Units of timeouts, in seconds. A timeout is rounded up to a multiple of the largest unit that is at most an eighth
/// of it. Common values stay as they are. Timeouts below four minutes become longer by less than five seconds, after
/// which Kubernetes' own tests expect a client to be forgotten. There are at most 136 different timeouts, up to a day.
const TIMEOUT_UNITS: [u32; 12] = [1, 2, 5, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];

/// Longest timeout that the API allows, in seconds.
const LONGEST_TIMEOUT: u32 = 86_400;

/// Seconds after a client's last connection during which it stays with its endpoint; `None` without session affinity.
///
/// The timeout is at least what the Service asks for, and at most an eighth more. There are only a few different
/// timeouts, because there is a chain for each.
pub fn timeout(service: &Service) -> Option<u32> {
    service.affinity_timeout.map(rounded)
}

fn rounded(asked: u32) -> u32 {
    let asked = asked.clamp(1, LONGEST_TIMEOUT);
    let unit = TIMEOUT_UNITS.into_iter().rev().find(|unit| unit * 8 <= asked).unwrap_or(1);
    asked.next_multiple_of(unit)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn timeouts_are_few_and_at_most_an_eighth_longer() {
        let mut steps = BTreeSet::new();
        for asked in 1..=LONGEST_TIMEOUT {
            let step = rounded(asked);
            assert!(asked <= step && step * 8 <= asked * 9, "{asked} becomes {step}");
            assert_eq!(rounded(step), step, "a step stays what it is");
            steps.insert(step);
        }
        assert_eq!(steps.len(), 136);
        assert_eq!(steps.last(), Some(&LONGEST_TIMEOUT));
    }

    #[test]
    fn short_timeouts_are_less_than_five_seconds_longer() {
        for asked in 1..240 {
            assert!(rounded(asked) - asked < 5, "{asked} becomes {}", rounded(asked));
        }
    }

    #[test]
    fn common_timeouts_stay_as_they_are() {
        let minutes = [1, 2, 3, 4, 5, 10, 15, 20, 30, 45, 60, 90].map(|minutes| minutes * 60);
        let hours = [2, 3, 4, 6, 8, 12, 16, 18, 24].map(|hours| hours * 3600);
        for asked in [1, 5, 10, 30, 45, 90].into_iter().chain(minutes).chain(hours) {
            assert_eq!(rounded(asked), asked);
        }
    }
}
