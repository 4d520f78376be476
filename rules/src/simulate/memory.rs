//! Elements that rules have added to dynamic sets.

use std::collections::BTreeMap;

use super::outcome::{Action, Case, SetWrite};
use crate::ruleset::{Concat, Family, Name};

/// The dynamic elements of a node, with a clock that only its owner advances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    now_ms: u64,
    elements: BTreeMap<(Family, Name), BTreeMap<Concat, Remembered>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Remembered {
    data: Option<Concat>,
    expires_ms: Option<u64>,
}

impl Memory {
    /// No elements.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets time pass.
    pub fn advance(&mut self, milliseconds: u64) {
        self.now_ms = self.now_ms.saturating_add(milliseconds);
        let now = self.now_ms;
        for set in self.elements.values_mut() {
            set.retain(|_, element| element.expires_ms.is_none_or(|at| at > now));
        }
    }

    /// Carries out what `case` does to dynamic sets.
    pub fn remember(&mut self, case: &Case) {
        case.updates.iter().for_each(|update| self.update(update));
    }

    /// Adds or removes an element. If the element to add exists, only its timer restarts: the kernel
    /// (`nft_dynset_eval`) keeps its data.
    pub fn update(&mut self, update: &SetWrite) {
        let set = self.elements.entry((update.family, update.set.clone())).or_default();
        let (data, timeout_ms) = match &update.action {
            Action::Update { data, timeout_ms } => (data, *timeout_ms),
            Action::Delete => {
                set.remove(&update.key);
                return;
            }
        };
        let expires_ms = (timeout_ms != 0).then(|| self.now_ms.saturating_add(timeout_ms));
        set.entry(update.key.clone())
            .and_modify(|element| element.expires_ms = expires_ms)
            .or_insert_with(|| Remembered { data: data.clone(), expires_ms });
    }

    /// Looks up an element of a set. The inner value is its data, if the set is a map.
    pub fn get(&self, family: Family, set: &Name, key: &Concat) -> Option<Option<&Concat>> {
        Some(self.elements.get(&(family, set.clone()))?.get(key)?.data.as_ref())
    }

    /// Number of elements of a set.
    pub fn count(&self, family: Family, set: &Name) -> usize {
        self.elements.get(&(family, set.clone())).map_or(0, BTreeMap::len)
    }
}
