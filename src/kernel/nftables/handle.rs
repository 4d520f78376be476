//! The socket over which tables are read and changed.

use std::{collections::BTreeMap, time::Instant};

use portolan_rules::{
    plane::planes::counterpart,
    ruleset::{Concat, Elements, Family, Name, Operation, Ruleset, Set, Transaction},
};
use rustix::{
    io::Errno,
    thread::{MembarrierCommand, membarrier},
};

use super::{
    batch::{self, Batch},
    connection::Connection,
    dump::{self, Everything, Exchanged, Wanted},
    error::Error,
    monitor::{Generation, Monitor},
    owner::{self, Ownership},
    reader::Reader,
    release::Release,
    tables::{Commit, Tables},
    uapi::*,
};

/// A socket to `nf_tables` in the network namespace of the thread that opened it. A commit blocks until the kernel has
/// processed it.
pub struct Kernel {
    pub(super) connection: Connection,
    /// Subscribed during dumps, to notice changes.
    monitor: Monitor,
    pub(super) batch: Batch,
    /// Whether this kernel acknowledges the end of a batch (since 6.10). Older kernels only report errors.
    pub(super) acknowledges: bool,
    /// The families whose active plane has the names of the other plane ([`portolan_rules::plane::planes`]).
    exchanged: Exchanged,
}

impl Kernel {
    /// Opens the socket and checks with an empty batch that `nf_tables` may be used.
    ///
    /// # Errors
    /// [`Error::Permission`] without `CAP_NET_ADMIN`, [`Error::Lacking`] without `nf_tables`.
    pub fn open() -> Result<Self, Error> {
        let mut connection = Connection::open()?;
        let replies = connection.execute(&batch::empty(None))?;
        match replies.errors.first() {
            None => {}
            Some(reply) if reply.errno == Errno::OPNOTSUPP.raw_os_error() => {
                return Err(Error::Lacking {
                    release: Release::running().to_string(),
                    what: "nf_tables (CONFIG_NF_TABLES)".to_owned(),
                });
            }
            Some(reply) => return Err(reply.error(None)),
        }
        Ok(Self {
            connection,
            monitor: Monitor::unsubscribed()?,
            batch: Batch::default(),
            acknowledges: replies.acknowledged,
            exchanged: Exchanged::default(),
        })
    }

    /// Reads the tables of this name, of families `ip` and `ip6`. A family without such a table is absent
    /// from the ruleset.
    ///
    /// What the model cannot express is read as something that differs from everything that Portolan writes: a set
    /// without types, or a base chain of [`FOREIGN_PRIORITY`](super::FOREIGN_PRIORITY). Every rule is read as
    /// [`Statement::Foreign`]; [`Tables::read`] compares rules with the expected ones instead. Elements of dynamic sets
    /// are left out, as are anonymous sets and chains, which belong to a rule. Every element of a set with the interval
    /// flag has its end; an element with an empty key is the catch-all `*`. Objects of other kinds (counters, flow
    /// tables) are not part of the model.
    ///
    /// Other tables may change meanwhile. The kernel walks a set from its beginning for every 32 KiB, so that the time
    /// grows with the square of a set's size: a third of a second for 100,000 elements, 15 seconds for 600,000.
    ///
    /// # Errors
    /// [`Error::Unknown`] if these tables changed during each of several attempts.
    ///
    /// [`Statement::Foreign`]: portolan_rules::ruleset::Statement::Foreign
    pub fn dump(&mut self, table: &str) -> Result<Ruleset, Error> {
        self.read(table, &mut Everything)
    }

    /// Removes the tables of this name, of both families. It is not an error if there are none.
    ///
    /// A packet that is passing the rules when they are deleted looks up elements of the next generation, in which the
    /// maps of a deleted table are empty: it would be refused as if its Service had no endpoints. So the tables are
    /// made dormant first, and deleted once such packets have passed.
    pub fn remove(&mut self, table: &Name) -> Result<(), Error> {
        let mut transaction = Transaction::new(table.clone());
        // The kernel may lack a family.
        for (family, owner) in self.ownership(table)? {
            let persist = if owner == Ownership::Orphan { NFT_TABLE_F_PERSIST } else { 0 };
            self.batch.table_flags = NFT_TABLE_F_DORMANT | persist;
            let mut dormant = Transaction::new(table.clone());
            dormant.push(family, Operation::AddTable);
            // If this is refused, the deletion is refused as well, or deletes a table that is not dormant.
            let _ = self.commit(&dormant);
            // Created first if it does not exist, so that the deletion cannot fail.
            transaction.push(family, Operation::AddTable);
            transaction.push(family, Operation::DeleteTable);
        }
        self.batch.table_flags = 0;
        // Returns once every processor has left its read-side critical section of RCU, within which packets are
        // processed. If the kernel lacks this call, they have most likely passed anyway.
        let _ = membarrier(MembarrierCommand::Global);
        self.commit(&transaction).map(drop)
    }
}

impl Tables for Kernel {
    fn read(&mut self, table: &str, wanted: &mut dyn Wanted) -> Result<Ruleset, Error> {
        let Self { connection, monitor, .. } = self;
        monitor.only(table);
        monitor.subscribe(true)?;
        let read = dump::dump(connection, monitor, table, wanted);
        monitor.subscribe(false)?;
        let (ruleset, exchanged) = read?;
        self.exchanged = exchanged;
        Ok(ruleset)
    }

    fn elements(
        &mut self,
        table: &str,
        family: Family,
        set: &Set,
        keys: &[Concat],
    ) -> Result<Elements, Error> {
        let set = Set { name: self.plain_name(family, &set.name), ..set.clone() };
        dump::elements_at(&mut Reader { connection: &mut self.connection, family, table }, &set, keys)
    }

    fn expect_generation(&mut self, generation: Option<u32>) {
        self.batch.generation = generation;
    }

    fn exchange(&mut self, family: Family) {
        let exchanged = &mut self.exchanged[family as usize];
        *exchanged = !*exchanged;
    }

    fn plain_name(&self, family: Family, name: &Name) -> Name {
        if self.exchanged[family as usize] { counterpart(name) } else { name.clone() }
    }

    fn generation(&mut self) -> Result<Generation, Error> {
        dump::generation(&mut self.connection)
    }

    fn own_tables(&mut self) -> Result<bool, Error> {
        let supported = self.has_owned_tables()?;
        self.batch.table_flags = if supported { NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST } else { 0 };
        Ok(supported)
    }

    fn ownership(&mut self, table: &str) -> Result<BTreeMap<Family, Ownership>, Error> {
        owner::read(&mut self.connection, table)
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<Commit, Error> {
        let start = Instant::now();
        if self.exchanged.contains(&true) {
            let mut transaction = transaction.clone();
            transaction.swap(|family| self.exchanged[family as usize]);
            self.batch.encode(&transaction)?;
        } else {
            self.batch.encode(transaction)?;
        }
        let encode = start.elapsed();
        let (messages, bytes) = (self.batch.messages(), self.batch.bytes().len());
        let start = Instant::now();
        let replies = self.connection.execute(self.batch.bytes())?;
        let kernel = start.elapsed();
        if let Some(reply) = replies.errors.first() {
            let error = reply.error(self.batch.operation(reply.sequence, reply.offset));
            if matches!(error, Error::Permission) {
                let owned = self.ownership(&transaction.table)?;
                let others = owned.into_iter().find(|(_, whose)| *whose == Ownership::Others);
                return Err(others.map_or(error, |(family, _)| Error::Owned(family)));
            }
            return Err(error);
        }
        if self.acknowledges && !replies.acknowledged {
            return Err(Error::Unknown("no acknowledgement of a commit".to_owned()));
        }
        if !self.acknowledges && replies.lost {
            return Err(Error::Unknown("replies to a commit were lost".to_owned()));
        }
        self.batch.generation = self.batch.generation.map(|generation| generation.wrapping_add(1));
        self.batch.shrink();
        Ok(Commit { messages, bytes, encode, kernel })
    }
}
