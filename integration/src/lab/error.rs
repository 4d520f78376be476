//! What can go wrong in the lab itself.

use std::path::PathBuf;

/// A failure to build or use the lab; never the outcome of a probe.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Not run by root.
    #[error("the lab makes network namespaces: run this as root")]
    NotRoot,
    /// The kernel refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// A command ran and failed.
    #[error("{command} failed: {stderr}")]
    Command {
        /// The command, shortened.
        command: String,
        /// What it wrote to stderr.
        stderr: String,
    },
    /// The `portolan` binary is not where it should be.
    #[error("no portolan binary at {0}: run `cargo build --bin portolan`, or set PORTOLAN_BIN")]
    NoBinary(PathBuf),
    /// The agent did not come up.
    #[error("portolan on {node} {what}; its stderr:\n{stderr}")]
    Agent {
        /// The node it ran on.
        node: String,
        /// What happened to the agent.
        what: String,
        /// What the agent wrote to stderr.
        stderr: String,
    },
}

impl LabError {
    /// Wraps an I/O error with a description of what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
