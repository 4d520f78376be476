//! What another thread is sent about Services: a value for each Service that has one, when it is another than before.

use std::collections::{BTreeSet, HashMap};

use portolan_rules::{
    model::{ObjectName, Service},
    state::{ServiceState, State},
};

/// The values that were sent, and the Services that may have other ones.
#[derive(Debug)]
pub(crate) struct Tracked<T> {
    known: HashMap<ObjectName, T>,
    /// Services that changed since the last update.
    changed: BTreeSet<ObjectName>,
}

impl<T> Default for Tracked<T> {
    fn default() -> Self {
        Self { known: HashMap::default(), changed: BTreeSet::default() }
    }
}

impl<T: Clone + PartialEq> Tracked<T> {
    /// Notes which Services are about to be compiled, of those that have a value or may have one. To be called before they
    /// are: the compiler takes that list.
    pub fn note(&mut self, state: &State, may_have: impl Fn(&Service) -> bool) {
        let matters = |name: &ObjectName| {
            let service = state.get(name).and_then(|entry| entry.service.as_deref());
            self.known.contains_key(name) || service.is_some_and(&may_have)
        };
        let changed: Vec<_> = state.dirty().iter().filter(|name| matters(name)).cloned().collect();
        self.changed.extend(changed);
    }

    /// The Services whose values changed, now that the kernel has them.
    pub fn changes(
        &mut self,
        state: &State,
        value: impl Fn(&ServiceState) -> Option<T>,
    ) -> Vec<(ObjectName, Option<T>)> {
        // Services may have been put in quarantine since: the kernel refused them.
        self.changed
            .extend(state.quarantined().iter().filter(|name| self.known.contains_key(*name)).cloned());
        let mut changes = Vec::new();
        for name in std::mem::take(&mut self.changed) {
            let now = state.get(&name).and_then(&value);
            let before = match now.clone() {
                Some(now) => self.known.insert(name.clone(), now),
                None => self.known.remove(&name),
            };
            if before != now {
                changes.push((name, now));
            }
        }
        changes
    }
}
