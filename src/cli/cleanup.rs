//! `cleanup`: remove Portolan's tables, or kube-proxy's.

use std::process::ExitCode;

use clap::Args;
use portolan_rules::ruleset::Name;

use crate::{
    cli::{arguments::LoggingArgs, output::Ended},
    config::settings::{KUBE_PROXY_TABLE, table_name},
    kernel::nftables::Kernel,
};

/// The text at the end of the help.
pub(super) const HELP: &str = "Exit status: 0 the tables were removed or did not exist, 1 an error.";

/// Arguments of `cleanup`.
#[derive(Args, Debug)]
pub struct CleanupArgs {
    /// Name of the tables to remove
    #[arg(long, value_name = "NAME", default_value = "portolan")]
    pub table_name: String,

    /// Remove the tables of kube-proxy's nftables mode instead, once it no longer runs on this node
    #[arg(long, conflicts_with = "table_name")]
    pub kube_proxy: bool,

    /// How much to log.
    #[command(flatten)]
    pub logging: LoggingArgs,
}

/// Removes the tables of both families, or kube-proxy's tables instead. Missing tables are not an error.
pub fn cleanup(args: &CleanupArgs) -> Ended {
    let table = if args.kube_proxy { Name::from(KUBE_PROXY_TABLE) } else { table_name(&args.table_name)? };
    Kernel::open()?.remove(&table)?;
    Ok(ExitCode::SUCCESS)
}
