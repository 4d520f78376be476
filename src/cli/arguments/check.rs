//! Arguments of `check`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::view::ViewArgs;

/// The end of the help.
pub(super) const HELP: &str = "\
Exit status: 0 nothing to fail for, 1 something, 2 an error.

Examples:
  portolan check -f manifests/ --fail-on warning
  portolan check -f manifests/ -o sarif > portolan.sarif";

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Output format of the findings
    #[arg(short, long, value_enum, default_value_t = CheckOutput::Text)]
    pub output: CheckOutput,

    /// Exit with status 1 if a finding has this severity or a worse one
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    pub fail_on: FailOn,

    /// Findings to ignore: a file with a code and NAMESPACE/NAME on each line
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,

    /// The same as -f
    #[arg(value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    pub paths: Vec<PathBuf>,

    /// Whose view it is.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Output format of `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// Plain text.
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
