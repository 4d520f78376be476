//! Arguments of `describe`.

use clap::{Args, Subcommand, ValueEnum};

use super::view::ViewArgs;

/// The end of the help.
pub(super) const HELP: &str = "\
Exit status: 0 the Service is there, 1 it is not, 2 an error.

Examples:
  portolan describe service shop/web -f manifests/ --node node-1";

/// What is described.
#[derive(Debug, Subcommand)]
pub enum DescribeCommand {
    /// A Service: its frontends, its endpoints with their shares, and what is left out and why
    #[command(alias = "svc", alias = "services")]
    Service(DescribeServiceArgs),
}

/// Arguments of `describe service`.
#[derive(Args, Debug)]
pub struct DescribeServiceArgs {
    /// Name of the Service, or NAMESPACE/NAME
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Namespace of the Service, unless the name has one
    #[arg(short, long, default_value = "default")]
    pub namespace: String,

    /// When to use colours.
    #[arg(long, help = "When to use colours; NO_COLOR is respected", value_enum, default_value_t = When::Auto)]
    pub color: When,

    /// Whose view it is.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
