//! Objects that the kernel still holds although nothing leads to them any more.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use foldhash::HashMap;

use crate::{
    plane::first_slot,
    plane::{PerSet, SetName, planes::counterpart},
    ruleset::{Concat, Element, Family, Name, Operation, Set, Transaction},
};

use super::change::ElementChange;

type ElementKey = (Family, Name, Concat);

/// Objects that the kernel still holds although nothing leads to them any more. They are deleted once no packet that
/// was led to them is under way. An object that is wanted again before that is kept rather than made again.
///
/// Objects that begin to retire together share a number; each further group has the next number.
#[derive(Clone, Debug, Default)]
pub struct Retiring {
    number: u64,
    elements: HashMap<ElementKey, (u64, Arc<Set>, Element)>,
    /// The keys of the elements in the order in which they began to retire. Some elements may be wanted again by now.
    order: VecDeque<(u64, ElementKey)>,
    /// The elements of a plane that another plane has replaced. They are never wanted again.
    plane: VecDeque<(u64, Family, Arc<Set>, Vec<Concat>)>,
    chains: HashMap<(Family, Name), u64>,
    sets: HashMap<(Family, Name), u64>,
    counts: PerSet<u32>,
}

impl Retiring {
    /// The number of the group that began to retire last.
    pub const fn last(&self) -> u64 {
        self.number
    }

    /// Whether nothing is retiring.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty() && self.plane.is_empty() && self.chains.is_empty() && self.sets.is_empty()
    }

    /// How many elements of a set are retiring.
    pub fn count(&self, family: Family, set: SetName) -> u32 {
        self.counts[(family, set)]
    }

    fn counted(&mut self, family: Family, set: &Name) -> Option<&mut u32> {
        SetName::from_name(set).map(|set| &mut self.counts[(family, set)])
    }

    /// Forgets everything, because the kernel was read.
    pub fn clear(&mut self) {
        *self = Self { number: self.number, ..Self::default() };
    }

    /// Forgets the elements of these sets, because they were read.
    pub fn forget(&mut self, sets: &BTreeSet<(Family, Name)>) {
        let of_sets = |key: &&ElementKey| sets.contains(&(key.0, key.1.clone()));
        for key in self.elements.keys().filter(of_sets).cloned().collect::<Vec<_>>() {
            self.take(&key);
        }
    }

    /// Forgets the elements at these keys of a set, because they were read.
    pub fn forget_at(&mut self, family: Family, set: &Name, keys: &BTreeSet<Concat>) {
        if self.elements.is_empty() {
            return;
        }
        for key in keys {
            self.take(&(family, set.clone(), key.clone()));
        }
    }

    /// Whether an element is retiring.
    pub fn holds(&self, family: Family, set: &Name, key: &Concat) -> bool {
        !self.elements.is_empty() && self.elements.contains_key(&(family, set.clone(), key.clone()))
    }

    /// The keys of a set's elements that are retiring.
    pub fn keys<'a>(&'a self, family: Family, set: &'a str) -> impl Iterator<Item = &'a Concat> {
        self.elements.keys().filter(move |key| key.0 == family && *key.1 == *set).map(|key| &key.2)
    }

    /// Begins a new group.
    pub(super) const fn begin(&mut self) {
        self.number += 1;
    }

    /// Retires an element.
    pub fn retire_element(&mut self, change: ElementChange) {
        let ElementChange { family, set, key, before, .. } = change;
        let Some(element) = before else { return };
        if let Some(count) = self.counted(family, &set.name) {
            *count += 1;
        }
        let key = (family, set.name.clone(), key);
        self.order.push_back((self.number, key.clone()));
        self.elements.insert(key, (self.number, set, element));
    }

    /// Retires a plane that another plane has replaced: these elements, sets and chains, by the names that they had,
    /// and the objects of the plane that were retiring already.
    pub fn retire_plane(
        &mut self,
        family: Family,
        elements: Vec<(Arc<Set>, Vec<Concat>)>,
        sets: Vec<Name>,
        chains: Vec<Name>,
    ) {
        self.begin();
        let other = |set: &Set| Arc::new(Set { name: counterpart(&set.name), ..set.clone() });
        for (set, keys) in elements {
            self.retire_elements(family, other(&set), keys);
        }
        let of_family = self.elements.keys().filter(|key| key.0 == family).cloned().collect::<Vec<_>>();
        for key in of_family {
            let set = self.elements.get(&key).map(|(_, set, _)| set.clone());
            self.take(&key);
            // Ranges are deleted with their sets.
            if let Some(set) = set.filter(|set| !set.flags.interval) {
                self.retire_elements(family, other(&set), vec![key.2]);
            }
        }
        let before: Vec<_> = self.chains.keys().filter(|(f, _)| *f == family).cloned().collect();
        for key in before {
            self.chains.remove(&key);
            self.retire_chain(family, counterpart(&key.1));
        }
        for chain in chains {
            self.retire_chain(family, counterpart(&chain));
        }
        for set in sets {
            self.retire_set(family, counterpart(&set));
        }
    }

    /// Retires the elements of a set at these keys. They are never wanted again.
    pub(super) fn retire_elements(&mut self, family: Family, set: Arc<Set>, keys: Vec<Concat>) {
        self.plane.push_back((self.number, family, set, keys));
    }

    /// Retires a chain that no remaining rule or element leads to.
    pub(super) fn retire_chain(&mut self, family: Family, chain: Name) {
        self.chains.insert((family, chain), self.number);
    }

    /// Retires a set that no remaining rule reads.
    pub(super) fn retire_set(&mut self, family: Family, set: Name) {
        self.sets.insert((family, set), self.number);
    }

    /// Keeps a chain that is wanted again; false if it was not retiring.
    pub(super) fn keep_chain(&mut self, family: Family, chain: &Name) -> bool {
        !self.chains.is_empty() && self.chains.remove(&(family, chain.clone())).is_some()
    }

    /// Takes the retiring element at the key of an element that is added, so that it is no longer retiring.
    pub(super) fn keep_element(&mut self, change: &ElementChange) -> Option<Element> {
        if self.elements.is_empty() {
            return None;
        }
        self.take(&(change.family, change.set.name.clone(), change.key.clone()))
    }

    fn take(&mut self, key: &ElementKey) -> Option<Element> {
        let (_, set, element) = self.elements.remove(key)?;
        if let Some(count) = self.counted(key.0, &set.name) {
            *count = count.saturating_sub(1);
        }
        Some(element)
    }

    /// Moves into `ranges` the retiring ranges that a new range may overlap, since the kernel refuses overlapping
    /// ranges: those whose fields before the last field, the source, are the same.
    pub(super) fn take_ranges(&mut self, change: &ElementChange, ranges: &mut Vec<ElementChange>) {
        if !change.set.flags.interval || self.elements.is_empty() {
            return;
        }
        let prefix = |key: &Concat| {
            let last = change.set.key.last().map_or(0, |field| field.padded_size());
            let bytes = key.as_bytes();
            bytes.get(..bytes.len().saturating_sub(last)).unwrap_or_default().to_vec()
        };
        let wanted = prefix(&change.key);
        let alike = |key: &&ElementKey| {
            key.0 == change.family && key.1 == change.set.name && prefix(&key.2) == wanted
        };
        let mut keys: Vec<ElementKey> = self.elements.keys().filter(alike).cloned().collect();
        keys.sort_unstable();
        for key in keys {
            let before = self.take(&key);
            let (family, _, key) = key;
            ranges.push(ElementChange { family, set: change.set.clone(), key, before, after: None });
        }
    }

    /// Takes the endpoints at the endpoint ids of a frontend, given the map and key of the attribute of its first slot.
    pub(super) fn take_remembered(
        &mut self,
        family: Family,
        set: SetName,
        key: &Concat,
    ) -> Vec<ElementChange> {
        let leads_there = |of: &&ElementKey| {
            let endpoints = SetName::from_name(&of.1).filter(|_| of.0 == family);
            endpoints
                .and_then(|endpoints| first_slot(endpoints, &of.2))
                .is_some_and(|slot| slot == (set, key.clone()))
        };
        let mut keys: Vec<ElementKey> = self.elements.keys().filter(leads_there).cloned().collect();
        keys.sort_unstable();
        let mut taken = Vec::new();
        for of in keys {
            let Some(set) = self.elements.get(&of).map(|(_, set, _)| set.clone()) else { continue };
            let before = self.take(&of);
            taken.push(ElementChange { family, set, key: of.2, before, after: None });
        }
        taken
    }

    /// Takes the groups that began to retire up to a number, at most `limit` elements of them, as a transaction that
    /// deletes them; empty if there is nothing to delete.
    pub fn take_part(&mut self, table: &Name, up_to: u64, limit: usize) -> Transaction {
        let mut transaction = Transaction::new(table.clone());
        while transaction.len() < limit {
            let Some((number, key)) = self.order.pop_front_if(|(number, _)| *number <= up_to) else { break };
            // The element may be wanted again, or may have begun to retire a second time.
            if self.elements.get(&key).is_none_or(|(at, ..)| *at != number) {
                continue;
            }
            let set = self.elements.get(&key).map(|(_, set, _)| set.clone());
            if let (Some(set), Some(element)) = (set, self.take(&key)) {
                let (family, _, key) = key;
                transaction.push(family, Operation::DeleteElement { set, key, end: element.end });
            }
        }
        while transaction.len() < limit
            && let Some((number, family, set, keys)) = self.plane.front_mut()
            && *number <= up_to
        {
            let some = keys.split_off(keys.len().saturating_sub(limit - transaction.len()));
            for key in some {
                transaction.push(*family, Operation::DeleteElement { set: set.clone(), key, end: None });
            }
            if keys.is_empty() {
                self.plane.pop_front();
            }
        }
        // Adjacent elements of one set share a message.
        transaction.operations.sort_by(|(a, x), (b, y)| (a, set_of(x)).cmp(&(b, set_of(y))));
        if transaction.len() < limit {
            self.objects(up_to, &mut transaction);
        }
        transaction
    }

    /// Deletes chains and sets once no element leads to them: all rules before the first set, all sets before the first
    /// chain.
    fn objects(&mut self, up_to: u64, transaction: &mut Transaction) {
        let take = |map: &mut HashMap<(Family, Name), u64>| {
            let taken = map.extract_if(|_, number| *number <= up_to);
            let mut taken: Vec<(Family, Name)> = taken.map(|(key, _)| key).collect();
            taken.sort_unstable();
            taken
        };
        let (chains, sets) = (take(&mut self.chains), take(&mut self.sets));
        for (family, chain) in &chains {
            transaction.push(*family, Operation::FlushChain(chain.clone()));
        }
        for (family, set) in sets {
            transaction.push(family, Operation::DeleteSet(set));
        }
        for (family, chain) in chains {
            transaction.push(family, Operation::DeleteChain(chain));
        }
    }
}

fn set_of(operation: &Operation) -> Option<&Name> {
    match operation {
        Operation::DeleteElement { set, .. } => Some(&set.name),
        _ => None,
    }
}
