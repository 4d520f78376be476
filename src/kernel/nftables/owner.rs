//! Tables that only their owner may change: the owner and persist flags of a table.
//!
//! The owner is a socket. When it closes, a table with the persist flag (kernel 6.9) stays without an owner, until a
//! process takes it over by declaring it with the owner flag again; without the persist flag it would be deleted, and
//! all traffic interrupted. Neither flag can be taken from a table or given to one that was made without them.

use std::collections::BTreeMap;

use portolan_rules::ruleset::Family;

use super::{Error, Kernel, reader::Reader, uapi::*};

/// Whose a table is.
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

impl Kernel {
    /// Has the tables that this socket declares from now on belong to it, and stay when it closes. False if this
    /// kernel lacks one of the two flags; then nothing changes. Nothing is committed to find out.
    pub fn own_tables(&mut self) -> Result<bool, Error> {
        let supported = self.has_owned_tables()?;
        self.batch.table_flags = if supported { NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST } else { 0 };
        Ok(supported)
    }

    /// Whose the tables of this name are. A family without such a table is absent.
    pub fn ownership(&mut self, table: &str) -> Result<BTreeMap<Family, Ownership>, Error> {
        let mut ownership = BTreeMap::new();
        for family in Family::ALL {
            let mut reader = Reader { connection: &mut self.connection, family, table };
            let Some((flags, owner)) = reader.table()? else { continue };
            let whose = match (flags & NFT_TABLE_F_OWNER != 0, flags & NFT_TABLE_F_PERSIST != 0) {
                (true, _) if owner == Some(self.connection.port()) => Ownership::Ours,
                (true, _) => Ownership::Others,
                (false, true) => Ownership::Orphan,
                (false, false) => Ownership::None,
            };
            ownership.insert(family, whose);
        }
        Ok(ownership)
    }
}
