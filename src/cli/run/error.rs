//! Why the agent could not start.

use std::path::PathBuf;

use crate::{
    kernel::{nftables, sysctl::SysctlError},
    observe::server::ServerError,
    source::cluster,
};

/// Why the agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("-f {path}: {source}")]
    Path { path: String, source: std::io::Error },
    #[error("{place}: {}: {source}", path.display())]
    Kubeconfig { place: String, path: PathBuf, source: std::io::Error },
    #[error("--write-config-to: {}: {source}", path.display())]
    WriteConfig { path: PathBuf, source: std::io::Error },
    #[error("cannot write the configuration: {0}")]
    Configuration(std::io::Error),
    #[error("{place}: {source}{hint}")]
    Sysctl { place: String, source: SysctlError, hint: &'static str },
    #[error("{place}: {source}")]
    Credentials { place: String, source: cluster::Error },
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    #[error(transparent)]
    Kernel(#[from] nftables::Error),
    #[error("cannot watch the addresses of this host: {0}")]
    Addresses(std::io::Error),
    #[error("cannot start a thread: {0}")]
    Runtime(std::io::Error),
    #[error(transparent)]
    Servers(#[from] ServerError),
}
