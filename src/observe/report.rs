//! The agent's reports of its work, for metrics and log lines.

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
/// The longest text of an operation or an error, in characters.
pub(super) const LONGEST: usize = 1000;

/// A report of the agent.
#[derive(Clone, Copy, Debug)]
pub enum Report<'a> {
    /// A reconcile ended.
    Reconciled(&'a Reconcile),
    /// A reconcile succeeded, and the kernel now holds this.
    Programmed(&'a State, &'a Compiler),
    /// A search for stale flows ended.
    FlowsRemoved {
        /// What was removed.
        removal: FlowRemoval,
        /// Whether the search will be retried.
        pending: bool,
    },
    /// A problem with a Service.
    Problem(&'a Problem),
}

/// Both observers receive each report.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn report(&self, report: Report<'_>) {
        self.0.report(report);
        self.1.report(report);
    }
}

/// Receives the agent's reports. Must not block.
pub trait Observer: Send + Sync {
    /// Receives a report.
    fn report(&self, report: Report<'_>);
}

portolan_rules::named! {
    /// Why a reconcile was made.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Cause {
        /// The first reconcile since the start.
        #[default]
        Start = "start",
        /// A Service, a slice, the node, or an address of the host changed.
        Change = "change",
        /// The last reconcile failed, or left something to do.
        Retry = "retry",
        /// Another process changed our tables.
        Repair = "repair",
        /// A full comparison was due ([`crate::config::settings::SyncSettings::full_period`]).
        Period = "period",
    }
}

/// One reconcile: compile, compare, commit. There is one report for each reconcile, whether it succeeded or failed,
/// even if there was nothing to do.
///
/// Numbers by family are in the order of [`portolan_rules::ruleset::Family::ALL`]: `ip`, `ip6`. Both families go
/// to the kernel in one transaction, so times cover both together.
#[derive(Clone, Debug, Default)]
pub struct Reconcile {
    /// Why it was made.
    pub cause: Cause,
    /// Whether the tables were read back and compared; otherwise only the changes were compiled.
    pub full: bool,
    /// Whether the kernel is now equal to the state, except for quarantined Services.
    pub succeeded: bool,
    /// The total time.
    pub duration: Duration,
    /// The time to read the kernel's tables back; zero if they were not read.
    pub dump: Duration,
    /// The time to compile and compare.
    pub compile: Duration,
    /// Messages, bytes and times of all commits.
    pub commit: Commit,
    /// Number of transactions that the kernel accepted.
    pub transactions: usize,
    /// Number of transactions that the kernel refused, or whose outcome is unknown. More than one while a Service that
    /// cannot be programmed is being searched for.
    pub failed_transactions: usize,
    /// Operations committed, by family.
    pub operations: [usize; 2],

    /// The first of the committed operations, up to eight.
    pub sample: Vec<Sampled>,
    /// Why the reconcile failed; `None` if it did not.
    pub error: Option<String>,

    /// The first of the objects that changed since the last report, up to eight.
    pub objects: Vec<ObjectId>,
    /// Number of changes of Services since the last report, whether or not they reached the kernel.
    pub service_changes: usize,
    /// Number of changes of `EndpointSlices` since the last report.
    pub slice_changes: usize,
    /// When the newest of these changes, or of any other cause of a reconcile, came; `None` if there has been none
    /// since the last report.
    pub queued: Option<Timestamp>,
    /// When the changes of endpoints that the kernel now holds began, according to the annotations of the slices.
    /// Empty if the reconcile failed; its triggers are then in the report of the next one that succeeds.
    pub triggers: Vec<Timestamp>,

    /// Number of Services that the kernel refuses.
    pub quarantined: usize,
    /// Number of Services that this reconcile found to be refused.
    pub newly_quarantined: usize,
    /// Number of operations that undid another process's change to our tables; zero if there was no such change.
    pub repair_operations: usize,
    /// Number of elements of each set and map, and its declared size; without dynamic sets and maps.
    pub sets: Vec<SetSize>,
    /// Number of classes in use, by family.
    pub classes: [usize; 2],
}

/// An operation that is kept. Elements are numerous and kept as they are; other operations are kept as text.
#[derive(Clone, Debug)]
pub enum Sampled {
    /// An element that was added or removed.
    Element(Family, Operation),
    /// Another operation.
    Text(Box<str>),
}

impl Sampled {
    /// Samples an operation on tables of this name.
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

/// Shortens a text to [`LONGEST`] characters, and `…` if any were cut.
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
    /// The time to find and remove them.
    pub duration: Duration,
    /// Whether the search failed and will be retried.
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
        self.commit += *commit;
    }
}
