//! The kernel side: writes transactions to `nf_tables` over netlink and reads tables back.
//!
//! Small and constant things (tables, chains, rules, declarations of sets) are built by libnftnl. Elements,
//! which are many and change, are encoded here, straight into the one buffer that the kernel is sent.
//! A transaction is one datagram, which the kernel commits as a whole or not at all.

pub(crate) mod attributes;
mod batch;
pub(crate) mod connection;
mod counters;
mod declaration;
mod dump;
mod element;
mod error;
mod libnftnl;
mod linearize;
mod monitor;
mod neighbours;
mod owner;
mod probe;
mod rule;
pub(crate) mod uapi;
mod verdict;
pub(crate) mod wire;

use std::time::{Duration, Instant};

use portolan_rules::{
    planes::counterpart,
    ruleset::{Concat, Elements, Family, Name, Ruleset, Set},
    transaction::Transaction,
};
use rustix::io::Errno;

use connection::{Connection, Received, Reply};

pub use self::{
    batch::{Batch, encode},
    counters::{Count, Counts, read_counts},
    dump::{Everything, FOREIGN_PRIORITY, Scope, Wanted},
    error::Error,
    monitor::{Event, Generation, Monitor, Subscription},
    neighbours::{Neighbour, Proxy},
    owner::Ownership,
    probe::{Feature, Features, Needs, RangeRemoval, Release, Served},
};

/// What a commit did and took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Number of netlink messages, without those that begin and end the batch.
    pub messages: usize,
    /// Length of the datagram.
    pub bytes: usize,
    /// Time to encode it.
    pub encode: Duration,
    /// Time in the kernel: from sending to the last reply.
    pub kernel: Duration,
}

/// A socket to `nf_tables` in the network namespace of the thread that opened it. It stays on its thread: a
/// commit blocks for as long as the kernel works on it.
pub struct Kernel {
    connection: Connection,
    /// Listens during dumps.
    monitor: Monitor,
    batch: Batch,
    /// Whether this kernel acknowledges the end of a batch (since 6.10). Those before only report errors.
    acknowledges: bool,
    /// In which families the plane in force bears the names of the other one ([`portolan_rules::planes`]).
    exchanged: Exchanged,
}

/// By family, in the order of [`Family::ALL`], whether the names of the two planes are exchanged in the kernel.
type Exchanged = [bool; Family::ALL.len()];

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("acknowledges", &self.acknowledges).finish_non_exhaustive()
    }
}

impl Kernel {
    /// Opens the socket and asks the kernel, with an empty batch, whether it may be used.
    /// [`Error::Permission`] without `CAP_NET_ADMIN`.
    pub fn open() -> Result<Self, Error> {
        let mut kernel = Self {
            connection: Connection::open()?,
            monitor: Monitor::deaf()?,
            batch: Batch::new(),
            acknowledges: false,
            exchanged: Exchanged::default(),
        };
        let mut empty = Vec::new();
        batch::begin(&mut empty, None);
        batch::end(&mut empty, 1);
        kernel.connection.send(&empty)?;
        let replies = kernel.replies()?;
        kernel.acknowledges = replies.acknowledged;
        match replies.refused {
            None => Ok(kernel),
            Some(reply) if reply.errno == Errno::OPNOTSUPP.raw_os_error() => Err(Error::Lacking {
                release: Release::running().to_string(),
                what: "nf_tables (CONFIG_NF_TABLES)".to_owned(),
            }),
            Some(reply) => Err(refused(&reply, None)),
        }
    }

    /// Reads the tables of this name, of families `ip` and `ip6`. A family without such a table is absent
    /// from the ruleset.
    ///
    /// Nothing of other tables is read. What the model cannot express is there all the same, as something that
    /// differs from all that Portolan writes: a set without types, a base chain of [`FOREIGN_PRIORITY`]. So is every
    /// rule, as [`Statement::Foreign`]: [`Kernel::read`] compares them with those that are expected. Elements of dynamic sets are left out, as are anonymous sets and chains,
    /// which belong to a rule. Every element of a set with the interval flag has its end; an element with an
    /// empty key is the catch-all `*`. Objects of other kinds (counters, flow tables) are not part of the model.
    ///
    /// Changes of other tables meanwhile do no harm. [`Error::Unknown`] if these tables changed during each of
    /// several attempts. The kernel walks a set from its beginning for every 32 KiB, so that the time grows with
    /// the square of a set's size: a third of a second for 100,000 elements, a quarter of a minute for 600,000.
    ///
    /// [`Statement::Foreign`]: portolan_rules::ruleset::Statement::Foreign
    pub fn dump(&mut self, table: &str) -> Result<Ruleset, Error> {
        self.read(table, &mut Everything)
    }

    /// The same, but with rules that are known, and of the elements only those that are wanted, in linear time where it is known which keys large
    /// sets may have: their elements are asked for by key. Sets that hold anything else are dumped, as they are if the
    /// kernel does not say how many elements a set has (before 6.16). Of other sets there are no elements.
    pub fn read(&mut self, table: &str, wanted: &mut dyn Wanted) -> Result<Ruleset, Error> {
        let (ruleset, exchanged) = dump::dump(&mut self.connection, &mut self.monitor, table, wanted)?;
        self.exchanged = exchanged;
        Ok(ruleset)
    }

    /// The elements of a set, which has no ranges and is declared like this one, at these keys: of those that are there. This
    /// takes the same time for each, however large the set. Changes between two calls are for the caller to notice.
    pub fn elements(
        &mut self,
        table: &str,
        family: Family,
        set: &Set,
        keys: &[Concat],
    ) -> Result<Elements, Error> {
        let name = if self.exchanged[family as usize] { counterpart(&set.name) } else { set.name.clone() };
        dump::elements_at(&mut self.connection, (family, table), &Set { name, ..set.clone() }, keys)
    }

    /// From now on the kernel refuses transactions, with `ERESTART`, if anybody else has committed since this generation
    /// (`NFNL_BATCH_GENID`); `None`: it takes them whatever happened meanwhile.
    pub fn expect_generation(&mut self, generation: Option<u32>) {
        self.batch.generation = generation;
    }

    /// From now on the other plane of a family is in force: names are exchanged ([`portolan_rules::planes`]).
    pub fn exchange(&mut self, family: Family) {
        let exchanged = &mut self.exchanged[family as usize];
        *exchanged = !*exchanged;
    }

    /// The name that an object has in rulesets, by the one that it has in the kernel.
    pub fn plain_name(&self, family: Family, name: &Name) -> Name {
        if self.exchanged[family as usize] { counterpart(name) } else { name.clone() }
    }

    /// The generation of the namespace's rulesets: it tells whether anything was committed since.
    pub fn generation(&mut self) -> Result<Generation, Error> {
        dump::generation(&mut self.connection)
    }

    /// Commits a transaction. The kernel takes all of it or nothing.
    ///
    /// [`Error::Refused`] names the operation that the kernel did not take; [`Error::Unknown`] means that it
    /// may or may not have committed.
    pub fn commit(&mut self, transaction: &Transaction) -> Result<Commit, Error> {
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
        self.connection.drain()?;
        let start = Instant::now();
        self.connection.send(self.batch.bytes())?;
        let replies = self.replies()?;
        let kernel = start.elapsed();
        if let Some(reply) = replies.refused {
            let error = refused(&reply, self.batch.operation(reply.sequence, reply.offset));
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

    /// The replies to a batch. All of them are there when sending returns: the kernel works on a batch within
    /// that system call.
    fn replies(&mut self) -> Result<Replies, Error> {
        self.each_reply(&mut |_| Ok(()))
    }

    /// The same, and shows each error.
    fn each_reply(&mut self, show: &mut dyn FnMut(&Reply) -> Result<(), Error>) -> Result<Replies, Error> {
        let mut replies = Replies::default();
        loop {
            match self.connection.receive(false)? {
                Received::Nothing => return Ok(replies),
                Received::Lost => replies.lost = true,
                Received::Bytes(length) => {
                    for reply in self.connection.messages(length).filter_map(|message| Reply::read(&message))
                    {
                        if reply.errno == 0 {
                            replies.acknowledged = true;
                            continue;
                        }
                        show(&reply)?;
                        replies.refused.get_or_insert(reply);
                    }
                }
            }
        }
    }
}

/// What the kernel said about a batch.
#[derive(Default)]
struct Replies {
    /// Whether it acknowledged the end.
    acknowledged: bool,
    /// The first message that it refused.
    refused: Option<Reply>,
    /// Whether some replies were lost.
    lost: bool,
}

fn refused(reply: &Reply, operation: Option<usize>) -> Error {
    match Errno::from_raw_os_error(reply.errno) {
        Errno::PERM => Error::Permission,
        Errno::INTR => Error::Unknown("interrupted".to_owned()),
        errno => Error::Refused { operation, errno, reason: reply.reason.clone() },
    }
}

#[cfg(test)]
mod tests;
