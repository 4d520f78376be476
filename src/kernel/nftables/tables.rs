//! The interface between the reconciler and the kernel.

use std::{collections::BTreeMap, ops::AddAssign, time::Duration};

use portolan_rules::ruleset::{Concat, Elements, Family, Name, Ruleset, Set, Transaction};

use super::{dump::Wanted, error::Error, monitor::Generation, owner::Ownership};

/// Size and duration of a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Number of netlink messages, not counting those that begin and end the batch.
    pub messages: usize,
    /// Length of the datagram, in bytes.
    pub bytes: usize,
    /// Time to encode it.
    pub encode: Duration,
    /// Time in the kernel: from sending to the last reply.
    pub kernel: Duration,
}

impl AddAssign for Commit {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.encode += other.encode;
        self.kernel += other.kernel;
    }
}

/// Access to the tables of a kernel. [`Kernel`](super::Kernel) implements it for the running kernel.
pub trait Tables {
    /// Reads the tables of this name, as [`Kernel::dump`](super::Kernel::dump), but recognizes the expected rules, and
    /// reads only the wanted elements. Elements of large sets with known keys are requested by key, which takes linear
    /// time. A set that has elements at other keys is dumped, and so is every set if the kernel does not report numbers
    /// of elements (before 6.16).
    fn read(&mut self, table: &str, wanted: &mut dyn Wanted) -> Result<Ruleset, Error>;

    /// Reads the elements at these keys that exist, of a set without ranges with this declaration. This takes constant
    /// time for each key, however large the set is. Changes between two calls are not noticed.
    fn elements(
        &mut self,
        table: &str,
        family: Family,
        set: &Set,
        keys: &[Concat],
    ) -> Result<Elements, Error>;

    /// Commits a transaction, all of it or nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] names the refused operation. After [`Error::Unknown`] the transaction may or may not have
    /// been committed.
    fn commit(&mut self, transaction: &Transaction) -> Result<Commit, Error>;

    /// Makes the kernel refuse transactions with `ERESTART` from now on if anything else was committed since this
    /// generation (`NFNL_BATCH_GENID`). With `None` it accepts them in any case.
    fn expect_generation(&mut self, generation: Option<u32>);

    /// Activates the other plane of a family: names are exchanged from now on ([`portolan_rules::plane::planes`]).
    fn exchange(&mut self, family: Family);

    /// The name in rulesets of an object with this name in the kernel.
    fn plain_name(&self, family: Family, name: &Name) -> Name;

    /// Reads the generation of all rulesets, which each commit increments. Its thread is the calling thread, as the
    /// kernel numbers it.
    fn generation(&mut self) -> Result<Generation, Error>;

    /// Makes this socket the owner of the tables that are declared from now on, and has them persist when it closes.
    /// Returns false and changes nothing if the kernel lacks one of the two flags. Nothing is committed to find out.
    fn own_tables(&mut self) -> Result<bool, Error>;

    /// Reads the owners of the tables of this name. A family without such a table is absent.
    fn ownership(&mut self, table: &str) -> Result<BTreeMap<Family, Ownership>, Error>;
}
