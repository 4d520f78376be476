//! Errors of operations on the kernel's tables.

use portolan_rules::ruleset::Family;
use rustix::io::Errno;

/// Why a commit or a reading failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused the transaction and has changed nothing.
    #[error("the kernel refused {}: {errno}{}", named(*operation), explained(reason.as_deref()))]
    Refused {
        /// Index in the transaction of the first refused operation; `None` if the kernel did not report it.
        operation: Option<usize>,
        /// The error number.
        errno: Errno,
        /// The kernel's explanation, if there is one (`NLMSGERR_ATTR_MSG`).
        reason: Option<String>,
    },
    /// The kernel has no representation of an operation; nothing was sent.
    #[error("operation {operation} cannot be written: {reason}")]
    Unencodable {
        /// Index in the transaction.
        operation: usize,
        /// What is wrong with the operation.
        reason: String,
    },
    /// The batch is longer than the socket may send at once; nothing was sent.
    #[error(
        "a batch of {bytes} bytes is longer than the send buffer of {limit}: grant CAP_NET_ADMIN in the initial \
         user namespace, or raise net.core.wmem_max"
    )]
    TooLarge {
        /// Length of the batch, in bytes.
        bytes: usize,
        /// Longest batch that this socket may send, in bytes.
        limit: usize,
    },
    /// The kernel's state is unknown: the tables must be read and compared.
    #[error("the kernel's state is not known: {0}")]
    Unknown(String),
    /// The process may not use `nf_tables`.
    #[error("not permitted to use nf_tables: CAP_NET_ADMIN is needed")]
    Permission,
    /// Another process owns a table (`NFT_TABLE_F_OWNER`).
    #[error(
        "table {0} belongs to another process (nft list tables shows which), and only that may change it; is \
         another portolan running with --table-owner?"
    )]
    Owned(Family),
    /// The kernel is too old, or was built without something that Portolan requires.
    #[error("Linux {release} lacks what Portolan needs: {what}")]
    Lacking {
        /// The kernel's release (`uname -r`).
        release: String,
        /// What the kernel lacks, each with the build option that adds it or the first version that has it.
        what: String,
    },
    /// A system call failed; nothing was changed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The failure.
        source: std::io::Error,
    },
}

impl Error {
    /// Returns a function for `map_err` that converts the error of a system call.
    pub(super) fn io<E: Into<std::io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| {
            let source = error.into();
            if source.kind() == std::io::ErrorKind::PermissionDenied {
                Self::Permission
            } else {
                Self::Io { what, source }
            }
        }
    }
}

fn named(operation: Option<usize>) -> String {
    operation.map_or_else(|| "the transaction".to_owned(), |index| format!("operation {index}"))
}

fn explained(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}
