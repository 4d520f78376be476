//! What the reconciler needs of the kernel.

use std::{collections::BTreeMap, time::Duration};

use portolan_rules::ruleset::{Concat, Elements, Family, Name, Ruleset, Set, Transaction};

use super::{dump::Wanted, error::Error, monitor::Generation, owner::Ownership};

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

/// The tables of a kernel; [`Kernel`](super::Kernel) has those that packets meet.
pub trait Tables {
    /// Reads the tables of this name, as [`Kernel::dump`](super::Kernel::dump), but with the rules that are known, and with
    /// the wanted elements only. Of large sets whose possible keys are known, elements are asked for by key, which takes
    /// linear time. Sets with other elements are dumped, and so are all if the kernel does not say how many elements a set
    /// has (before 6.16).
    fn read(&mut self, table: &str, wanted: &mut dyn Wanted) -> Result<Ruleset, Error>;

    /// The elements at these keys, as far as there are any, of a set without ranges that is declared like this one. This
    /// takes the same time for each, however large the set is. Changes between two calls are not noticed.
    fn elements(
        &mut self,
        table: &str,
        family: Family,
        set: &Set,
        keys: &[Concat],
    ) -> Result<Elements, Error>;

    /// Commits a transaction. The kernel takes all of it or nothing.
    ///
    /// [`Error::Refused`] names the operation that the kernel did not take; [`Error::Unknown`] means that it
    /// may or may not have committed.
    fn commit(&mut self, transaction: &Transaction) -> Result<Commit, Error>;

    /// From now on the kernel refuses transactions, with `ERESTART`, if there was another commit since this generation
    /// (`NFNL_BATCH_GENID`); `None`: it takes them in any case.
    fn expect_generation(&mut self, generation: Option<u32>);

    /// From now on the other plane of a family is in force: names are exchanged ([`portolan_rules::plane::planes`]).
    fn exchange(&mut self, family: Family);

    /// The name that an object has in rulesets, by the one that it has in the kernel.
    fn plain_name(&self, family: Family, name: &Name) -> Name;

    /// The generation of all rulesets, which each commit raises; its thread is the caller's, as the kernel numbers it.
    fn generation(&mut self) -> Result<Generation, Error>;

    /// Has the tables that are declared from now on belong to this socket, and stay when it closes. False if this
    /// kernel lacks one of the two flags; then nothing changes. Nothing is committed to find out.
    fn own_tables(&mut self) -> Result<bool, Error>;

    /// The owners of the tables of this name. A family without such a table is absent.
    fn ownership(&mut self, table: &str) -> Result<BTreeMap<Family, Ownership>, Error>;
}
