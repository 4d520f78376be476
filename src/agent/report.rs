//! What a reconcile did and took, for metrics and log lines.

use std::time::Duration;

/// One reconcile: compile, compare, commit.
#[derive(Clone, Debug, Default)]
pub struct Reconcile {
    /// Whether everything was compared with the kernel, rather than only what changed compiled.
    pub full: bool,
    /// Whether the kernel is now equal to the state.
    pub succeeded: bool,
    /// All of it.
    pub duration: Duration,
    /// To read the kernel's tables back; zero if that was not done.
    pub dump: Duration,
    /// To compile, and to compare.
    pub compile: Duration,
    /// To encode the transaction.
    pub encode: Duration,
    /// In the kernel, committing.
    pub kernel: Duration,
    /// Operations committed.
    pub operations: usize,
    /// Length of what the kernel was sent, in bytes.
    pub bytes: usize,
}
