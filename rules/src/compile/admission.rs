//! Admission: what a Service may cost a node, and what becomes of one that asks for more.
//!
//! Whoever may create Services must not be able to stop a node. What an honest Service has is far below these
//! bounds. Beyond them it is served as well as fits (a smaller hash table, coarser weights, a longer timeout), and
//! what still does not fit is left out, the same on every node; one warning names the field.
//!
//! Everything here is a pure function of the Service and the numbers of its endpoints.

/// Timeouts of session affinity are multiples of the largest of these that is at most an eighth of them, in seconds:
/// times as people set them stay as they are. So there are 116 different ones at most, up to a day.
const TIMEOUT_UNITS: [u32; 14] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];

/// Longest timeout of session affinity that the API allows, in seconds.
const LONGEST_TIMEOUT: u32 = 86_400;

/// The timeout of session affinity for one that is asked for, in seconds: at least as long, and at most an eighth
/// longer. Each is a chain of its own, so there are few.
pub fn affinity_timeout(asked: u32) -> u32 {
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
            let step = affinity_timeout(asked);
            assert!(asked <= step && step * 8 <= asked * 9, "{asked} becomes {step}");
            assert_eq!(affinity_timeout(step), step, "a step stays what it is");
            steps.insert(step);
        }
        assert_eq!(steps.len(), 116);
        assert_eq!(steps.last(), Some(&LONGEST_TIMEOUT));
    }

    #[test]
    fn timeouts_as_people_set_them_stay_as_they_are() {
        let minutes = [1, 2, 3, 4, 5, 10, 15, 20, 30, 45, 60, 90].map(|minutes| minutes * 60);
        let hours = [2, 3, 4, 6, 8, 12, 16, 18, 24].map(|hours| hours * 3600);
        for asked in [1, 5, 10, 30, 45, 90].into_iter().chain(minutes).chain(hours) {
            assert_eq!(affinity_timeout(asked), asked);
        }
    }
}
