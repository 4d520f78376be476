//! The kernel as the reconciler needs it.

use std::collections::BTreeMap;

use portolan_rules::{
    ruleset::{Family, Name, Ruleset},
    transaction::Transaction,
};

use crate::kernel::{Commit, Error, Expected, Generation, Kernel, Ownership, Scope};

/// What the reconciler needs of the kernel; [`Kernel`] is the one that packets meet.
pub trait Tables {
    /// Reads the tables of this name; with a scope, of the elements only those of the sets in it. See
    /// [`Kernel::dump`].
    fn dump(&mut self, table: &str, scope: Option<&Scope>) -> Result<Ruleset, Error>;

    /// The same without a scope, fast for large sets of which somebody knows what they may hold. See
    /// [`Kernel::dump_expecting`].
    fn dump_expecting(&mut self, table: &str, expected: &mut dyn Expected) -> Result<Ruleset, Error> {
        let _ = expected;
        self.dump(table, None)
    }

    /// Commits a transaction, all of it or nothing. See [`Kernel::commit`].
    fn commit(&mut self, transaction: &Transaction) -> Result<Commit, Error>;

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
    fn dump(&mut self, table: &str, scope: Option<&Scope>) -> Result<Ruleset, Error> {
        match scope {
            None => Self::dump(self, table),
            Some(scope) => self.dump_scope(table, scope),
        }
    }

    fn dump_expecting(&mut self, table: &str, expected: &mut dyn Expected) -> Result<Ruleset, Error> {
        Self::dump_expecting(self, table, expected)
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<Commit, Error> {
        Self::commit(self, transaction)
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
