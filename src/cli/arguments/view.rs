//! Arguments of the commands that explain: whose view is explained, and where the state comes from.

use std::path::PathBuf;

use clap::Args;

use super::SourceArgs;

/// The node whose view is explained, and where the state comes from: manifests, the API server, or the agent that runs
/// here.
#[derive(Args, Clone, Debug)]
pub struct ViewArgs {
    /// Give the view of this node, rather than of the node that the command runs on
    #[arg(long, value_name = "NAME", conflicts_with = "hostname-override")]
    pub node: Option<String>,

    /// Socket of the agent, which is asked if neither manifests nor a cluster is given [default:
    /// /run/portolan/TABLE.sock]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["filenames", "kubeconfig", "context", "node"])]
    pub socket: Option<PathBuf>,

    /// Where the state comes from.
    #[command(flatten)]
    pub source: SourceArgs,
}
