//! A state with what it compiles to: the owner of what a [`View`] borrows.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    explained::{Rules, View},
    workload::Workloads,
};
use crate::{
    compile::Compiler,
    ruleset::{Family, Ruleset},
    simulate::Host,
    state::State,
};

/// A state and what it compiles to on its node.
#[derive(Debug)]
pub struct Compiled {
    state: State,
    compiler: Compiler,
    rules: Rules,
    host: Host,
    workloads: Workloads,
}

impl Compiled {
    /// Compiles a state with a compiler that knows the node and has compiled nothing yet. Slots and numbers are taken
    /// over from the kernel, as far as it holds any.
    pub fn new(mut compiler: Compiler, mut state: State, kernel: &Ruleset) -> Self {
        compiler.load(&mut state, kernel);
        Self {
            rules: Rules::default(),
            host: host(&state, &compiler),
            state,
            compiler,
            workloads: Workloads::default(),
        }
    }

    /// Adds the Pods behind the Services.
    #[must_use]
    pub fn with_workloads(self, workloads: Workloads) -> Self {
        Self { workloads, ..self }
    }

    /// The input of an explanation of this state.
    pub const fn view(&self) -> View<'_> {
        View {
            state: &self.state,
            compiler: &self.compiler,
            rules: &self.rules,
            host: &self.host,
            workloads: &self.workloads,
        }
    }

    /// The rules alone.
    pub fn into_ruleset(self) -> Ruleset {
        self.rules.into_inner().unwrap_or_else(|| self.compiler.ruleset())
    }
}

/// The addresses of a node: those of its Node object, and those that answer node ports.
fn host(state: &State, compiler: &Compiler) -> Host {
    let mut local_addresses: BTreeSet<IpAddr> = state.node().addresses.iter().copied().collect();
    for family in Family::ALL {
        local_addresses.extend(compiler.node_port_addresses(family));
    }
    Host { local_addresses }
}
