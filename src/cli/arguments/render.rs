//! Arguments of `render` and `diff`.

use clap::{Args, ValueEnum};

use super::input::InputArgs;

/// The end of the help of `render`.
pub(super) const RENDER: &str = "\
Exit status: 0 all input was used, 1 some was not (one line each on stderr). If a path cannot be read or
nothing could be used of it, nothing is printed: `nft -f -` then changes nothing.

Examples:
  portolan render -f web.yaml
  portolan render -f web.yaml --cluster-cidr 10.128.0.0/14 -o json
  portolan render -f web.yaml | nft -c -f -";

/// The end of the help of `diff`.
pub(super) const DIFF: &str = "\
Exit status: 0 nothing would change, 1 something would, 2 an error.

Examples:
  portolan diff -f manifests/ && echo in sync";

/// Arguments of `render`.
#[derive(Args, Debug)]
pub struct RenderArgs {
    /// Notation: what `nft -f` takes, or libnftables JSON
    #[arg(short, long, value_enum, default_value_t = Output::Nft)]
    pub output: Output,

    /// Input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// Notation of `render`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// nft's own.
    Nft,
    /// libnftables JSON.
    Json,
}
