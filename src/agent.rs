//! The reconciler: keeps the kernel equal to the state.
//!
//! Normally a change is compiled and committed on its own, without reading the kernel. Whenever it is not
//! certain what the kernel holds, at the start and after a commit that failed or whose outcome is
//! unknown, the tables are read back and the whole difference is committed.

mod cold_start;
mod event;
mod reconcile;
mod report;
mod stale_flows;
mod start;

use std::{collections::BTreeSet, net::IpAddr, time::Instant};

use portolan_rules::{
    compile::{Compiler, PodDetector, Problem, SetName, Severity},
    diff::diff_into,
    leftovers::keep_leftovers,
    model::Node,
    print,
    ruleset::Ruleset,
    state::State,
    transaction::{Operation, Transaction},
};
use tracing::{debug, error, warn};

use crate::{
    health::Health,
    host,
    kernel::{self, Kernel},
    metrics::Metrics,
    recorder::Recorder,
    settings::Settings,
    source::Change,
};

pub use self::{
    cold_start::{ColdStart, cold_start},
    event::Event,
    reconcile::{FIRST_RETRY, LAST_RETRY, reconcile},
    report::{Cause, Reconcile},
    start::{Comparison, compare_at_start},
};
use stale_flows::StaleFlows;

/// Why the kernel could not be made equal to the state.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The kernel could not be read or written.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// The kernel refused an operation.
    #[error("the kernel refused `{operation}`{owner}: {source}")]
    Refused {
        /// The operation, as `portolan diff` shows it.
        operation: String,
        /// Of which Service, if it belongs to one.
        owner: String,
        /// What the kernel said.
        source: kernel::Error,
    },
}

/// What a reconcile did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Synced {
    /// Operations committed; none if the kernel was equal already.
    pub operations: usize,
    /// Whether UDP flows that may be stale could not be looked at; the next reconcile tries again.
    pub flows_pending: bool,
}

/// State, compiler and kernel of one node.
pub struct Agent {
    settings: Settings,
    kernel: Kernel,
    state: State,
    compiler: Compiler,
    health: Health,
    recorder: Recorder,
    metrics: Metrics,
    knowledge: Knowledge,
    /// Whether part of the input cannot be read, so that what the kernel has beyond the rest must stay.
    input_incomplete: bool,
    problems: usize,
    /// Whether the node's object or addresses may differ from what the compiler was told.
    node_changed: bool,
    stale_flows: StaleFlows,
}

/// What is known of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// It was never read, and nothing was compiled yet.
    Nothing,
    /// It may differ from what the compiler last said.
    Uncertain,
    /// It holds what the compiler last said.
    Certain,
}

impl Agent {
    /// An agent that knows nothing of the cluster yet.
    pub fn new(
        settings: Settings,
        kernel: Kernel,
        health: Health,
        recorder: Recorder,
        metrics: Metrics,
    ) -> Self {
        let node = Node { name: settings.node_name.clone(), ..Node::default() };
        let compiler = Compiler::new(settings.config.clone());
        Self {
            settings,
            kernel,
            state: State::new(node),
            compiler,
            health,
            recorder,
            metrics,
            knowledge: Knowledge::Nothing,
            input_incomplete: false,
            problems: 0,
            node_changed: true,
            stale_flows: StaleFlows::default(),
        }
    }

    /// Takes over changes of the cluster; they reach the kernel with the next [`Agent::sync`].
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match change {
                Change::Service(name, service) => self.state.set_service(&name, service),
                Change::Slice(name, slice) => self.state.set_slice(&name, slice),
                Change::Services(services) => self.state.replace_services(services),
                Change::Slices(slices) => self.state.replace_slices(slices),
                Change::Node(node) => {
                    let name = self.settings.node_name.clone();
                    let unknown = || Node { name, ..Node::default() };
                    self.state.set_node(node.map_or_else(unknown, |node| Node::clone(&node)));
                    self.node_changed = true;
                }
                Change::ServiceCidrs(mut networks) => {
                    networks.extend(&self.settings.service_cidrs);
                    self.compiler.set_service_cidrs(&networks);
                }
            }
        }
    }

    /// Has the next sync ask for the addresses of the host's interfaces again.
    pub fn addresses_changed(&mut self) {
        self.node_changed = true;
    }

    /// Says whether part of the input cannot be read.
    pub fn set_input_incomplete(&mut self, incomplete: bool) {
        // What stayed only because of it must go, which takes a full comparison.
        if self.input_incomplete || incomplete {
            self.doubt();
        }
        self.input_incomplete = incomplete;
    }

    /// Makes the kernel equal to the state.
    pub fn sync(&mut self) -> Result<Synced, SyncError> {
        let outcome = self.try_sync();
        if outcome.is_ok() {
            self.health.synced();
        } else {
            self.doubt();
            self.health.out_of_sync();
        }
        outcome
    }

    /// Has the next sync compare everything with the kernel.
    fn doubt(&mut self) {
        if self.knowledge == Knowledge::Certain {
            self.knowledge = Knowledge::Uncertain;
        }
    }

    fn try_sync(&mut self) -> Result<Synced, SyncError> {
        if std::mem::take(&mut self.node_changed) {
            let facts = NodeFacts::new(&self.settings, self.state.node());
            if facts.apply(&mut self.compiler, &mut self.state) {
                self.doubt();
            }
        }
        let transaction = if self.knowledge == Knowledge::Certain {
            self.update()
        } else {
            let kernel = self.kernel.dump(&self.settings.config.table)?;
            self.compare(&kernel)
        };
        let operations = transaction.len();
        if !transaction.is_empty() {
            self.commit(&transaction)?;
        }
        self.knowledge = if self.input_incomplete { Knowledge::Uncertain } else { Knowledge::Certain };
        let flows_pending = self.stale_flows.remove(&self.compiler, self.input_incomplete).is_err();
        Ok(Synced { operations, flows_pending })
    }

    /// Number of stale UDP flows removed since the start.
    pub fn removed_flows(&self) -> u64 {
        self.stale_flows.removed()
    }

    /// Whether any Service could not be programmed as it asks.
    pub fn has_problems(&self) -> bool {
        self.problems > 0
    }

    fn report(&mut self, problems: &[Problem]) {
        for problem in problems {
            match problem.severity {
                Severity::Error => {
                    self.problems += 1;
                    error!("{problem}");
                }
                Severity::Notice => warn!("{problem}"),
            }
        }
    }

    /// Compiles what changed.
    fn update(&mut self) -> Transaction {
        let update = self.compiler.update(&mut self.state);
        self.report(&update.problems);
        self.stale_flows.note(update.stale);
        update.transaction
    }

    /// Compiles what is not compiled yet, and compares all of it with the kernel.
    fn compare(&mut self, kernel: &Ruleset) -> Transaction {
        if self.knowledge == Knowledge::Nothing {
            if !kernel.tables.is_empty() {
                // Another number at every start; an odd factor puts those of one second and the next far apart.
                let now = jiff::Timestamp::now().as_second().unsigned_abs();
                self.compiler.set_number_origin(now.wrapping_mul(40_503) as u16);
            }
            let problems = self.compiler.load(&mut self.state, kernel);
            self.report(&problems);
            self.knowledge = Knowledge::Uncertain;
        } else {
            self.update();
        }
        if kernel.tables.is_empty() && !self.input_incomplete {
            // Flows may be older than the rules.
            self.stale_flows.note(self.compiler.udp_destinations());
            return self.compiler.creation();
        }
        let mut desired = self.compiler.ruleset();
        if self.input_incomplete {
            keep_leftovers(&mut desired, kernel);
        }
        self.stale_flows.note_compared(kernel, &desired, self.input_incomplete);
        diff_into(&self.settings.config.table, kernel, desired)
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<(), SyncError> {
        let started = Instant::now();
        let commit = self.kernel.commit(transaction).map_err(|error| self.attribute(transaction, error))?;
        debug!(
            operations = transaction.len(),
            messages = commit.messages,
            bytes = commit.bytes,
            elapsed = ?started.elapsed(),
            "Committed"
        );
        Ok(())
    }

    /// Finds the object that a refused operation belongs to.
    fn attribute(&self, transaction: &Transaction, error: kernel::Error) -> SyncError {
        let kernel::Error::Refused { operation: Some(operation), .. } = &error else { return error.into() };
        let Some((family, operation)) = transaction.operations.get(*operation) else { return error.into() };
        let owner = match operation {
            Operation::AddElement { set, key, .. } | Operation::DeleteElement { set, key, .. } => {
                SetName::from_name(&set.name).and_then(|set| self.compiler.owner(*family, set, key))
            }
            _ => None,
        };
        SyncError::Refused {
            operation: print::operation(operation, *family, &transaction.table),
            owner: owner.map(|name| format!(" of Service {name}")).unwrap_or_default(),
            source: error,
        }
    }
}

/// What the rules depend on of the node: its object and the addresses of its interfaces.
#[derive(Debug)]
pub struct NodeFacts {
    pods: PodDetector,
    node_ips: Vec<IpAddr>,
    node_port_addresses: BTreeSet<IpAddr>,
}

impl NodeFacts {
    /// Asks the host, and the Node object as far as there is one.
    pub fn new(settings: &Settings, node: &Node) -> Self {
        let host = host::addresses().unwrap_or_else(|error| {
            warn!(%error, "Cannot read the addresses of this host; node ports may not answer");
            Vec::new()
        });
        Self {
            pods: settings.detect_local.detector(node),
            node_port_addresses: settings.node_port_addresses.select(node, &host),
            node_ips: if node.addresses.is_empty() { host } else { node.addresses.clone() },
        }
    }

    /// Tells the compiler. True if rules change that no update holds.
    pub fn apply(self, compiler: &mut Compiler, state: &mut State) -> bool {
        compiler.set_node_addresses(&self.node_port_addresses);
        compiler.set_node_ips(state, self.node_ips);
        compiler.set_pod_detector(self.pods)
    }
}
