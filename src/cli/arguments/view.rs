//! The view of the commands that explain: which node's it is, and where the state comes from.

use std::path::PathBuf;

use clap::Args;

use super::{LoggingArgs, ManifestArgs, ReadArgs};
use crate::config::RulesFlags;

/// Whose view is explained, and where the state comes from: manifests, the API server, or the agent that runs here.
#[derive(Args, Clone, Debug)]
pub struct ViewArgs {
    /// The node whose view it is, rather than this one
    #[arg(long, value_name = "NAME", conflicts_with = "hostname-override")]
    pub node: Option<String>,

    /// File or directory with manifests (YAML or JSON), or - for standard input; may be repeated. Without it, the agent
    /// that runs here is asked, or else the API server
    #[arg(short = 'f', long = "filename", value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    pub filenames: Vec<PathBuf>,

    /// List the cluster of this kubeconfig, rather than ask the agent that runs here
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig, rather than its current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// The socket of the agent to ask [default: /run/portolan/TABLE.sock]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["filenames", "kubeconfig", "context", "node"])]
    pub socket: Option<PathBuf>,

    /// What to accept of manifests.
    #[command(flatten)]
    pub manifests: ManifestArgs,

    /// What to assume where they say nothing.
    #[command(flatten)]
    pub read: ReadArgs,

    /// How much to log.
    #[command(flatten)]
    pub logging: LoggingArgs,

    /// Options of the rules.
    #[command(flatten)]
    pub options: RulesFlags,
}
