//! The kernel as the reconciler needs it.

use std::collections::BTreeMap;

use portolan_rules::{
    ruleset::{Concat, Elements, Family, Name, Ruleset, Set},
    transaction::Transaction,
};

use crate::kernel::nftables::{Commit, Error, Generation, Kernel, Ownership, Wanted};

/// What the reconciler needs of the kernel; [`Kernel`] is the one that packets meet.
pub trait Tables {
    /// Reads the tables of this name, with the elements that are wanted. See [`Kernel::read`].
    fn read(&mut self, table: &str, wanted: &mut dyn Wanted) -> Result<Ruleset, Error>;

    /// Reads the elements of a set at some keys. See [`Kernel::elements`].
    fn elements(
        &mut self,
        table: &str,
        family: Family,
        set: &Set,
        keys: &[Concat],
    ) -> Result<Elements, Error>;

    /// Commits a transaction, all of it or nothing. See [`Kernel::commit`].
    fn commit(&mut self, transaction: &Transaction) -> Result<Commit, Error>;

    /// Has commits be refused if anybody else has committed since a generation, or not. See
    /// [`Kernel::expect_generation`].
    fn expect_generation(&mut self, generation: Option<u32>) {
        let _ = generation;
    }

    /// From now on the other plane of a family is in force. See [`Kernel::exchange`].
    fn exchange(&mut self, family: Family);

    /// The name that an object has in rulesets, by the one that it has in the kernel. See [`Kernel::plain_name`].
    fn plain_name(&self, family: Family, name: &Name) -> Name;

    /// The generation of all rulesets; its thread is the caller's, as the kernel numbers it.
    fn generation(&mut self) -> Result<Generation, Error>;

    /// Has tables that are made from now on belong to us; false if the kernel cannot. See [`Kernel::own_tables`].
    fn own_tables(&mut self) -> Result<bool, Error>;

    /// Whose the tables of this name are. See [`Kernel::ownership`].
    fn ownership(&mut self, table: &str) -> Result<BTreeMap<Family, Ownership>, Error>;
}

impl Tables for Kernel {
    fn read(&mut self, table: &str, wanted: &mut dyn Wanted) -> Result<Ruleset, Error> {
        Self::read(self, table, wanted)
    }

    fn elements(
        &mut self,
        table: &str,
        family: Family,
        set: &Set,
        keys: &[Concat],
    ) -> Result<Elements, Error> {
        Self::elements(self, table, family, set, keys)
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<Commit, Error> {
        Self::commit(self, transaction)
    }

    fn expect_generation(&mut self, generation: Option<u32>) {
        Self::expect_generation(self, generation);
    }

    fn exchange(&mut self, family: Family) {
        Self::exchange(self, family);
    }

    fn plain_name(&self, family: Family, name: &Name) -> Name {
        Self::plain_name(self, family, name)
    }

    fn generation(&mut self) -> Result<Generation, Error> {
        Self::generation(self)
    }

    fn own_tables(&mut self) -> Result<bool, Error> {
        Self::own_tables(self)
    }

    fn ownership(&mut self, table: &str) -> Result<BTreeMap<Family, Ownership>, Error> {
        Self::ownership(self, table)
    }
}
