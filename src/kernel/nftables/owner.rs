//! Tables that only their owner may change: the owner and persist flags of a table.
//!
//! The owner is a socket. When it closes, a table with the persist flag (kernel 6.9) stays without an owner, until a
//! process takes it over by declaring it with the owner flag again; without the persist flag it would be deleted, and
//! all traffic interrupted. Neither flag can be taken from a table or given to one that was made without them.

use std::collections::BTreeMap;

use portolan_rules::ruleset::Family;

use super::{connection::Connection, error::Error, reader::Reader, uapi::*};

/// The owner of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It was made without an owner, and can have none.
    None,
    /// Its owner has gone; the first process that declares it takes it over.
    Orphan,
    /// This socket's.
    Ours,
    /// Another socket's: only that may change it.
    Others,
}

/// The owners of the tables of this name. A family without such a table is absent.
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
