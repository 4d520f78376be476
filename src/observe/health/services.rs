//! Health checks of Services (`healthCheckNodePort`): what the reconciler sends to the servers.

use std::{
    collections::BTreeSet,
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

use crate::tracked::Tracked;

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
    checks: Tracked<HealthCheck>,
    addresses: BTreeSet<IpAddr>,
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
        if self.servers.is_some() {
            self.checks.note(state, |service| service.health_check_node_port.is_some());
        }
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
        let changes = self.checks.changes(state, |entry| health_check(entry, state.node()));
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
