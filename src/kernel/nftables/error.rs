//! What can go wrong between Portolan and the kernel.

use portolan_rules::ruleset::Family;
use rustix::io::Errno;

/// Why the kernel does not hold what it should, or could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused the transaction and has changed nothing.
    #[error("the kernel refused {}: {errno}{}", named(*operation), explained(reason.as_deref()))]
    Refused {
        /// Index in the transaction of the first operation that it refused; `None` if it did not say.
        operation: Option<usize>,
        /// The error number.
        errno: Errno,
        /// The kernel's explanation, where it gives one (`NLMSGERR_ATTR_MSG`).
        reason: Option<String>,
    },
    /// An operation has no form in the kernel; nothing was sent.
    #[error("operation {operation} cannot be written: {reason}")]
    Unencodable {
        /// Index in the transaction.
        operation: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The batch is longer than the socket may send at once; nothing was sent.
    #[error(
        "a batch of {bytes} bytes is longer than the send buffer of {limit}: grant CAP_NET_ADMIN in the initial \
         user namespace, or raise net.core.wmem_max"
    )]
    TooLarge {
        /// Length of the batch.
        bytes: usize,
        /// Longest batch that this socket may send.
        limit: usize,
    },
    /// It is not known what the kernel holds now: read the table back and compare.
    #[error("the kernel's state is not known: {0}")]
    Unknown(String),
    /// The process may not use `nf_tables`.
    #[error("not permitted to use nf_tables: CAP_NET_ADMIN is needed")]
    Permission,
    /// A table has an owner (`NFT_TABLE_F_OWNER`), and it is not us.
    #[error(
        "table {0} belongs to another process (nft list tables shows which), and only that may change it; is \
         another portolan running with --table-owner?"
    )]
    Owned(Family),
    /// The kernel was built without something that Portolan cannot do without, or is too old.
    #[error("Linux {release} lacks what Portolan needs: {what}")]
    Lacking {
        /// Which Linux (`uname -r`).
        release: String,
        /// What it lacks, each with the option that adds it or its first version.
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
    /// For `map_err`: an error of a system call.
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
