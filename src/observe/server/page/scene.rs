//! What the reconciler answered, compiled, so that it can be explained.

use std::collections::HashSet;

use portolan_rules::{
    compile::Compiler,
    explanation::{View, Workloads, host},
    model::ObjectName,
    ruleset::Ruleset,
    simulate::Host,
    state::State,
};

use crate::observe::query::Snapshot;

/// Some Services of a node, compiled as it has compiled them.
pub struct Scene {
    state: State,
    compiler: Compiler,
    ruleset: Ruleset,
    host: Host,
    workloads: Workloads,
}

impl Scene {
    /// All Services of an answer.
    pub fn new(snapshot: &Snapshot) -> Self {
        Self::of(snapshot, |_| true)
    }

    /// Those of these names.
    pub fn only(snapshot: &Snapshot, names: &HashSet<&ObjectName>) -> Self {
        Self::of(snapshot, |name| names.contains(name))
    }

    fn of(snapshot: &Snapshot, is_wanted: impl Fn(&ObjectName) -> bool) -> Self {
        let mut state = State::new(snapshot.node.clone());
        for service in snapshot.services.iter().filter(|service| is_wanted(&service.name)) {
            state.set_service(&service.name, Some(service.clone()));
        }
        for slice in &snapshot.slices {
            let owner = ObjectName { namespace: slice.name.namespace.clone(), name: slice.service.clone() };
            if is_wanted(&owner) {
                state.set_slice(&slice.name, Some(slice.clone()));
            }
        }
        for (name, _) in &snapshot.quarantined {
            state.quarantine(name, true);
        }
        let mut compiler = Compiler::new(snapshot.config.clone());
        compiler.set_node_addresses(&snapshot.node_port_addresses.iter().copied().collect());
        compiler.set_node_ips(&mut state, snapshot.node_ips.clone());
        compiler.set_service_cidrs(&mut state, &snapshot.service_cidrs);
        compiler.load(&mut state, &Ruleset::default());
        Self {
            ruleset: compiler.ruleset(),
            host: host(&state, &compiler),
            state,
            compiler,
            workloads: Workloads::default(),
        }
    }

    /// The explanation.
    pub const fn view(&self) -> View<'_> {
        View {
            state: &self.state,
            compiler: &self.compiler,
            ruleset: &self.ruleset,
            host: &self.host,
            workloads: &self.workloads,
        }
    }
}
