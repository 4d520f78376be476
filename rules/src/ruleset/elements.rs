//! The elements of a set, by key.

use std::mem;

use super::element::{Concat, Element};

/// The elements of a set, sorted by key.
///
/// All elements are in one block of memory, so that a hundred thousand of them are allocated, walked and freed
/// quickly. Adding the greatest key is fast; adding or removing any other key moves all elements that follow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elements(Vec<(Concat, Element)>);

impl Elements {
    /// No elements.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The element of a key.
    pub fn get(&self, key: &Concat) -> Option<&Element> {
        self.get_key_value(key).map(|(_, element)| element)
    }

    /// The element of a key, with the stored key.
    pub fn get_key_value(&self, key: &Concat) -> Option<(&Concat, &Element)> {
        self.at(self.find(key).ok()?)
    }

    /// The position of a key. Looks at `likely` first.
    pub fn position(&self, key: &Concat, likely: usize) -> Option<usize> {
        match self.0.get(likely) {
            Some((other, _)) if other == key => Some(likely),
            _ => self.find(key).ok(),
        }
    }

    /// The element at a place in the order of keys.
    pub fn at(&self, place: usize) -> Option<(&Concat, &Element)> {
        self.0.get(place).map(|(key, element)| (key, element))
    }

    /// Whether a key is there.
    pub fn contains_key(&self, key: &Concat) -> bool {
        self.find(key).is_ok()
    }

    /// Adds an element. Returns the element that it replaces.
    pub fn insert(&mut self, key: Concat, element: Element) -> Option<Element> {
        if self.0.last().is_none_or(|(last, _)| *last < key) {
            self.0.push((key, element));
            return None;
        }
        match self.find(&key) {
            Ok(at) => self.0.get_mut(at).map(|(_, old)| mem::replace(old, element)),
            Err(at) => {
                self.0.insert(at, (key, element));
                None
            }
        }
    }

    /// Adds the elements whose keys are not in the set yet.
    pub fn insert_missing(&mut self, others: impl Iterator<Item = (Concat, Element)>) {
        let others: Vec<_> = others.filter(|(key, _)| !self.contains_key(key)).collect();
        self.0.extend(others);
        self.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.0.dedup_by(|(later, _), (first, _)| later == first);
    }

    /// Removes and returns the element of a key.
    pub fn remove(&mut self, key: &Concat) -> Option<Element> {
        self.find(key).ok().map(|at| self.0.remove(at).1)
    }

    /// Removes the elements for which `keep` returns false.
    pub fn retain(&mut self, mut keep: impl FnMut(&Concat, &Element) -> bool) {
        self.0.retain(|(key, element)| keep(key, element));
    }

    /// All elements in order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Concat, &Element)> + Clone {
        self.0.iter().map(|(key, element)| (key, element))
    }

    /// The keys in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Concat> + Clone {
        self.0.iter().map(|(key, _)| key)
    }

    /// The elements without their keys, in order of the keys.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Element> + Clone {
        self.0.iter().map(|(_, element)| element)
    }

    fn find(&self, key: &Concat) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(key))
    }
}

impl From<Vec<(Concat, Element)>> for Elements {
    /// If several elements have the same key, the last one is kept. Sorted input takes the least time.
    fn from(mut elements: Vec<(Concat, Element)>) -> Self {
        elements.sort_by(|(a, _), (b, _)| a.cmp(b));
        elements.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                mem::swap(later, kept);
            }
            same
        });
        Self(elements)
    }
}

impl<const N: usize> From<[(Concat, Element); N]> for Elements {
    fn from(elements: [(Concat, Element); N]) -> Self {
        Vec::from(elements).into()
    }
}

impl FromIterator<(Concat, Element)> for Elements {
    fn from_iter<I: IntoIterator<Item = (Concat, Element)>>(elements: I) -> Self {
        Vec::from_iter(elements).into()
    }
}

impl IntoIterator for Elements {
    type Item = (Concat, Element);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Elements {
    type Item = (&'a Concat, &'a Element);
    type IntoIter = std::iter::Map<
        std::slice::Iter<'a, (Concat, Element)>,
        fn(&'a (Concat, Element)) -> (&'a Concat, &'a Element),
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(key, element)| (key, element))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::ruleset::Value;

    fn pair(key: u16, value: u16) -> (Concat, Element) {
        let concat = |number| Concat::new(&[Value::Port(number)]);
        (concat(key), Element::value(concat(value)))
    }

    proptest! {
        #[test]
        fn they_are_what_a_map_is(
            start in proptest::collection::vec((0u16..8, any::<u16>()), 0..8),
            changes in proptest::collection::vec((0u16..8, proptest::option::of(any::<u16>())), 0..16),
        ) {
            let start: Vec<_> = start.into_iter().map(|(key, value)| pair(key, value)).collect();
            let mut map: BTreeMap<_, _> = start.iter().cloned().collect();
            let mut elements = Elements::from(start.clone());
            prop_assert_eq!(&elements, &map.clone().into_iter().collect());
            for (key, value) in changes {
                let (key, element) = pair(key, value.unwrap_or_default());
                prop_assert_eq!(elements.get(&key), map.get(&key));
                if value.is_some() {
                    prop_assert_eq!(elements.insert(key.clone(), element.clone()), map.insert(key, element));
                } else {
                    prop_assert_eq!(elements.remove(&key), map.remove(&key));
                }
                prop_assert_eq!(&elements, &map.clone().into_iter().collect());
            }
            elements.insert_missing(start.iter().cloned());
            for (key, element) in start {
                map.entry(key).or_insert(element);
            }
            prop_assert_eq!(elements.keys().collect::<Vec<_>>(), map.keys().collect::<Vec<_>>());
        }
    }
}
