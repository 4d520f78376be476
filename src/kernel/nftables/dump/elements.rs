//! Reads a set's elements.

use std::{collections::HashSet, sync::Arc};

use portolan_rules::ruleset::{Concat, Element, ElementData, Elements, Set};

use crate::kernel::nftables::{
    attributes::{Attribute, Attributes},
    element::{comment, padded, predecessor, read_value},
    uapi::*,
    verdict::parse_verdict,
};

/// Collects the elements of one set, and pairs the ends of ranges with their starts.
pub(super) struct ElementReader {
    /// Length of a key in bytes, if each range of the set is two elements in the kernel.
    ranges: Option<usize>,
    /// Whether every element is a range.
    interval: bool,
    found: Vec<(Concat, Element)>,
    /// The ends of ranges: the first key after each.
    ends: Vec<Concat>,
    /// Comments so far, to share them: a frontend and its endpoints have the same.
    comments: HashSet<Arc<str>>,
}

impl ElementReader {
    /// Creates a reader for the elements of this set.
    pub(super) fn of(set: &Set) -> Self {
        let interval = set.flags.interval;
        let ranges = match set.key.as_slice() {
            [one] if interval => Some(one.size()),
            _ => None,
        };
        Self { ranges, interval, found: Vec::new(), ends: Vec::new(), comments: HashSet::new() }
    }

    /// Reads the elements in a message.
    pub(super) fn read_list(&mut self, attributes: Attributes<'_>) {
        let list = attributes.nested(NFTA_SET_ELEM_LIST_ELEMENTS);
        list.iter().for_each(|element| self.read(element.nested()));
    }

    /// Reads one element.
    pub(super) fn read(&mut self, attributes: Attributes<'_>) {
        let (mut key, mut end, mut flags) = (None, None, 0);
        let mut element = Element::member();
        for attribute in attributes.iter() {
            match attribute.kind {
                NFTA_SET_ELEM_KEY => key = read_value(attribute),
                NFTA_SET_ELEM_KEY_END => end = read_value(attribute),
                NFTA_SET_ELEM_FLAGS => flags = attribute.number().unwrap_or(0).cast_signed(),
                NFTA_SET_ELEM_DATA => element.data = data(attribute),
                NFTA_SET_ELEM_USERDATA => element.comment = self.comment(attribute.value),
                _ => {}
            }
        }
        if flags & NFT_SET_ELEM_CATCHALL != 0 {
            // It has no key; the model uses an empty key.
            self.found.push((Concat::default(), element));
            return;
        }
        let Some(key) = key else { return };
        if flags & NFT_SET_ELEM_INTERVAL_END != 0 {
            self.ends.push(key);
            return;
        }
        if self.interval && self.ranges.is_none() {
            element.end = Some(Box::new(end.unwrap_or_else(|| key.clone())));
        }
        self.found.push((key, element));
    }

    /// The comment in an element's user data.
    fn comment(&mut self, records: &[u8]) -> Option<Arc<str>> {
        let text = comment(records)?;
        if let Some(known) = self.comments.get(text) {
            return Some(known.clone());
        }
        let comment: Arc<str> = text.into();
        self.comments.insert(comment.clone());
        Some(comment)
    }

    /// Returns all elements by key, each range with its end.
    pub(super) fn finish(mut self) -> Elements {
        if let Some(length) = self.ranges {
            self.pair(length);
        }
        self.found.into()
    }

    /// Sets the end of every range: the last key before the next end or, if adjacent ranges have no end between them,
    /// before the next start. A range with neither extends to the greatest key.
    fn pair(&mut self, length: usize) {
        self.ends.sort_unstable();
        self.found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let starts: Vec<Concat> = self.found.iter().map(|(key, _)| key.clone()).collect();
        for (i, (key, element)) in self.found.iter_mut().enumerate() {
            if key.as_bytes().is_empty() {
                continue; // the catch-all element
            }
            let end = self.ends.get(self.ends.partition_point(|end| end <= &*key));
            let after = end.into_iter().chain(starts.get(i + 1)).min();
            let last = match after {
                Some(after) => after.as_bytes().get(..length).and_then(predecessor),
                None => Some(padded(&[0xff; 16][..length.min(16)])),
            };
            element.end = last.map(Box::new);
        }
    }
}

fn data(attribute: Attribute<'_>) -> ElementData {
    let verdict = || parse_verdict(attribute.nested().nested(NFTA_DATA_VERDICT));
    let value = read_value(attribute).map(ElementData::Value);
    value.or_else(|| verdict().map(ElementData::Verdict)).unwrap_or(ElementData::None)
}
