//! Arguments of `cleanup`.

use clap::Args;

use super::input::LoggingArgs;

/// The end of the help.
pub(super) const HELP: &str = "Exit status: 0 the tables are gone or never were, 1 an error.";

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
