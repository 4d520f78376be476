//! How commands read manifests that read them once.

use std::path::PathBuf;

use clap::Args;

/// How manifests are read, and what is assumed where they say nothing.
#[derive(Args, Clone, Debug, Default)]
pub struct ReadArgs {
    /// Read the subdirectories of directories, too
    #[arg(short = 'R', long)]
    pub recursive: bool,

    /// Make nothing up: leave out Services without a ClusterIP, and Pods that are only a template. Otherwise what a
    /// cluster would assign has stand-ins, which the output marks
    #[arg(long)]
    pub no_stand_ins: bool,

    /// Without a Node object, answer node ports at the addresses of this machine's interfaces
    #[arg(long)]
    pub host_addresses: bool,

    /// File with a KubeProxyConfiguration, as `run` takes it: its settings are those of the rules
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
