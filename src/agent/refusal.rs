//! The operation and the Service that the kernel's refusal of a transaction is about.

use portolan_rules::{
    model::ObjectName,
    plane::SetName,
    print,
    ruleset::{Family, Operation, Transaction},
};
use rustix::io::Errno;

use super::core::{Agent, SyncError};
use crate::kernel::nftables::{Error, Tables};

/// `ERESTART`, which is the kernel's own: no system call returns it.
const RESTART: Errno = Errno::from_raw_os_error(85);

impl<T: Tables> Agent<T> {
    /// Finds the Service that a refused operation belongs to.
    pub(super) fn owner(&self, transaction: &Transaction, operation: usize) -> Option<ObjectName> {
        let (family, operation) = transaction.operations.get(operation)?;
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
        let Some(index) = refused_operation(&error) else { return error.into() };
        let Some((family, operation)) = transaction.operations.get(index) else { return error.into() };
        let owner = self.owner_of(*family, operation);
        SyncError::Refused {
            operation: print::operation(operation, *family, &transaction.table),
            owner: owner.map(|name| format!(" of Service {name}")).unwrap_or_default(),
            source: error,
        }
    }
}

/// Whether the refused operation is about a table, set, chain or rule: only elements belong to Services. The fault is then
/// ours or the kernel's, and a search for a faulty Service is useless.
pub(super) fn is_structural(transaction: &Transaction, error: &Error) -> bool {
    let operation = refused_operation(error).and_then(|at| transaction.operations.get(at));
    operation.is_some_and(|(_, operation)| {
        !matches!(operation, Operation::AddElement { .. } | Operation::DeleteElement { .. })
    })
}

/// The kernel's reason, and the operation.
pub(super) fn reason(transaction: &Transaction, error: &Error) -> String {
    let operation = refused_operation(error).and_then(|at| transaction.operations.get(at));
    match (operation, error) {
        (Some((family, operation)), Error::Refused { errno, reason, .. }) => {
            let operation = print::operation(operation, *family, &transaction.table);
            let more = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!("the kernel refuses `{operation}`: {errno}{more}")
        }
        (Some((family, operation)), Error::Unencodable { reason, .. }) => {
            let operation = print::operation(operation, *family, &transaction.table);
            format!("`{operation}` cannot be written: {reason}")
        }
        _ => error.to_string(),
    }
}

/// The operation that an error is about.
pub(super) fn refused_operation(error: &Error) -> Option<usize> {
    match error {
        Error::Refused { operation, .. } => *operation,
        Error::Unencodable { operation, .. } => Some(*operation),
        _ => None,
    }
}

/// Whether a transaction came too late: another generation was expected ([`Tables::expect_generation`]).
pub(super) fn is_outrun(error: &Error) -> bool {
    matches!(error, Error::Refused { errno: RESTART, .. })
}

/// Whether the kernel keeps us from writing to a table, such as one that belongs to another process.
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
