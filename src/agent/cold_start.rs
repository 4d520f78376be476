//! A cold start: another thread compiles while this thread commits what is already compiled.

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

/// The most transactions that wait for the kernel.
const WAITING: usize = 2;

/// The outcome of a cold start.
#[derive(Debug)]
pub struct ColdStart {
    /// What was compiled, and whether all parts of it were taken.
    pub loaded: Loaded,
    /// Number of transactions.
    pub transactions: usize,
    /// The sum of the commits.
    pub commit: Commit,
    /// Operations, by family.
    pub operations: [usize; 2],
    /// The longest time that one commit took in the kernel. All other commits wait during that time.
    pub longest: Duration,
    /// Duration of the cold start.
    pub elapsed: Duration,
}

/// Compiles the state, and commits it to a kernel that holds no tables of ours. In the end the compiler has compiled
/// the whole state, whatever the outcome. Until the last part is committed, nothing in the kernel is hooked in.
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
        self.commit += *commit;
        self.longest = self.longest.max(commit.kernel);
    }
}
