//! A cold start: compiles on one thread while the kernel commits, on this one, what is compiled already.

use std::{
    sync::mpsc::sync_channel,
    thread,
    time::{Duration, Instant},
};

use portolan_rules::{
    compile::{Compiler, Loaded},
    ruleset::Transaction,
    state::State,
};

use crate::kernel::nftables::{Commit, Error, Tables};

/// Transactions that wait for the kernel.
const WAITING: usize = 2;

/// The outcome of a cold start.
#[derive(Debug)]
pub struct ColdStart {
    /// What was compiled, and whether the kernel took all of it.
    pub loaded: Loaded,
    /// Number of transactions.
    pub transactions: usize,
    /// The sum of the commits.
    pub commit: Commit,
    /// Operations, by family.
    pub operations: [usize; 2],
    /// Longest time of a commit in the kernel, during which all other commits wait.
    pub longest: Duration,
    /// All of it.
    pub elapsed: Duration,
}

/// Compiles the state, and commits it to a kernel that holds no tables of ours. The compiler has
/// compiled all of the state in the end, whatever the outcome; without the last part, what is in the kernel is not hooked
/// in.
///
/// # Errors
/// A commit failed.
pub fn cold_start(
    kernel: &mut impl Tables,
    compiler: &mut Compiler,
    state: &mut State,
) -> (ColdStart, Result<(), Error>) {
    let started = Instant::now();
    let (parts, inbox) = sync_channel(WAITING);
    thread::scope(|scope| {
        let compiling = scope
            .spawn(move || compiler.load_in_parts(state, &mut |transaction| parts.send(transaction).is_ok()));
        let mut done = ColdStart {
            loaded: Loaded::Incomplete(Vec::new()),
            transactions: 0,
            commit: Commit::default(),
            operations: [0; 2],
            longest: Duration::ZERO,
            elapsed: Duration::ZERO,
        };
        let mut result = Ok(());
        for transaction in &inbox {
            match kernel.commit(&transaction) {
                Ok(commit) => done.add(&transaction, &commit),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        drop(inbox);
        done.loaded = compiling.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        done.elapsed = started.elapsed();
        (done, result)
    })
}

impl ColdStart {
    fn add(&mut self, transaction: &Transaction, commit: &Commit) {
        self.transactions += 1;
        for (family, _) in &transaction.operations {
            self.operations[*family as usize] += 1;
        }
        self.commit.messages += commit.messages;
        self.commit.bytes += commit.bytes;
        self.commit.encode += commit.encode;
        self.commit.kernel += commit.kernel;
        self.longest = self.longest.max(commit.kernel);
    }
}
