//! `cleanup`: remove Portolan's tables, or kube-proxy's.

use std::process::ExitCode;

use portolan_rules::ruleset::{Name, Operation, Transaction};

use crate::{
    cli::arguments::CleanupArgs,
    config::settings::{KUBE_PROXY_TABLE, table_name},
    kernel::nftables::{Error, Kernel, Tables},
};

/// Removes the tables of both families, or kube-proxy's in their place. It is not an error if there are none.
pub fn cleanup(args: &CleanupArgs) -> ExitCode {
    let table = if args.kube_proxy { Ok(Name::from(KUBE_PROXY_TABLE)) } else { table_name(&args.table_name) };
    match table {
        Ok(table) => remove(&table).map_or_else(|error| super::output::fail(&error), |()| ExitCode::SUCCESS),
        Err(error) => super::output::fail(&error),
    }
}

/// Removes the tables of this name, of both families at once.
pub fn remove(table: &Name) -> Result<(), Error> {
    let mut kernel = Kernel::open()?;
    let mut transaction = Transaction::new(table.clone());
    // A kernel need not have both families.
    for family in kernel.ownership(table)?.into_keys() {
        // Created first if it is not there, so that deleting it cannot fail.
        transaction.push(family, Operation::AddTable);
        transaction.push(family, Operation::DeleteTable);
    }
    kernel.commit(&transaction).map(drop)
}
