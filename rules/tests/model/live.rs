//! A node over time: connections, changes of the cluster, and the proxy's restarts.

use std::sync::Arc;

use portolan_rules::{
    compile::Compiler,
    ruleset::Ruleset,
    simulate::{Fate, Host, Memory, Outcome, Packet, simulate},
    state::State,
};

use crate::{
    cluster::{Cluster, answer_of},
    reference::{Clients, Promise, answer},
};

/// The rules as they are compiled change by change, what they remember, and what they should remember.
pub struct Live {
    pub cluster: Cluster,
    state: State,
    compiler: Compiler,
    pub rules: Ruleset,
    memory: Memory,
    clients: Clients,
    restarts: u16,
}

/// A connection and what was promised about it.
pub struct Connection {
    pub promise: Promise,
    pub outcome: Outcome,
    /// What became of it.
    pub fate: Fate,
}

impl Connection {
    /// Whether the rules did what they should.
    pub fn is_as_promised(&self) -> bool {
        self.promise.is_kept_by(&answer_of(&self.outcome))
    }
}

impl Live {
    pub fn new(cluster: Cluster) -> Self {
        let (compiler, state) = cluster.load(&Ruleset::default(), 0);
        let rules = compiler.ruleset();
        let (memory, clients) = (Memory::new(), Clients::default());
        Self { cluster, state, compiler, rules, memory, clients, restarts: 0 }
    }

    /// Makes a new connection. The case at index `choice`, modulo the number of cases, happens.
    pub fn connect(&mut self, packet: &Packet, choice: usize) -> Connection {
        let promise = answer(&self.cluster, &self.clients, packet);
        let host = Host { local_addresses: self.cluster.host.clone() };
        let outcome = simulate(&self.rules, &host, packet, &self.memory);
        let case = &outcome.cases[choice % outcome.cases.len()];
        let fate = case.fate;
        self.memory.remember(case);
        self.clients.connected(&self.cluster, packet, fate);
        Connection { promise, outcome, fate }
    }

    pub fn wait(&mut self, milliseconds: u64) {
        self.memory.advance(milliseconds);
        self.clients.wait(milliseconds);
    }

    /// Changes the cluster and updates the rules.
    pub fn change(&mut self, change: impl FnOnce(&mut Cluster)) {
        let before = self.cluster.clone();
        change(&mut self.cluster);
        for service in &before.services {
            if self.cluster.services.iter().all(|kept| kept.name != service.name) {
                self.state.set_service(&service.name, None);
            }
        }
        for service in &self.cluster.services {
            self.state.set_service(&service.name, Some(Arc::new(service.clone())));
        }
        for slice in &before.slices {
            if self.cluster.slices.iter().all(|kept| kept.name != slice.name) {
                self.state.set_slice(&slice.name, None);
            }
        }
        for slice in &self.cluster.slices {
            self.state.set_slice(&slice.name, Some(Arc::new(slice.clone())));
        }
        self.state.set_node(self.cluster.node.clone());
        self.compiler.set_node_ips(&mut self.state, self.cluster.node_ips());
        self.compiler.update(&mut self.state);
        self.rules = self.compiler.ruleset();
        self.clients.changed(&self.cluster);
    }

    /// Restarts the proxy over the rules that it left. It does not know which numbers are still remembered for clients
    /// of deleted objects, so it assigns other numbers, as the agent does.
    pub fn restart(&mut self) {
        self.restarts += 1;
        (self.compiler, self.state) = self.cluster.load(&self.rules, 1000 * self.restarts);
        self.rules = self.compiler.ruleset();
    }
}
