//! Health checks of Services (`healthCheckNodePort`): what the reconciler sends to the servers.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use portolan_rules::{
    model::ObjectName,
    selection::health_check_node_port::{HealthCheck, health_check},
    state::State,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A change of what the servers answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthCheckChange {
    /// These Services answer so from now on, or, with `None`, no longer. Ports that could not be bound are tried again.
    Services(Vec<(ObjectName, Option<HealthCheck>)>),
    /// Health checks are answered on these addresses.
    Addresses(BTreeSet<IpAddr>),
}

/// The servers' end.
#[derive(Debug)]
pub struct HealthChecks {
    /// The changes.
    pub changes: UnboundedReceiver<HealthCheckChange>,
    /// Number of sockets that could not be bound. If there are any, each reconcile sends a change.
    pub failing: Arc<AtomicUsize>,
}

/// The reconciler's end. It remembers what it sent to the servers, and sends what differs. Never blocks. The default
/// discards everything.
#[derive(Debug, Default)]
pub struct ServiceHealth {
    servers: Option<(UnboundedSender<HealthCheckChange>, Arc<AtomicUsize>)>,
    known: HashMap<ObjectName, HealthCheck>,
    addresses: BTreeSet<IpAddr>,
    /// Services that changed since the last update.
    changed: BTreeSet<ObjectName>,
}

impl ServiceHealth {
    /// Both ends.
    pub fn new() -> (Self, HealthChecks) {
        let (sender, changes) = unbounded_channel();
        let failing = Arc::<AtomicUsize>::default();
        let servers = Some((sender, failing.clone()));
        (Self { servers, ..Self::default() }, HealthChecks { changes, failing })
    }

    /// Notes which Services are about to be compiled. To be called before they are: the compiler takes that list.
    pub fn note(&mut self, state: &State) {
        if self.servers.is_none() {
            return;
        }
        let matters = |name: &ObjectName| {
            let service = state.get(name).and_then(|entry| entry.service.as_deref());
            self.known.contains_key(name) || service.is_some_and(|s| s.health_check_node_port.is_some())
        };
        let changed: Vec<_> = state.dirty().iter().filter(|name| matters(name)).cloned().collect();
        self.changed.extend(changed);
    }

    /// Sends the servers the addresses on which to answer.
    pub fn set_addresses(&mut self, addresses: BTreeSet<IpAddr>) {
        if self.addresses != addresses {
            self.addresses.clone_from(&addresses);
            self.send(HealthCheckChange::Addresses(addresses));
        }
    }

    /// Sends the servers the Services whose answers changed, now that the kernel has them.
    pub fn update(&mut self, state: &State) {
        let Some((_, failing)) = &self.servers else { return };
        let retry = failing.load(Ordering::Relaxed) > 0;
        // Services may have been put in quarantine since: the kernel refused them.
        self.changed
            .extend(state.quarantined().iter().filter(|name| self.known.contains_key(*name)).cloned());
        let mut changes = Vec::new();
        for name in std::mem::take(&mut self.changed) {
            let check = state.get(&name).and_then(|entry| health_check(entry, state.node()));
            let before = match check {
                Some(check) => self.known.insert(name.clone(), check),
                None => self.known.remove(&name),
            };
            if before != check {
                changes.push((name, check));
            }
        }
        if retry || !changes.is_empty() {
            self.send(HealthCheckChange::Services(changes));
        }
    }

    fn send(&self, change: HealthCheckChange) {
        if let Some((sender, _)) = &self.servers {
            // Without servers the process is about to end.
            let _ = sender.send(change);
        }
    }
}
