//! Slots: which endpoint stands at which number.
//!
//! Slots are dense, 0…N−1, so that one random number finds an endpoint. What is already in place stays
//! there: an endpoint that goes is replaced by the one in the last slot, and one that comes takes the next.

use std::net::SocketAddr;

use foldhash::{HashMap, HashMapExt};

/// Assigns `wanted` (sorted; an endpoint may hold several slots) to slots, changing as few of the
/// `prior` ones as possible. A prior slot may be unknown.
pub fn assign(prior: &[Option<SocketAddr>], wanted: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if prior.is_empty() {
        return wanted;
    }
    let mut missing: HashMap<SocketAddr, usize> = HashMap::with_capacity(wanted.len());
    for endpoint in &wanted {
        *missing.entry(*endpoint).or_default() += 1;
    }
    let mut slots: Vec<Option<SocketAddr>> = vec![None; wanted.len()];
    for (slot, endpoint) in slots.iter_mut().zip(prior) {
        if let Some(count) = endpoint.and_then(|e| missing.get_mut(&e)).filter(|count| **count > 0) {
            *count -= 1;
            *slot = *endpoint;
        }
    }
    // In the order of `wanted`, so that the same input gives the same slots.
    let mut homeless = wanted.iter().filter(|endpoint| {
        missing.get_mut(endpoint).filter(|count| **count > 0).map(|count| *count -= 1).is_some()
    });
    slots.into_iter().filter_map(|slot| slot.or_else(|| homeless.next().copied())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn endpoint(n: u8) -> SocketAddr {
        ([10, 0, 0, n], 80).into()
    }

    fn endpoints(numbers: &[u8]) -> Vec<SocketAddr> {
        numbers.iter().copied().map(endpoint).collect()
    }

    fn known(numbers: &[u8]) -> Vec<Option<SocketAddr>> {
        numbers.iter().map(|n| Some(endpoint(*n))).collect()
    }

    #[test]
    fn the_last_slot_moves_into_a_gap() {
        assert_eq!(assign(&known(&[1, 2, 3, 4]), endpoints(&[1, 3, 4])), endpoints(&[1, 4, 3]));
    }

    #[test]
    fn a_new_endpoint_takes_the_next_slot() {
        assert_eq!(assign(&known(&[2, 3]), endpoints(&[1, 2, 3])), endpoints(&[2, 3, 1]));
    }

    #[test]
    fn a_replacement_takes_the_slot_of_the_replaced() {
        assert_eq!(assign(&known(&[1, 2, 3]), endpoints(&[1, 3, 9])), endpoints(&[1, 9, 3]));
    }

    proptest! {
        #[test]
        fn slots_hold_exactly_the_wanted_and_change_as_little_as_possible(
            prior in vec(0u8..12, 0..12),
            wanted in vec(0u8..12, 0..12),
        ) {
            let (prior, mut wanted) = (known(&prior), endpoints(&wanted));
            wanted.sort();
            let slots = assign(&prior, wanted.clone());
            let mut sorted = slots.clone();
            sorted.sort();
            prop_assert_eq!(&sorted, &wanted);
            // A slot is rewritten only if what stood there is not wanted, or not wanted so often.
            for (i, slot) in slots.iter().enumerate() {
                if let Some(Some(old)) = prior.get(i).filter(|old| **old != Some(*slot)) {
                    let kept = slots.iter().zip(&prior).filter(|(s, p)| Some(**s) == **p && *s == old).count();
                    let wanted_times = wanted.iter().filter(|w| *w == old).count();
                    prop_assert_eq!(kept, wanted_times, "slot {} was taken from {} needlessly", i, old);
                }
            }
        }
    }
}
