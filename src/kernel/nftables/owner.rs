//! The owner and persist flags of a table: only its owner may change a table with an owner.
//!
//! The owner is a socket. When it closes, a table with the persist flag (kernel 6.9) remains without an owner, until a
//! process takes it over by declaring it with the owner flag again; without the persist flag it would be deleted, which
//! interrupts all traffic. Neither flag can be removed from a table, or added to one that was created without it.

use std::collections::BTreeMap;

use portolan_rules::ruleset::Family;

use super::{connection::Connection, error::Error, reader::Reader, uapi::*};

/// The owner of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The table was created without an owner, and cannot have one.
    None,
    /// The owner is gone; the first process that declares the table takes it over.
    Orphan,
    /// This socket owns the table.
    Ours,
    /// Another socket owns the table, and only that socket may change it.
    Others,
}

/// Reads the owners of the tables of this name. A family without such a table is absent.
pub(super) fn read(connection: &mut Connection, table: &str) -> Result<BTreeMap<Family, Ownership>, Error> {
    let mut ownership = BTreeMap::new();
    for family in Family::ALL {
        let Some((flags, owner)) = Reader { connection, family, table }.table()? else { continue };
        let whose = match (flags & NFT_TABLE_F_OWNER != 0, flags & NFT_TABLE_F_PERSIST != 0) {
            (true, _) if owner == Some(connection.port()) => Ownership::Ours,
            (true, _) => Ownership::Others,
            (false, true) => Ownership::Orphan,
            (false, false) => Ownership::None,
        };
        ownership.insert(family, whose);
    }
    Ok(ownership)
}
