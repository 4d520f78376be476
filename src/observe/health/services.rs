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
    selection::health_check_node_port::{HealthCheck, health_check},
    state::State,
};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::tracked::{Change, Tracked};

/// The servers' end.
#[derive(Debug)]
pub struct HealthChecks {
    /// The responses of Services, and the addresses to listen on. Ports that could not be bound are retried with each
    /// change.
    pub changes: UnboundedReceiver<Change<HealthCheck>>,
    /// Number of sockets that could not be bound. If there are any, each reconcile sends a change.
    pub failing: Arc<AtomicUsize>,
}

/// The reconciler's end. Never blocks. The default discards everything.
#[derive(Debug, Default)]
pub struct ServiceHealth {
    checks: Tracked<HealthCheck>,
    failing: Arc<AtomicUsize>,
}

impl ServiceHealth {
    /// Both ends.
    pub fn new() -> (Self, HealthChecks) {
        let ((checks, changes), failing) = (Tracked::new(), Arc::<AtomicUsize>::default());
        (Self { checks, failing: failing.clone() }, HealthChecks { changes, failing })
    }

    /// Notes which Services are about to be compiled. Must be called before the compiler runs, since it takes that
    /// list.
    pub fn note(&mut self, state: &State) {
        self.checks.note(state, |service| service.health_check_node_port.is_some());
    }

    /// Sends the servers the addresses to listen on.
    pub fn set_addresses(&mut self, addresses: &BTreeSet<IpAddr>) {
        self.checks.set_addresses(addresses);
    }

    /// Sends the servers the Services whose responses changed, now that the kernel has them.
    pub fn update(&mut self, state: &State) {
        let retry = self.failing.load(Ordering::Relaxed) > 0;
        self.checks.update(state, retry, |entry| health_check(entry, state.node()));
    }
}
