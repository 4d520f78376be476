//! Arguments of `diff`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::input::InputArgs;

/// The end of the help.
pub(super) const HELP: &str = "\
Exit status: 0 nothing would change, 1 something would, 2 an error.

Examples:
  portolan diff -f manifests/ && echo in sync
  portolan diff -f manifests/ -o nft
  portolan diff --from old/ -f new/ -o markdown";

/// Arguments of `diff`.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// Compare with these manifests rather than with the kernel; may be repeated
    #[arg(long, value_name = "PATH")]
    pub from: Vec<PathBuf>,

    /// Notation: a line a Service, JSON, a table for a pull request, or what nft calls each object
    #[arg(short, long, value_enum, default_value_t = DiffOutput::Text)]
    pub output: DiffOutput,

    /// Input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// Notation of `diff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffOutput {
    /// A line a Service.
    Text,
    /// An object with all changes of each Service.
    Json,
    /// A table.
    Markdown,
    /// A line an object of nftables.
    Nft,
}
