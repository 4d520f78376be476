//! The state of a cluster, compiled as a node would compile it.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, thread};

use portolan_rules::{
    explanation::{Compiled, ExplainedService, Finding, View},
    model::ObjectName,
    ruleset::Ruleset,
};

use crate::{
    cli::{
        input::Input,
        output::{self, Ended},
    },
    observe::{agent_state::AgentState, query::Snapshot},
    source::manifest::Completeness,
};

/// From this number of Services on, a second thread is used.
const MANY: usize = 1_000;

/// What a running agent has answered.
#[derive(Debug)]
pub struct Live {
    /// The agent's own state.
    pub state: AgentState,
    /// What the agent holds, as far as it was asked for.
    pub snapshot: Snapshot,
    /// The socket at which the agent was asked.
    pub socket: PathBuf,
    /// Whether the agent is in the network namespace of this process, so that its tables can be read here.
    pub is_here: bool,
}

/// The state of a cluster, compiled as a node would compile it.
pub struct Scene {
    pub(super) compiled: Compiled,
    /// Whether all of the input could be used.
    pub is_whole: bool,
    /// The Services that cannot be used at all, and why.
    pub unusable: BTreeMap<ObjectName, String>,
    /// Where the state comes from, how old it is, and whose view it is, for people.
    pub origin: String,
    /// The agent that the state comes from, if it comes from a running agent.
    pub live: Option<Live>,
    /// Whether the state was read from a ruleset, such as the kernel's.
    pub(super) is_of_kernel: bool,
}

impl Scene {
    /// Creates a scene from a state of which everything could be used.
    pub(super) const fn new(compiled: Compiled, origin: String) -> Self {
        Self { compiled, is_whole: true, unusable: BTreeMap::new(), origin, live: None, is_of_kernel: false }
    }

    /// Compiles what was read.
    pub(super) fn compile(mut input: Input, origin: &str) -> Self {
        let compiler = input.compiler();
        let Input { settings, state, completeness, workloads, unusable, .. } = input;
        let stand_ins = if workloads.stand_ins.is_empty() {
            ""
        } else {
            ", with stand-ins for what a cluster would assign"
        };
        let origin = format!("{origin}, as node {} would program it{stand_ins}", settings.node_name);
        let of_rules = Compiled::new(compiler, state, &Ruleset::default()).with_workloads(workloads);
        Self { is_whole: completeness == Completeness::Whole, unusable, ..Self::new(of_rules, origin) }
    }

    /// Returns what the kernel must hold for a running agent's state. Takes over slots and numbers from what the kernel
    /// holds.
    pub fn compiled_for(&self, kernel: &Ruleset) -> Option<Ruleset> {
        Some(self.live.as_ref()?.snapshot.compile(kernel).into_ruleset())
    }

    /// Prints the result of a command, and returns [`Scene::status`].
    pub fn print(&self, text: &[u8], is_well: bool) -> Ended {
        output::print(text)?;
        Ok(self.status(is_well))
    }

    /// Returns the exit status: 0 if all is well, 1 if it is not, and 2 if some of the input could not be used.
    pub fn status(&self, is_well: bool) -> ExitCode {
        ExitCode::from(if self.is_whole { u8::from(!is_well) } else { 2 })
    }

    /// Returns the names of the Services that can be used, in order.
    pub fn services(&self) -> Vec<ObjectName> {
        let usable = self.view().state.entries().filter(|(_, entry)| entry.service.is_some());
        let mut names: Vec<ObjectName> = usable.map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Calls `of` with each of these Services and its explanation, if the Service can be used. Returns the results in
    /// order.
    pub fn map<T: Send>(
        &self,
        names: &[ObjectName],
        of: impl Fn(&ObjectName, Option<ExplainedService>) -> T + Sync,
    ) -> Vec<T> {
        let all =
            |names: &[ObjectName]| names.iter().map(|name| of(name, self.view().service(name))).collect();
        Self::in_halves(names, all).into_iter().flat_map(|all: Vec<T>| all).collect()
    }

    /// Calls `of` with these Services. If there are many, calls it with each half of them, one half on a second thread.
    pub fn in_halves<T: Send>(names: &[ObjectName], of: impl Fn(&[ObjectName]) -> T + Sync) -> Vec<T> {
        if names.len() < MANY {
            return vec![of(names)];
        }
        let (first, rest) = names.split_at(names.len() / 2);
        thread::scope(|scope| {
            let rest = scope.spawn(|| of(rest));
            let first = of(first);
            vec![first, rest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
        })
    }

    /// Returns how many Services can be used, and the findings of all of them, in the order of their names.
    pub fn findings(&self) -> (usize, Vec<Finding>) {
        let services = self.services();
        let found = self.map(&services, |_, explained| explained.map(|service| service.findings));
        (services.len(), found.into_iter().flatten().flatten().collect())
    }

    /// The name of the tables.
    pub fn table(&self) -> &str {
        &self.view().compiler.config().table
    }

    /// Whether the state is what the kernel of this machine is programmed with, rather than what it would be programmed
    /// with.
    pub fn is_programmed(&self) -> bool {
        self.live.is_some() || self.is_of_kernel
    }

    /// Returns the view of the state.
    pub const fn view(&self) -> View<'_> {
        self.compiled.view()
    }
}
