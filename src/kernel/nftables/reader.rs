//! Reads a table from the kernel. All readings of tables go through this module.

use std::ops::ControlFlow;

use portolan_rules::ruleset::Family;

use super::{
    attributes::{Attributes, Message},
    connection::{Connection, Outcome},
    error::Error,
    uapi::*,
    wire,
};

/// How often to repeat a request because some table changed meanwhile.
const REPETITIONS: usize = 100;

/// The error for a reading that is incomplete because tables changed or replies were lost; it must be repeated.
pub(super) fn incomplete() -> Error {
    Error::Unknown("replies about a table are missing".to_owned())
}

/// A table to read.
pub(super) struct Reader<'a> {
    pub connection: &'a mut Connection,
    pub family: Family,
    pub table: &'a str,
}

impl Reader<'_> {
    /// Reads the flags of the table (`NFTA_TABLE_FLAGS`), and the address of the socket that owns it. `None` if there
    /// is no such table.
    pub(super) fn table(&mut self) -> Result<Option<(c_int, Option<u32>)>, Error> {
        let mut table = (0, None);
        let outcome = self.ask(NFT_MSG_GETTABLE, false, None, |attributes| {
            table = (attributes.flags(NFTA_TABLE_FLAGS), attributes.number(NFTA_TABLE_OWNER));
            ControlFlow::Continue(())
        })?;
        match outcome {
            Outcome::Complete | Outcome::Interrupted => Ok(Some(table)),
            Outcome::Absent => Ok(None),
            Outcome::Incomplete => Err(incomplete()),
        }
    }

    /// Reads the objects of one kind with `read`, which may skip some. An interrupted dump is repeated, since it may
    /// lack objects: the kernel resumes a dump by a count of the objects of all tables.
    pub(super) fn objects<T>(
        &mut self,
        kind: c_int,
        mut read: impl FnMut(Attributes<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        for _ in 0..REPETITIONS {
            let mut objects = Vec::new();
            let outcome = self.ask(kind, true, None, |attributes| {
                objects.extend(read(attributes));
                ControlFlow::Continue(())
            })?;
            match outcome {
                Outcome::Complete => return Ok(objects),
                Outcome::Absent => break,
                Outcome::Interrupted | Outcome::Incomplete => {}
            }
        }
        Err(incomplete())
    }

    /// Calls `read` for each element of a set, until it breaks. Other tables may change meanwhile: within a set the
    /// kernel resumes correctly.
    pub(super) fn elements(
        &mut self,
        set: &str,
        mut read: impl FnMut(Attributes<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome, Error> {
        self.ask(NFT_MSG_GETSETELEM, true, Some(set), |attributes| {
            let list = attributes.nested(NFTA_SET_ELEM_LIST_ELEMENTS);
            list.iter().try_for_each(|element| read(element.nested()))
        })
    }

    fn ask(
        &mut self,
        kind: c_int,
        dump: bool,
        set: Option<&str>,
        mut read: impl FnMut(Attributes<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome, Error> {
        let Self { connection, family, table } = self;
        let family = family.number();
        let write = |request: &mut Vec<u8>| {
            wire::string(request, NFTA_TABLE_NAME, table);
            if let Some(set) = set {
                wire::string(request, NFTA_SET_ELEM_LIST_SET, set);
            }
        };
        // The kernel does not filter every kind of dump by table.
        let read = |message: &Message<'_>| {
            let attributes = message.attributes();
            if message.family() == family && attributes.string(NFTA_TABLE_NAME) == Some(table) {
                return read(attributes);
            }
            ControlFlow::Continue(())
        };
        connection.ask(wire::nf_tables(kind), family, dump, write, read)
    }
}
