//! Arguments of `support-bundle`.

use std::path::PathBuf;

use clap::Args;

use super::view::ViewArgs;

/// The end of the help.
pub(super) const HELP: &str = "\
Needs root. Addresses and names of Services, endpoints and Nodes are kept; there are no tokens, certificates or Secrets.

Exit status: 0 it is written; what could not be had is named in errors.txt. 2 an error.

Examples:
  portolan support-bundle
  portolan support-bundle --file /tmp/node-1.tar.gz
  kubectl -n kube-system exec ds/portolan -- portolan support-bundle --file - > node-1.tar.gz";

/// Arguments of `support-bundle`.
#[derive(Args, Clone, Debug)]
pub struct BundleArgs {
    /// The archive, or - for standard output [default: portolan-NODE-TIME.tar.gz here]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// The agent to ask.
    #[command(flatten)]
    pub view: ViewArgs,
}
