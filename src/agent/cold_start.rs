//! A cold start: compiles on one thread while the kernel commits, on this one, what is compiled already.

use std::{
    sync::mpsc::sync_channel,
    thread,
    time::{Duration, Instant},
};

use portolan_rules::{
    compile::{Compiler, Loaded},
    state::State,
};

use crate::kernel::{Error, Kernel};

/// Elements of one transaction: few enough that the kernel's mutex, which all users of `nf_tables` wait for, is held
/// for some milliseconds only; many enough that a transaction's own cost does not show.
const PART: usize = 4096;
/// Transactions that wait for the kernel.
const WAITING: usize = 2;

/// What a cold start did and took.
#[derive(Debug)]
pub struct ColdStart {
    /// What was compiled, and whether all of it is in the kernel.
    pub loaded: Loaded,
    /// Number of transactions.
    pub transactions: usize,
    /// Operations of all of them.
    pub operations: usize,
    /// Length of all that the kernel was sent.
    pub bytes: usize,
    /// Time to encode.
    pub encode: Duration,
    /// Time in the kernel.
    pub kernel: Duration,
    /// Longest time in the kernel at once, for which everybody else had to wait.
    pub longest: Duration,
    /// All of it.
    pub elapsed: Duration,
}

/// Compiles the state and commits it to a kernel that holds no tables of ours. The compiler has compiled
/// all of the state whatever the kernel says.
pub fn cold_start(
    kernel: &mut Kernel,
    compiler: &mut Compiler,
    state: &mut State,
) -> (Option<ColdStart>, Result<(), Error>) {
    let started = Instant::now();
    let (parts, inbox) = sync_channel(WAITING);
    let (mut transactions, mut operations, mut bytes) = (0, 0, 0);
    let (mut encode, mut in_kernel, mut longest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut result = Ok(());
    let loaded = thread::scope(|scope| {
        let compiling = scope.spawn(move || {
            compiler.load_in_parts(state, PART, &mut |transaction| parts.send(transaction).is_ok())
        });
        for transaction in &inbox {
            match kernel.commit(&transaction) {
                Ok(commit) => {
                    transactions += 1;
                    operations += transaction.len();
                    bytes += commit.bytes;
                    encode += commit.encode;
                    in_kernel += commit.kernel;
                    longest = longest.max(commit.kernel);
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        drop(inbox);
        compiling.join()
    });
    let done = loaded.ok().map(|loaded| ColdStart {
        loaded,
        transactions,
        operations,
        bytes,
        encode,
        kernel: in_kernel,
        longest,
        elapsed: started.elapsed(),
    });
    (done, result)
}
