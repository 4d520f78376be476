//! The reconciler's state, and what it takes over from the sources.

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use portolan_rules::{
    compile::{Compiler, Problem, Severity},
    model::{Node, ObjectName},
    plane::SetName,
    restart::leftovers::Leftovers,
    ruleset::{Concat, Family, Transaction},
    state::State,
};
use tracing::{error, warn};

use super::{
    back_off::BackOff,
    belief::{self, Belief},
    isolation::Isolation,
    node::HostAddresses,
    retirement::Retirement,
    stale_flows::StaleFlows,
    watch::Listener,
};
use crate::{
    api::Kind,
    config::settings::{Settings, SyncSettings},
    kernel::nftables::{self, Kernel, Tables},
    localhost::LocalhostPorts,
    observe::{
        events::{Recorder, Warning},
        health::{Health, ServiceHealth},
        report::{Observer, Reconcile, Report},
    },
    source::{Change, MOST_TRIGGERS, Update, manifest::Completeness},
};

/// Why the kernel could not be made equal to the state.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The kernel could not be read or written.
    #[error(transparent)]
    Kernel(#[from] nftables::Error),
    /// The kernel refused an operation.
    #[error("the kernel refused `{operation}`{owner}: {source}")]
    Refused {
        /// The operation, as `portolan diff` shows it.
        operation: String,
        /// The Service that it belongs to, if any.
        owner: String,
        /// The kernel's error.
        source: nftables::Error,
    },
}

/// What a reconcile did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Synced {
    /// Operations committed; zero if the kernel was equal already.
    pub operations: usize,
    /// Whether the reconcile took much memory for a moment: it compared everything, or committed many operations.
    pub large: bool,
    /// Whether something is left for the next reconcile to retry, although the rules are right.
    pub unfinished: bool,
}

/// State, compiler and kernel of one node.
#[expect(clippy::struct_excessive_bools)] // facts that have nothing to do with each other
pub struct Agent<T = Kernel> {
    pub(super) settings: Settings,
    pub(super) sync: SyncSettings,
    pub(super) kernel: T,
    pub(super) state: State,
    pub(super) compiler: Compiler,
    pub(super) health: Health,
    pub(super) recorder: Recorder,
    pub(super) observer: Box<dyn Observer>,
    pub(super) belief: Belief,
    /// Whether all Services, and all slices, are known. Nothing is written before they are.
    pub(super) services_listed: bool,
    pub(super) slices_listed: bool,
    /// How much of the manifests is known, if they are the source.
    pub(super) completeness: Completeness,
    /// Whether part of the input has been unreadable since the start. What the kernel had beyond the readable input
    /// then stays.
    pub(super) input_incomplete: bool,
    /// What stays for this reason, once the kernel has been read.
    pub(super) leftovers: Option<Leftovers>,
    pub(super) problems: usize,
    /// Whether the node's object or addresses may differ from those that the compiler has.
    pub(super) node_changed: bool,
    pub(super) host_addresses: HostAddresses,
    /// The networks of ClusterIPs.
    pub(super) service_cidrs: Vec<IpNetwork>,
    pub(super) stale_flows: StaleFlows,
    pub(super) service_health: ServiceHealth,
    pub(super) localhost: LocalhostPorts,
    /// Whether the tables are to belong to this process, so that no other can change them.
    pub(super) table_owner: bool,
    /// Reports changes of other processes; unsubscribed during large commits.
    pub(super) listener: Option<Listener>,
    /// What is left of a comparison in parts.
    pub(super) check: Check,
    /// Whether the kernel reports how many elements a set has (since Linux 6.16), as far as is known.
    pub(super) kernel_counts: bool,
    pub(super) back_off: BackOff,
    pub(super) isolation: Isolation,
    /// Updates that did not reach the kernel. The differences that they cause are our own.
    pub(super) unsent: Transaction,
    pub(super) retirement: Retirement,
    /// The next report.
    pub(super) report: Reconcile,
}

/// What is left of a comparison in parts.
#[derive(Debug, Default)]
pub(super) struct Check {
    /// The Services whose elements are left to compare.
    pub services: Vec<ObjectName>,
    /// The elements that Services share.
    pub shared: Vec<(Family, SetName, Concat)>,
}

impl<T: Tables> Agent<T> {
    /// Creates an agent that has not read anything from the cluster yet.
    pub fn new(
        settings: Settings,
        kernel: T,
        health: Health,
        recorder: Recorder,
        observer: impl Observer + 'static,
    ) -> Self {
        let node = Node { name: settings.node_name.clone(), ..Node::default() };
        let compiler = Compiler::new(settings.config.clone());
        let unsent = Transaction::new(settings.config.table.clone());
        Self {
            settings,
            sync: SyncSettings::default(),
            kernel,
            state: State::new(node),
            compiler,
            health,
            recorder,
            observer: Box::new(observer),
            belief: Belief::Unknown,
            services_listed: false,
            slices_listed: false,
            completeness: Completeness::default(),
            input_incomplete: false,
            leftovers: None,
            problems: 0,
            node_changed: true,
            host_addresses: HostAddresses::default(),
            service_cidrs: Vec::new(),
            stale_flows: StaleFlows::default(),
            service_health: ServiceHealth::default(),
            localhost: LocalhostPorts::default(),
            table_owner: false,
            listener: None,
            check: Check::default(),
            kernel_counts: true,
            back_off: BackOff::default(),
            isolation: Isolation::default(),
            unsent,
            retirement: Retirement::default(),
            report: Reconcile::default(),
        }
    }

    /// Sends the answers to Services' health checks to these servers from now on.
    pub fn serve_health_checks(&mut self, service_health: ServiceHealth) {
        self.service_health = service_health;
    }

    /// Lets this proxy serve node ports on loopback addresses from now on.
    pub fn serve_localhost(&mut self, localhost: LocalhostPorts) {
        self.localhost = localhost;
    }

    /// Sets when to reconcile.
    pub fn set_sync(&mut self, sync: SyncSettings) {
        self.sync = sync;
    }

    /// Makes this process the owner of the tables, so that no other process can change them. The tables stay when this
    /// process ends. If the kernel does not support both (before 6.9), that is logged, and the tables have no owner.
    pub fn own_tables(&mut self) -> Result<(), nftables::Error> {
        self.table_owner = self.kernel.own_tables()?;
        if !self.table_owner {
            warn!("This kernel has no tables that outlive their owner; --table-owner has no effect");
        }
        Ok(())
    }

    /// Applies changes of the cluster to the state. They reach the kernel with the next [`Agent::sync`].
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match change {
                Change::Service(name, service) => {
                    self.report.service_changes += 1;
                    self.report.changed(Kind::Service, &name);
                    self.state.set_service(&name, service);
                }
                Change::Slice(name, slice) => {
                    self.report.slice_changes += 1;
                    self.report.changed(Kind::EndpointSlice, &name);
                    self.state.set_slice(&name, slice);
                }
                Change::Services(services) => {
                    self.report.service_changes += services.len();
                    self.state.replace_services(services);
                    self.services_listed = true;
                }
                Change::Slices(slices) => {
                    self.report.slice_changes += slices.len();
                    self.state.replace_slices(slices);
                    self.slices_listed = true;
                }
                Change::Node(node) => {
                    self.report.changed(Kind::Node, &ObjectName::new("", self.settings.node_name.clone()));
                    let name = self.settings.node_name.clone();
                    let unknown = || Node { name, ..Node::default() };
                    self.state.set_node(node.map_or_else(unknown, |node| Node::clone(&node)));
                    self.node_changed = true;
                }
                Change::ServiceCidrs(mut networks) => {
                    networks.extend(&self.settings.service_cidrs);
                    self.compiler.set_service_cidrs(&mut self.state, &networks);
                    self.service_cidrs = networks;
                }
            }
        }
        self.queued();
    }

    /// Makes the next sync read the addresses of the host's interfaces again.
    pub fn addresses_changed(&mut self) {
        self.node_changed = true;
        self.queued();
    }

    /// Whether enough is known to write anything: what is unknown would be deleted from the kernel.
    pub fn is_ready(&self) -> bool {
        self.services_listed && self.slices_listed
    }

    /// Applies an update. If manifests are the source, nothing that the kernel held at the start is removed until all
    /// manifests are known for the first time. From then on they stay known.
    pub fn update(&mut self, update: Update) {
        self.report.triggers.extend(update.triggers);
        // Triggers stay until the kernel takes the changes, which may take long.
        self.report.triggers.truncate(MOST_TRIGGERS);
        self.apply(update.changes);
        self.completeness = update.completeness.unwrap_or(self.completeness);
        let is_partial = match self.completeness {
            Completeness::Nothing => return,
            Completeness::Partial => true,
            Completeness::Whole => false,
        };
        // Without the Node, it is unknown how to distinguish pods from the rest.
        if is_partial && !self.is_ready() && self.settings.lacks(self.state.node()).is_some() {
            return;
        }
        if !self.is_ready() {
            self.input_incomplete = is_partial;
        } else if !is_partial && self.input_incomplete {
            self.input_incomplete = false;
            if let Some(leftovers) = self.leftovers.take() {
                leftovers.release(&mut self.state);
                // The compiler does not know the other leftovers: only a full comparison removes them.
                self.note(belief::Observation::Differs);
            }
        }
        (self.services_listed, self.slices_listed) = (true, true);
    }

    /// Notes that there is something to do.
    pub(super) fn queued(&mut self) {
        self.report.queued = Some(Timestamp::now());
        self.health.queued();
    }

    /// Whether a Service could not be programmed as specified.
    pub fn has_problems(&self) -> bool {
        self.problems > 0
    }

    /// Number of Services that are left out because the kernel refuses them.
    pub fn quarantined(&self) -> usize {
        self.state.quarantined().len()
    }

    pub(super) fn report_problems(&mut self, problems: &[Problem]) {
        for problem in problems {
            self.observer.report(Report::Problem(problem));
            match problem.severity {
                Severity::Error => {
                    self.problems += 1;
                    error!(service = %problem.service, error = problem.message, "Service is not fully programmed");
                    // The authors of Services see Events, and seldom the logs of nodes.
                    self.recorder.warn(Warning {
                        service: problem.service.clone(),
                        reason: "PartlyProgrammed",
                        action: "SyncProxyRules",
                        note: problem.message.as_str().into(),
                    });
                }
                Severity::Notice => {
                    warn!(service = %problem.service, error = problem.message, "Service has a problem");
                }
            }
        }
    }
}
