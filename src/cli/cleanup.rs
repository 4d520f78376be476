//! `cleanup`: remove Portolan's tables, or kube-proxy's.

use std::process::ExitCode;

use portolan_rules::ruleset::Name;

use crate::{
    cli::arguments::CleanupArgs,
    config::settings::{KUBE_PROXY_TABLE, table_name},
    kernel::nftables::{Error, Kernel},
};

/// Removes the tables of both families, or kube-proxy's in their place. It is not an error if there are none.
pub fn cleanup(args: &CleanupArgs) -> ExitCode {
    let table = if args.kube_proxy { Ok(Name::from(KUBE_PROXY_TABLE)) } else { table_name(&args.table_name) };
    match table {
        Ok(table) => remove(&table).map_or_else(|error| super::output::fail(&error), |()| ExitCode::SUCCESS),
        Err(error) => super::output::fail(&error),
    }
}

/// Removes the tables of this name, of both families.
pub fn remove(table: &Name) -> Result<(), Error> {
    Kernel::open()?.remove(table)
}
