//! `cleanup`: remove Portolan's tables, or kube-proxy's.

use std::process::ExitCode;

use portolan_rules::ruleset::Name;

use crate::{
    cli::{arguments::CleanupArgs, output},
    config::settings::{KUBE_PROXY_TABLE, table_name},
    kernel::nftables::Kernel,
};

/// Removes the tables of both families, or kube-proxy's in their place. It is not an error if there are none.
pub fn cleanup(args: &CleanupArgs) -> ExitCode {
    let table = if args.kube_proxy { Ok(Name::from(KUBE_PROXY_TABLE)) } else { table_name(&args.table_name) };
    let table = match table {
        Ok(table) => table,
        Err(error) => return output::fail(&error),
    };
    let removed = Kernel::open().and_then(|mut kernel| kernel.remove(&table));
    removed.map_or_else(|error| output::fail(&error), |()| ExitCode::SUCCESS)
}
