//! Arguments of `render`.

use clap::{Args, ValueEnum};

use super::input::InputArgs;

/// The end of the help.
pub(super) const HELP: &str = "\
Exit status: 0 all input was used, 1 some was not (one line each on stderr). If a path cannot be read or
nothing could be used of it, nothing is printed: `nft -f -` then changes nothing.

Examples:
  portolan render -f web.yaml
  portolan render -f web.yaml --cluster-cidr 10.128.0.0/14 -o json
  portolan render -f web.yaml | nft -c -f -
  portolan render -f web.yaml -o iptables | iptables-restore -n --test";

/// Arguments of `render`.
#[derive(Args, Debug)]
pub struct RenderArgs {
    /// Output format: what `nft -f` takes, libnftables JSON, or what iptables-restore and ip6tables-restore take
    #[arg(short, long, value_enum, default_value_t = Output::Nft)]
    pub output: Output,

    /// Input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// Output format of `render`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// nft's own.
    Nft,
    /// libnftables JSON.
    Json,
    /// For `iptables-restore -n` and `ip6tables-restore -n`.
    Iptables,
}
