//! Arguments of `top`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The text at the end of the help.
pub const HELP: &str = "\
Connections are counted if the agent runs with --endpoint-counters.

Keys: q quits, the arrows select, Enter opens a Service and Esc leaves it, s sorts by the next column, r
reverses the order, / filters by a part of the name.

Exit status: 0 the user quit, 2 an error.

Examples:
  portolan top
  portolan top shop/web
  portolan top -n shop --sort refused";

/// Arguments of `top`.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// Name of a Service to open at the start, or NAMESPACE/NAME
    #[arg(value_name = "SERVICE")]
    pub service: Option<String>,

    /// Services of this namespace only [default: all]
    #[arg(short, long)]
    pub namespace: Option<String>,

    /// What to sort Services by
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,

    /// The socket of the agent to ask [default: /run/portolan/TABLE.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Name of the agent's tables
    #[arg(long, value_name = "NAME", default_value = "portolan")]
    pub table_name: String,
}

/// What to sort Services by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// New connections a second, the most first.
    #[default]
    Rate,
    /// New connections since the agent started, the most first.
    Connections,
    /// Refused connections, the most first.
    Refused,
    /// Endpoints that are used, the fewest first.
    Endpoints,
    /// Namespace and name.
    Name,
}
