//! `cleanup`: remove Portolan's tables.

use std::process::ExitCode;

use portolan_rules::{
    ruleset::{Family, Name},
    transaction::{Operation, Transaction},
};

use crate::{
    cli::CleanupArgs,
    kernel::{Error, Kernel},
    settings::{KUBE_PROXY_TABLE, table_name},
};

/// Removes the tables of both families, and kube-proxy's if asked to. Nothing to remove is no error.
pub fn cleanup(args: &CleanupArgs) -> ExitCode {
    let own = match table_name(args.table_name.as_deref()) {
        Ok(name) => name,
        Err(error) => return super::fail(&error),
    };
    let kube_proxy = args.kube_proxy.then(|| Name::from(KUBE_PROXY_TABLE));
    match [own].into_iter().chain(kube_proxy).try_for_each(|table| remove(&table)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(&error),
    }
}

/// Removes the tables of this name in both families, at once.
pub fn remove(table: &Name) -> Result<(), Error> {
    let mut kernel = Kernel::open()?;
    let mut transaction = Transaction::new(table.clone());
    for family in Family::ALL {
        // Created first if it is not there, so that deleting it cannot fail.
        transaction.push(family, Operation::AddTable);
        transaction.push(family, Operation::DeleteTable);
    }
    kernel.commit(&transaction).map(drop)
}
