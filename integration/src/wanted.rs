//! What tests and measurements know about tables before they read them.

use portolan::kernel::nftables::{Commit, Error, Kernel, Tables, Wanted};
use portolan_rules::ruleset::{Chain, Family, Name, Ruleset, Set, Transaction};

use crate::Between;

/// Wants all elements, dumped, and rules as in this ruleset.
pub struct Expecting<'a>(pub &'a Ruleset);

impl Wanted for Expecting<'_> {
    fn chains(&mut self, family: Family, _: &[Name]) -> Vec<Chain> {
        self.0.tables.get(&family).into_iter().flat_map(|table| table.chains.values().cloned()).collect()
    }
}

/// Whether the kernel reports the number of elements of sets, which it does only since Linux 6.16.
pub struct Counting(pub bool);

impl Between for Counting {
    fn commit(&mut self, kernel: &mut Kernel, transaction: &Transaction) -> Result<Commit, Error> {
        kernel.commit(transaction)
    }

    fn read(&mut self, kernel: &mut Kernel, table: &str, wanted: &mut dyn Wanted) -> Result<Ruleset, Error> {
        if self.0 { kernel.read(table, wanted) } else { kernel.read(table, &mut Uncounted(wanted)) }
    }
}

/// Wants the same, without the numbers of elements. No keys are requested, so sets are dumped.
struct Uncounted<'a>(&'a mut dyn Wanted);

impl Wanted for Uncounted<'_> {
    fn chains(&mut self, family: Family, names: &[Name]) -> Vec<Chain> {
        self.0.chains(family, names)
    }

    fn wants(&mut self, family: Family, set: &Set, _: Option<u32>) -> bool {
        self.0.wants(family, set, None)
    }
}
