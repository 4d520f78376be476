//! Slots: the numbers at which endpoints are found.
//!
//! Slots are dense, 0…N−1, so that one random number finds an endpoint. Endpoints keep their slots: an endpoint that is
//! removed is replaced by the endpoint in the last slot, and a new endpoint takes the next slot.

use std::net::SocketAddr;

use super::placed::{Placed, SlotChange};

/// Assigns `wanted` (sorted; an endpoint may hold several slots) to slots, changing as few of the
/// `prior` ones as possible. A prior slot may be unknown.
pub fn assign(prior: &[Option<SocketAddr>], wanted: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if prior.is_empty() {
        return wanted;
    }
    // By endpoint, the lowest slot first: both lists are then walked once, side by side. Most slots are in this
    // order already, which sorting makes use of.
    let mut known: Vec<(SocketAddr, usize)> = prior
        .iter()
        .take(wanted.len())
        .enumerate()
        .filter_map(|(slot, endpoint)| Some(((*endpoint)?, slot)))
        .collect();
    known.sort();
    let mut known = known.into_iter().peekable();
    let mut slots: Vec<Option<SocketAddr>> = vec![None; wanted.len()];
    let mut homeless = Vec::new();
    for endpoint in wanted {
        while known.next_if(|(other, _)| *other < endpoint).is_some() {}
        let place = known.next_if(|(other, _)| *other == endpoint);
        match place.and_then(|(_, slot)| slots.get_mut(slot)) {
            Some(slot) => *slot = Some(endpoint),
            None => homeless.push(endpoint),
        }
    }
    // In the order of `wanted`, so that the same input gives the same slots.
    let mut homeless = homeless.into_iter();
    slots.into_iter().filter_map(|slot| slot.or_else(|| homeless.next())).collect()
}

/// The changes that [`assign`] would make, where each endpoint holds one slot, if the endpoints `come` (sorted) are
/// added and the endpoints `go` are removed. `None` if an endpoint to be removed is not there.
pub fn changes(slots: &Placed, come: &[SocketAddr], go: &[SocketAddr]) -> Option<Vec<SlotChange>> {
    let mut free: Vec<usize> = go.iter().map(|endpoint| slots.find(*endpoint)).collect::<Option<_>>()?;
    free.sort_unstable();
    let count = slots.len() + come.len() - go.len();
    let beyond: Vec<SocketAddr> = (count..slots.len()).filter_map(|slot| slots.get(slot)).collect();
    let mut homeless: Vec<SocketAddr> =
        beyond.iter().filter(|e| !go.contains(e)).chain(come).copied().collect();
    homeless.sort_unstable();
    free.retain(|slot| *slot < count);
    free.extend(slots.len()..count);
    let filled = free.into_iter().zip(homeless);
    let filled = filled.map(|(slot, endpoint)| (slot, slots.get(slot), Some(endpoint)));
    let emptied = (count..).zip(beyond).map(|(slot, endpoint)| (slot, Some(endpoint), None));
    Some(filled.chain(emptied).collect())
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::subsequence};

    use super::*;
    use crate::ruleset::Family;

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

        #[test]
        fn where_each_holds_one_slot_what_comes_and_goes_is_enough_to_know(
            prior in subsequence((0u8..12).collect::<Vec<_>>(), 1..12).prop_shuffle(),
            wanted in subsequence((0u8..12).collect::<Vec<_>>(), 0..12),
        ) {
            let without = |list: &[u8], others: &[u8]| -> Vec<SocketAddr> {
                list.iter().filter(|n| !others.contains(n)).copied().map(endpoint).collect()
            };
            let mut placed = Placed::new(Family::Ip, &endpoints(&prior));
            let changes = changes(&placed, &without(&wanted, &prior), &without(&prior, &wanted));
            placed.apply(&changes.unwrap());
            prop_assert_eq!(placed.iter().collect::<Vec<_>>(), assign(&known(&prior), endpoints(&wanted)));
        }

        #[test]
        fn what_is_not_there_cannot_go(prior in vec(0u8..12, 0..12)) {
            let placed = Placed::new(Family::Ip, &endpoints(&prior));
            prop_assert_eq!(changes(&placed, &endpoints(&[1]), &endpoints(&[12])), None);
        }
    }
}
