//! `cleanup`: remove Portolan's tables.

use std::process::ExitCode;

use portolan_rules::{
    compile::Config,
    ruleset::Family,
    transaction::{Operation, Transaction},
};

use crate::{
    cli::CleanupArgs,
    kernel::{Error, Kernel},
};

/// Removes the tables of both families. Nothing to remove is no error.
pub fn cleanup(_: &CleanupArgs) -> ExitCode {
    match remove() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(&error),
    }
}

fn remove() -> Result<(), Error> {
    let mut kernel = Kernel::open()?;
    let mut transaction = Transaction::new(Config::default().table);
    for family in Family::ALL {
        // Created first if it is not there, so that deleting it cannot fail.
        transaction.push(family, Operation::AddTable);
        transaction.push(family, Operation::DeleteTable);
    }
    kernel.commit(&transaction).map(drop)
}
