//! Why there is nothing to explain.

use std::path::PathBuf;

use super::socket::SocketError;
use crate::{cli::input, config, kernel::nftables, source::cluster as api};

/// The agent's answer is not what is expected.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Text.
    #[error("the agent's answer cannot be read (is it of another version?): {0}")]
    Text(#[from] serde_json::Error),
    /// Values.
    #[error("the agent's answer cannot be read (is it of another version?): {0}")]
    Values(#[from] rmp_serde::decode::Error),
}

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of the flags.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// Of what is read.
    #[error(transparent)]
    Input(#[from] input::Error),
    /// Of the API server.
    #[error(transparent)]
    Cluster(#[from] api::Error),
    /// Of the agent.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Of its answer.
    #[error(transparent)]
    Agent(#[from] Unreadable),
    /// Of the kernel.
    #[error(transparent)]
    Kernel(#[from] nftables::Error),
    /// There is no source.
    #[error(
        "nothing to explain: no agent listens at {}, {tables}, and there is no kubeconfig; give -f FILE or --kubeconfig FILE",
        socket.display()
    )]
    NoSource {
        /// The socket of the agent.
        socket: PathBuf,
        /// Why the kernel's tables are no source either.
        tables: &'static str,
    },
}
