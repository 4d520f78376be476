//! The arguments of the commands that explain: `describe`, `trace`, `check`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use portolan_rules::model::Protocol;

use super::InputArgs;

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

/// Arguments of `trace`.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// Where the connection comes from: pod/NAMESPACE/NAME, an address, node, outside, or outside=ADDRESS
    #[arg(value_name = "FROM")]
    pub from: String,

    /// Where it goes to.
    #[arg(
        value_name = "TO",
        help = "Where it goes to: svc/NAMESPACE/NAME[:PORT], NAME.NAMESPACE.svc[:PORT], ADDRESS:PORT, or :NODEPORT"
    )]
    pub to: String,

    /// Its protocol
    #[arg(short, long, value_name = "PROTOCOL", value_parser = protocol, default_value = "tcp")]
    pub protocol: Protocol,

    /// Whose view it is.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Notation of the findings
    #[arg(short, long, value_enum, default_value_t = CheckOutput::Text)]
    pub output: CheckOutput,

    /// Exit with status 1 if there is a finding at least as bad
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    pub fail_on: FailOn,

    /// Findings to ignore: a file with a code and NAMESPACE/NAME on each line
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,

    /// Whose view it is.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Whose view is explained, of which input.
#[derive(Args, Debug)]
pub struct ViewArgs {
    /// The node whose view it is, rather than this one
    #[arg(long, value_name = "NAME", conflicts_with = "hostname-override")]
    pub node: Option<String>,

    /// Input.
    #[command(flatten)]
    pub input: InputArgs,
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

/// Notation of `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// Lines for people.
    Text,
    /// An array of findings.
    Json,
    /// SARIF 2.1.0, as code scanning services read it.
    Sarif,
    /// Annotations of GitHub Actions.
    Github,
}

/// Which findings make `check` fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Errors.
    Error,
    /// Errors and warnings.
    Warning,
}

fn protocol(text: &str) -> Result<Protocol, &'static str> {
    let lower = text.to_ascii_lowercase();
    Protocol::ALL.into_iter().find(|protocol| protocol.name() == lower).ok_or("must be tcp, udp or sctp")
}
