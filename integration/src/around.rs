//! The kernel, with an interceptor between it and the agent.

use std::collections::BTreeMap;

use portolan::kernel::nftables::{Commit, Error, Generation, Kernel, Ownership, Tables, Wanted};
use portolan_rules::ruleset::{Concat, Elements, Family, Name, Ruleset, Set, Transaction};

/// Intercepts the agent's requests to the kernel.
pub trait Between {
    /// Called in place of a commit.
    fn commit(&mut self, kernel: &mut Kernel, transaction: &Transaction) -> Result<Commit, Error>;

    /// Called in place of reading the tables.
    fn read(&mut self, kernel: &mut Kernel, table: &str, wanted: &mut dyn Wanted) -> Result<Ruleset, Error> {
        kernel.read(table, wanted)
    }

    /// Called before elements are read at keys.
    fn reads_at(&mut self, _: &[Concat]) {}
}

/// The kernel and the interceptor.
pub struct Around<B> {
    kernel: Kernel,
    between: B,
}

impl<B: Between> Around<B> {
    /// Opens the kernel in the network namespace of this thread.
    pub fn open(between: B) -> Result<Self, Error> {
        Kernel::open().map(|kernel| Self::new(kernel, between))
    }

    /// Wraps this kernel.
    pub const fn new(kernel: Kernel, between: B) -> Self {
        Self { kernel, between }
    }
}

impl<B: Between> Tables for Around<B> {
    fn read(&mut self, table: &str, wanted: &mut dyn Wanted) -> Result<Ruleset, Error> {
        self.between.read(&mut self.kernel, table, wanted)
    }

    fn elements(
        &mut self,
        table: &str,
        family: Family,
        set: &Set,
        keys: &[Concat],
    ) -> Result<Elements, Error> {
        self.between.reads_at(keys);
        self.kernel.elements(table, family, set, keys)
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<Commit, Error> {
        self.between.commit(&mut self.kernel, transaction)
    }

    fn expect_generation(&mut self, generation: Option<u32>) {
        self.kernel.expect_generation(generation);
    }

    fn exchange(&mut self, family: Family) {
        self.kernel.exchange(family);
    }

    fn plain_name(&self, family: Family, name: &Name) -> Name {
        self.kernel.plain_name(family, name)
    }

    fn generation(&mut self) -> Result<Generation, Error> {
        self.kernel.generation()
    }

    fn own_tables(&mut self) -> Result<bool, Error> {
        self.kernel.own_tables()
    }

    fn ownership(&mut self, table: &str) -> Result<BTreeMap<Family, Ownership>, Error> {
        self.kernel.ownership(table)
    }
}
