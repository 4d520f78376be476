//! What the agent reports of its work, for metrics and log lines.

use std::time::Duration;

use jiff::Timestamp;
use portolan_rules::{
    compile::{Compiler, Problem, SetSize},
    model::Protocol,
    state::State,
};

use crate::kernel::nftables::Commit;

/// What the agent reports.
#[derive(Clone, Copy, Debug)]
pub enum Report<'a> {
    /// A reconcile was made.
    Reconciled(&'a Reconcile),
    /// A reconcile succeeded: this is programmed.
    Programmed(&'a State, &'a Compiler),
    /// Stale flows were looked for.
    FlowsRemoved {
        /// What was removed.
        removal: FlowRemoval,
        /// Whether some are left to be looked for.
        pending: bool,
    },
    /// Something is wrong with a Service.
    Problem(&'a Problem),
}

/// Takes the agent's reports. Must not block.
pub trait Observer: Send + Sync {
    /// Takes one.
    fn report(&self, report: Report<'_>);
}

/// Why a reconcile was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The first since the start.
    #[default]
    Start,
    /// Something changed: a Service, a slice, the node, an address of the host.
    Change,
    /// The last one failed, or left something to do.
    Retry,
    /// Somebody else changed our tables.
    Repair,
    /// It was time to compare everything ([`crate::config::settings::SyncSettings::full_period`]).
    Period,
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

    /// Changes of Services that came since the last report, whether or not they made it to the kernel.
    pub service_changes: usize,
    /// Changes of `EndpointSlices` that came since the last report.
    pub slice_changes: usize,
    /// When the newest of these changes, or of anything else that asked for a reconcile, came; `None` if nothing
    /// did since the last report.
    pub queued: Option<Timestamp>,
    /// When the changes of endpoints that the kernel now holds began, as [`crate::source::Update::triggers`] told.
    /// Empty unless it succeeded; those of a failed reconcile are in the report of the next that succeeds.
    pub triggers: Vec<Timestamp>,

    /// How many Services the kernel cannot be given, now.
    pub quarantined: usize,
    /// Services that were found to be such in this reconcile.
    pub newly_quarantined: usize,
    /// Whether somebody else's change of our tables was found and undone.
    pub repaired: bool,
    /// Operations that undid it.
    pub repair_operations: usize,
    /// Number of elements of each set and map, and how many it is declared for; without dynamic ones.
    pub sets: Vec<SetSize>,
    /// Number of classes in use, by family.
    pub classes: [usize; 2],
}

/// One look for stale flows of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRemoval {
    /// The protocol.
    pub protocol: Protocol,
    /// Flows removed from connection tracking, by family.
    pub removed: [usize; 2],
    /// To look for them, and to remove them.
    pub duration: Duration,
    /// Whether that failed, and will be tried again.
    pub failed: bool,
}

impl Reconcile {
    /// Adds what commits did and took.
    pub(crate) fn committed(&mut self, transactions: usize, commit: &Commit) {
        self.transactions += transactions;
        self.messages += commit.messages;
        self.bytes += commit.bytes;
        self.encode += commit.encode;
        self.kernel += commit.kernel;
    }
}
