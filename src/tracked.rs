//! Sends another thread a value for each Service that has one, when the value changes.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use portolan_rules::{
    model::{ObjectName, Service},
    state::{ServiceState, State},
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A change of the values or addresses that were sent.
#[derive(Debug)]
pub enum Change<T> {
    /// These Services have these values from now on or, with `None`, no value.
    Services(Vec<(ObjectName, Option<T>)>),
    /// The addresses from now on.
    Addresses(BTreeSet<IpAddr>),
}

/// The reconciler's end. It remembers the values that it sent, and sends only changes. Never blocks. The default
/// discards everything.
#[derive(Debug)]
pub(crate) struct Tracked<T> {
    receiver: Option<UnboundedSender<Change<T>>>,
    /// The values that were sent.
    known: HashMap<ObjectName, T>,
    /// Services that changed since the last update.
    changed: BTreeSet<ObjectName>,
    addresses: BTreeSet<IpAddr>,
}

impl<T> Default for Tracked<T> {
    fn default() -> Self {
        Self {
            receiver: None,
            known: HashMap::default(),
            changed: BTreeSet::default(),
            addresses: BTreeSet::default(),
        }
    }
}

impl<T: Clone + PartialEq> Tracked<T> {
    /// Both ends.
    pub fn new() -> (Self, UnboundedReceiver<Change<T>>) {
        let (sender, changes) = unbounded_channel();
        (Self { receiver: Some(sender), ..Self::default() }, changes)
    }

    /// Notes which Services are about to be compiled, among those that have a value or may have one. Must be called
    /// before they are compiled: the compiler takes that list.
    pub fn note(&mut self, state: &State, may_have: impl Fn(&Service) -> bool) {
        if self.receiver.is_none() {
            return;
        }
        let matters = |name: &ObjectName| {
            let service = state.get(name).and_then(|entry| entry.service.as_deref());
            self.known.contains_key(name) || service.is_some_and(&may_have)
        };
        let changed: Vec<_> = state.dirty().iter().filter(|name| matters(name)).cloned().collect();
        self.changed.extend(changed);
    }

    /// Sends the addresses, if they changed.
    pub fn set_addresses(&mut self, addresses: &BTreeSet<IpAddr>) {
        if self.addresses != *addresses {
            self.addresses.clone_from(addresses);
            self.send(Change::Addresses(addresses.clone()));
        }
    }

    /// Sends the Services whose values changed, now that the kernel has them; with `always`, even if no value changed.
    pub fn update(&mut self, state: &State, always: bool, value: impl Fn(&ServiceState) -> Option<T>) {
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
        if always || !changes.is_empty() {
            self.send(Change::Services(changes));
        }
    }

    fn send(&self, change: Change<T>) {
        if let Some(receiver) = &self.receiver {
            // Without the other thread the process is about to end.
            let _ = receiver.send(change);
        }
    }
}
