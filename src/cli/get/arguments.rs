//! Arguments of `get`.

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::arguments::ViewArgs;

/// The text at the end of the help.
pub const HELP: &str = "\
Without -f and --kubeconfig, the agent that runs on this node answers.

Exit status: 0 success, 1 a named Service does not exist, 2 an error.

Examples:
  portolan get services -A
  portolan get services web -n shop -o yaml
  portolan get endpoints -n shop --watch
  portolan get commits -o json";

/// What is listed.
#[derive(Debug, Subcommand)]
pub enum GetCommand {
    /// Services as they are programmed on this node
    #[command(alias = "service", alias = "svc")]
    Services(GetArgs),

    /// Endpoints of Services, with their shares on this node
    #[command(alias = "endpoint", alias = "ep")]
    Endpoints(GetArgs),

    /// The last commits of the running agent: what they changed and why, and the last that failed
    #[command(alias = "commit")]
    Commits(CommitsArgs),
}

/// Arguments of `get services` and `get endpoints`.
#[derive(Args, Clone, Debug)]
pub struct GetArgs {
    /// Names of Services, or NAMESPACE/NAME [default: all Services]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// Namespace of the Services
    #[arg(short, long, default_value = "default")]
    pub namespace: String,

    /// Services of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,

    /// Output format [default: a table]
    #[arg(short, long, value_enum)]
    pub output: Option<GetOutput>,

    /// Leave out the column headers
    #[arg(long)]
    pub no_headers: bool,

    /// Look again every second, and print what changed
    #[arg(short, long)]
    pub watch: bool,

    /// The node whose view is listed.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Arguments of `get commits`.
#[derive(Args, Clone, Debug)]
pub struct CommitsArgs {
    /// Output format [default: plain text]
    #[arg(short, long, value_enum)]
    pub output: Option<CommitsOutput>,

    /// The agent to ask.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Output format of `get services` and `get endpoints`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GetOutput {
    /// A table with more columns.
    Wide,
    /// One object.
    Json,
    /// The same in YAML.
    Yaml,
    /// Only names.
    Name,
}

/// Output format of `get commits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CommitsOutput {
    /// One object.
    Json,
}
