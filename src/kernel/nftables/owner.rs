//! Tables that nobody else may change: the owner and persist flags of a table.
//!
//! The owner is a socket. When it closes, a table with the persist flag (kernel 6.9) stays and belongs to nobody,
//! until somebody takes it over by declaring it with the owner flag again; without that flag it would go, and all
//! traffic with it. Neither flag can be taken from a table or given to one that was made without them.

use std::collections::BTreeMap;

use portolan_rules::ruleset::Family;

use super::{
    Error, Kernel,
    connection::Outcome,
    uapi::{
        NFT_MSG_GETTABLE, NFT_TABLE_F_OWNER, NFT_TABLE_F_PERSIST, NFTA_TABLE_FLAGS, NFTA_TABLE_NAME,
        NFTA_TABLE_OWNER,
    },
};

/// Whose a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It was made without an owner, and can have none.
    Nobodys,
    /// Its owner has gone: whoever comes first can take it over.
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
        let port = self.connection.port();
        let mut ownership = BTreeMap::new();
        for family in Family::ALL {
            let (mut flags, mut owner) = (0, None);
            let own = [(NFTA_TABLE_NAME, table)];
            let outcome =
                self.connection.request(NFT_MSG_GETTABLE, family.number(), false, &own, |message| {
                    let attributes = message.attributes();
                    flags = attributes.number(NFTA_TABLE_FLAGS).unwrap_or(0);
                    owner = attributes.number(NFTA_TABLE_OWNER);
                })?;
            match outcome {
                Outcome::Absent => {}
                Outcome::Incomplete => return Err(Error::Unknown("no answer about a table".to_owned())),
                Outcome::Complete | Outcome::Interrupted => {
                    let whose = match (flags & NFT_TABLE_F_OWNER != 0, flags & NFT_TABLE_F_PERSIST != 0) {
                        (true, _) if owner == Some(port) => Ownership::Ours,
                        (true, _) => Ownership::Others,
                        (false, true) => Ownership::Orphan,
                        (false, false) => Ownership::Nobodys,
                    };
                    ownership.insert(family, whose);
                }
            }
        }
        Ok(ownership)
    }
}
