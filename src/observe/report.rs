//! Reports of the agent's work, for metrics and log lines.

use std::time::Duration;

use jiff::Timestamp;
use portolan_rules::{
    compile::{Compiler, Problem, SetSize},
    model::{ObjectName, Protocol},
    print,
    ruleset::{Family, Name, Operation, Transaction},
    state::State,
};

use crate::{
    api::{Kind, ObjectId},
    kernel::nftables::Commit,
};

/// How many objects and operations of a reconcile are kept.
const NAMED: usize = 8;
/// The longest text of an operation or an error.
pub(super) const LONGEST: usize = 1000;

/// A report of the agent.
#[derive(Clone, Copy, Debug)]
pub enum Report<'a> {
    /// A reconcile ended.
    Reconciled(&'a Reconcile),
    /// A reconcile succeeded and programmed this.
    Programmed(&'a State, &'a Compiler),
    /// A search for stale flows ended.
    FlowsRemoved {
        /// What was removed.
        removal: FlowRemoval,
        /// Whether the search is to be retried.
        pending: bool,
    },
    /// A problem with a Service.
    Problem(&'a Problem),
}

/// Both receive them.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn report(&self, report: Report<'_>) {
        self.0.report(report);
        self.1.report(report);
    }
}

/// Receives the agent's reports. Must not block.
pub trait Observer: Send + Sync {
    /// Receives one.
    fn report(&self, report: Report<'_>);
}

portolan_rules::named! {
    /// Why a reconcile was made.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Cause {
        /// The first since the start.
        #[default]
        Start = "start",
        /// Something changed: a Service, a slice, the node, an address of the host.
        Change = "change",
        /// The last one failed, or left something to do.
        Retry = "retry",
        /// Another process changed our tables.
        Repair = "repair",
        /// It was time to compare everything ([`crate::config::settings::SyncSettings::full_period`]).
        Period = "period",
    }
}

/// One reconcile: compile, compare, commit. There is one report for each, whether it succeeded or not, also if
/// there was nothing to do.
///
/// Numbers by family are in the order of [`portolan_rules::ruleset::Family::ALL`]: `ip`, `ip6`. Both families go
/// to the kernel in one transaction, so times are of both together.
#[derive(Clone, Debug, Default)]
pub struct Reconcile {
    /// Why it was made.
    pub cause: Cause,
    /// Whether tables were read back and compared, rather than only what changed compiled.
    pub full: bool,
    /// Whether the kernel is now equal to the state, but for what is quarantined.
    pub succeeded: bool,
    /// All of it.
    pub duration: Duration,
    /// To read the kernel's tables back; zero if that was not done.
    pub dump: Duration,
    /// To compile, and to compare.
    pub compile: Duration,
    /// To encode the transactions.
    pub encode: Duration,
    /// In the kernel, committing; of transactions that it took.
    pub kernel: Duration,
    /// Transactions that the kernel took.
    pub transactions: usize,
    /// Transactions that it refused, or whose outcome is not known. More than one while a Service that cannot be
    /// programmed is being found.
    pub failed_transactions: usize,
    /// Operations committed, by family.
    pub operations: [usize; 2],
    /// Netlink messages committed.
    pub messages: usize,
    /// Length of what was committed, in bytes.
    pub bytes: usize,

    /// The first of the operations that were committed, up to eight.
    pub sample: Vec<Sampled>,
    /// Why it failed, if it did.
    pub error: Option<String>,

    /// The first of the objects that changed since the last report, up to eight.
    pub objects: Vec<ObjectId>,
    /// Changes of Services that came since the last report, whether or not they made it to the kernel.
    pub service_changes: usize,
    /// Changes of `EndpointSlices` that came since the last report.
    pub slice_changes: usize,
    /// When the newest of these changes, or of anything else that asked for a reconcile, came; `None` if nothing
    /// did since the last report.
    pub queued: Option<Timestamp>,
    /// When the changes of endpoints that the kernel now holds began, by the annotations of the slices.
    /// Empty unless it succeeded; those of a failed reconcile are in the report of the next that succeeds.
    pub triggers: Vec<Timestamp>,

    /// Number of Services that the kernel refuses.
    pub quarantined: usize,
    /// Number of those that this reconcile found.
    pub newly_quarantined: usize,
    /// Number of operations that undid a change that another process made to our tables; zero if there was none.
    pub repair_operations: usize,
    /// Number of elements of each set and map, and how many it is declared for; without dynamic ones.
    pub sets: Vec<SetSize>,
    /// Number of classes in use, by family.
    pub classes: [usize; 2],
}

/// An operation that is kept: an element, of which there are many, as it is, and all else as text.
#[derive(Clone, Debug)]
pub enum Sampled {
    /// An element that was added or removed.
    Element(Family, Operation),
    /// Another operation.
    Text(Box<str>),
}

impl Sampled {
    /// Keeps an operation on tables of this name.
    pub fn new(family: Family, operation: &Operation, table: &Name) -> Self {
        match operation {
            Operation::AddElement { .. } | Operation::DeleteElement { .. } => {
                Self::Element(family, operation.clone())
            }
            _ => Self::Text(shortened(print::operation(operation, family, table))),
        }
    }

    /// The operation as `portolan diff` shows it.
    pub fn text(&self, table: &Name) -> String {
        match self {
            Self::Element(family, operation) => print::operation(operation, *family, table),
            Self::Text(text) => text.to_string(),
        }
    }
}

/// A text of at most [`LONGEST`] characters.
pub(super) fn shortened(mut text: String) -> Box<str> {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text.into()
}

/// One search for stale flows of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRemoval {
    /// The protocol.
    pub protocol: Protocol,
    /// Flows removed from connection tracking, by family.
    pub removed: [usize; 2],
    /// The time to find and to remove them.
    pub duration: Duration,
    /// Whether that failed, and is to be retried.
    pub failed: bool,
}

impl Reconcile {
    /// Notes an object that changed.
    pub(crate) fn changed(&mut self, kind: Kind, name: &ObjectName) {
        if self.objects.len() < NAMED {
            self.objects.push(ObjectId { kind, name: name.clone() });
        }
    }

    /// Notes operations that were committed.
    pub(crate) fn note_operations(&mut self, transaction: &Transaction, table: &Name) {
        let rest = NAMED.saturating_sub(self.sample.len());
        let operations = transaction.operations.iter().take(rest);
        self.sample.extend(operations.map(|(family, operation)| Sampled::new(*family, operation, table)));
    }

    /// Adds a commit.
    pub(crate) fn committed(&mut self, transactions: usize, commit: &Commit) {
        self.transactions += transactions;
        self.messages += commit.messages;
        self.bytes += commit.bytes;
        self.encode += commit.encode;
        self.kernel += commit.kernel;
    }
}
