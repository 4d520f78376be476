//! Arguments of `flows`.

use clap::{Args, ValueEnum};

use super::view::ViewArgs;

/// The end of the help.
pub(super) const HELP: &str = "\
Reads connection tracking of this network namespace, which needs root.

Exit status: 0, 1 there is no such Service, 2 an error.

Examples:
  portolan flows
  portolan flows shop/web --count
  portolan flows shop/web -o json";

/// Arguments of `flows`.
#[derive(Args, Clone, Debug)]
pub struct FlowsArgs {
    /// Name of a Service, or NAMESPACE/NAME; all without it
    #[arg(value_name = "SERVICE")]
    pub service: Option<String>,

    /// Namespace of the Service, unless the name has one
    #[arg(short, long, default_value = "default")]
    pub namespace: String,

    /// Count the connections of each endpoint, rather than list them
    #[arg(long)]
    pub count: bool,

    /// Output format [default: a table]
    #[arg(short, long, value_enum)]
    pub output: Option<FlowsOutput>,

    /// Leave out the column headers
    #[arg(long)]
    pub no_headers: bool,

    /// Where the Services come from.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Output format of `flows`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlowsOutput {
    /// An array of flows, or of counts.
    Json,
}
