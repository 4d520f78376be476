//! Finds the operation and the Service that the kernel's refusal of a transaction is about.

use portolan_rules::{
    model::ObjectName,
    plane::SetName,
    print,
    ruleset::{Family, Operation, Transaction},
};
use rustix::io::Errno;

use super::core::{Agent, SyncError};
use crate::kernel::nftables::{Error, Tables};

/// `ERESTART`, which is internal to the kernel: no system call returns it.
const RESTART: Errno = Errno::from_raw_os_error(85);

impl<T: Tables> Agent<T> {
    /// Finds the Service that the refused operation of a transaction belongs to.
    pub(super) fn owner_of_refused(&self, transaction: &Transaction, error: &Error) -> Option<ObjectName> {
        let (family, operation) = refused(transaction, error)?;
        self.owner_of(*family, operation).cloned()
    }

    pub(super) fn owner_of(&self, family: Family, operation: &Operation) -> Option<&ObjectName> {
        match operation {
            Operation::AddElement { set, key, .. } | Operation::DeleteElement { set, key, .. } => {
                self.compiler.owner(family, SetName::from_name(&set.name)?, key)
            }
            _ => None,
        }
    }

    /// Adds the refused operation and its Service to an error.
    pub(super) fn explain(&self, transaction: &Transaction, error: Error) -> SyncError {
        let Some((family, operation)) = refused(transaction, &error) else { return error.into() };
        let owner = self.owner_of(*family, operation);
        SyncError::Refused {
            operation: print::operation(operation, *family, &transaction.table),
            owner: owner.map(|name| format!(" of Service {name}")).unwrap_or_default(),
            source: error,
        }
    }
}

/// Whether the refused operation is about a table, set, chain or rule. Only elements belong to Services: the fault is
/// then ours or the kernel's, and a search for a faulty Service is useless.
pub(super) fn is_structural(transaction: &Transaction, error: &Error) -> bool {
    refused(transaction, error).is_some_and(|(_, operation)| {
        !matches!(operation, Operation::AddElement { .. } | Operation::DeleteElement { .. })
    })
}

/// Returns the kernel's reason, with the refused operation.
pub(super) fn reason(transaction: &Transaction, error: &Error) -> String {
    let Some((family, operation)) = refused(transaction, error) else { return error.to_string() };
    let operation = print::operation(operation, *family, &transaction.table);
    match error {
        Error::Refused { errno, reason, .. } => {
            let more = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!("the kernel refuses `{operation}`: {errno}{more}")
        }
        Error::Unencodable { reason, .. } => format!("`{operation}` cannot be written: {reason}"),
        _ => error.to_string(),
    }
}

/// Returns the operation of a transaction that an error is about.
fn refused<'t>(transaction: &'t Transaction, error: &Error) -> Option<&'t (Family, Operation)> {
    let at = match error {
        Error::Refused { operation, .. } => (*operation)?,
        Error::Unencodable { operation, .. } => *operation,
        _ => return None,
    };
    transaction.operations.get(at)
}

/// Whether a transaction came too late: the kernel no longer had the expected generation
/// ([`Tables::expect_generation`]).
pub(super) fn is_outrun(error: &Error) -> bool {
    matches!(error, Error::Refused { errno: RESTART, .. })
}

/// Whether the kernel prevents us from writing to a table, such as a table that belongs to another process.
pub(super) fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Owned(_) | Error::Permission)
}

/// Whether an error may be the fault of one object, rather than of the system.
pub(super) fn is_attributable(error: &Error) -> bool {
    match error {
        Error::Refused { errno, .. } => {
            !matches!(*errno, Errno::NOMEM | Errno::NOBUFS | Errno::AGAIN | Errno::INTR | Errno::ACCESS)
        }
        Error::Unencodable { .. } => true,
        _ => false,
    }
}
