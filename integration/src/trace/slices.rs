//! The slices of one Service, as their controller packs them.

use std::collections::BTreeMap;

use super::cluster::{Condition, Pod};

/// Most endpoints in one slice (`--max-endpoints-per-slice`).
const MOST: usize = 100;

/// The pods that a slice lists, by number.
pub type Listed = BTreeMap<u32, (Pod, Condition)>;

/// The slices of one Service, by number.
#[derive(Debug, Clone, Default)]
pub struct Slices {
    slices: BTreeMap<u32, Listed>,
    /// The number of the next slice.
    next: u32,
}

impl Slices {
    /// The slices and their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Listed)> {
        self.slices.iter().map(|(number, listed)| (*number, listed))
    }

    /// Makes the slices list these pods. Removed and changed pods are written where they are. New pods go into slices
    /// that are written anyway, then into the fullest with room, then into new ones. Returns the slices that are
    /// written; `None` for a slice that is deleted because it lists no pods any more and is not the only one.
    pub fn sync(&mut self, pods: &Listed) -> Vec<(u32, Option<&Listed>)> {
        let mut written: BTreeMap<u32, bool> = BTreeMap::new();
        let mut new = pods.clone();
        for (number, slice) in &mut self.slices {
            let mut is_written = false;
            slice.retain(|pod, listed| {
                let is = new.remove(pod);
                is_written |= is != Some(*listed);
                is.inspect(|is| *listed = *is).is_some()
            });
            written.insert(*number, is_written);
        }
        // A Service without pods has an empty slice.
        if self.slices.is_empty() && new.is_empty() {
            self.add(&mut written);
        }
        let mut new = new.into_iter();
        while new.len() > 0 {
            let with_room = self.slices.iter().filter(|(_, slice)| slice.len() < MOST);
            let best = with_room.max_by_key(|(number, slice)| (written.get(number), slice.len()));
            let best = best.map(|(number, _)| *number);
            let best = best.unwrap_or_else(|| self.add(&mut written));
            let slice = self.slices.entry(best).or_default();
            let room = MOST - slice.len();
            slice.extend(new.by_ref().take(room));
            written.insert(best, true);
        }
        let keeps = self.slices.iter().find(|(_, slice)| !slice.is_empty()).or(self.slices.first_key_value());
        let keeps = keeps.map(|(number, _)| *number);
        self.slices.retain(|number, slice| !slice.is_empty() || Some(*number) == keeps);
        written.retain(|_, is_written| *is_written);
        written.into_keys().map(|number| (number, self.slices.get(&number))).collect()
    }

    fn add(&mut self, written: &mut BTreeMap<u32, bool>) -> u32 {
        let number = self.next;
        self.next += 1;
        self.slices.insert(number, Listed::new());
        written.insert(number, true);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(numbers: impl IntoIterator<Item = u32>) -> Listed {
        let pod = |number: u32| Pod { number, node: 0, address: number.into() };
        numbers.into_iter().map(|number| (number, (pod(number), Condition::Ready))).collect()
    }

    /// How many pods the written slices list.
    fn written(slices: &mut Slices, pods: &Listed) -> Vec<(u32, Option<usize>)> {
        slices.sync(pods).into_iter().map(|(number, listed)| (number, listed.map(Listed::len))).collect()
    }

    #[test]
    fn slices_are_filled_and_only_those_that_change_are_written() {
        let mut slices = Slices::default();
        let all = written(&mut slices, &pods(0..250));
        assert_eq!(all, [(0, Some(100)), (1, Some(100)), (2, Some(50))]);
        assert_eq!(written(&mut slices, &pods(0..250)), [], "nothing has changed");
        assert_eq!(written(&mut slices, &pods((0..250).filter(|n| *n != 120))), [(1, Some(99))]);
        let exchanged = pods((1..250).filter(|n| *n != 120).chain([300, 301]));
        let both = written(&mut slices, &exchanged);
        assert_eq!(both, [(0, Some(100)), (1, Some(100))], "what is written anyway first, then the fullest");
        let mut unready = exchanged.clone();
        unready.get_mut(&220).unwrap().1 = Condition::NotReady;
        assert_eq!(written(&mut slices, &unready), [(2, Some(50))]);
        assert_eq!(written(&mut slices, &pods(200..210)), [(0, None), (1, None), (2, Some(10))]);
    }

    #[test]
    fn a_service_without_pods_has_an_empty_slice() {
        let mut slices = Slices::default();
        assert_eq!(written(&mut slices, &pods([])), [(0, Some(0))]);
        assert_eq!(written(&mut slices, &pods([])), []);
        assert_eq!(written(&mut slices, &pods([1])), [(0, Some(1))]);
        assert_eq!(written(&mut slices, &pods([])), [(0, Some(0))]);
    }
}
