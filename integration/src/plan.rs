//! Carries out the compiler's plans, as the agent does.

use portolan::kernel::nftables::{Commit, Error, Kernel, Tables};
use portolan_rules::{
    compile::{Compiler, Plan},
    incremental::plan::{Act, PART},
    ruleset::{Ruleset, Transaction, diff::diff_into},
};

/// Everything that was compiled, as one transaction for a kernel that holds none of our tables.
pub fn creation(compiler: &Compiler) -> Transaction {
    diff_into(&compiler.config().table, &Ruleset::default(), compiler.ruleset())
}

/// Commits an update and rebuilds what it asks to rebuild. Objects that nothing leads to any more stay: see [`retire`].
///
/// # Errors
/// The error of the kernel, if it refuses a transaction.
pub fn commit(kernel: &mut Kernel, compiler: &mut Compiler, update: &Plan) -> Result<Commit, Error> {
    let mut all = Commit::default();
    for step in &update.steps {
        all += kernel.commit(step)?;
    }
    let mut outcome = Ok(());
    compiler.rebuild(&mut |act| {
        outcome = match act {
            Act::Commit(transaction) => kernel.commit(&transaction).map(|commit| all += commit),
            Act::Exchange(family) => {
                kernel.exchange(family);
                Ok(())
            }
        };
        outcome.is_ok()
    });
    outcome.map(|()| all)
}

/// Removes all objects that nothing leads to any more.
///
/// # Errors
/// The error of the kernel, if it refuses a transaction.
pub fn retire(kernel: &mut Kernel, compiler: &mut Compiler) -> Result<Commit, Error> {
    let mut all = Commit::default();
    while let Some(last) = compiler.retiring() {
        all += kernel.commit(&compiler.retire(last, PART))?;
    }
    Ok(all)
}
