//! A plan and what it leads to.

use portolan_rules::{
    compile::{Compiler, Plan},
    incremental::plan::{Act, PART},
    ruleset::{Ruleset, Transaction},
};

use crate::apply::{Apply as _, Refusal};

/// All acts of an update or a comparison, and the transactions that remove what is no longer referred to.
pub struct WholePlan {
    pub steps: Vec<Transaction>,
    pub acts: Vec<Act>,
    pub retired: Vec<Transaction>,
}

impl WholePlan {
    pub fn of(compiler: &mut Compiler, update: &Plan) -> Self {
        let mut acts = Vec::new();
        compiler.rebuild(&mut |act| {
            acts.push(act);
            true
        });
        Self { steps: update.steps.clone(), acts, retired: retire(compiler) }
    }

    pub fn equal(compiler: &mut Compiler, kernel: &Ruleset, desired: Ruleset) -> Self {
        let mut acts = Vec::new();
        compiler.make_equal(kernel, desired, &mut |act| {
            acts.push(act);
            true
        });
        Self { steps: Vec::new(), acts, retired: retire(compiler) }
    }

    pub fn is_rebuild(&self) -> bool {
        self.acts.iter().any(|act| matches!(act, Act::Exchange(_)))
    }

    pub fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        let acts = self.acts.iter().filter_map(|act| match act {
            Act::Commit(transaction) => Some(transaction),
            Act::Exchange(_) => None,
        });
        self.steps.iter().chain(acts).chain(&self.retired)
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.transactions().map(Transaction::len).sum()
    }

    /// Applies the plan. Returns the ruleset that it leads to.
    pub fn apply(&self, kernel: &Ruleset) -> Result<Ruleset, Refusal> {
        let mut kernel = kernel.clone();
        for step in &self.steps {
            kernel = step.apply(&kernel)?;
        }
        for act in &self.acts {
            match act {
                Act::Commit(transaction) => kernel = transaction.apply(&kernel)?,
                Act::Exchange(family) => {
                    let table = kernel.tables.remove(family).expect("a table");
                    kernel.tables.insert(*family, table.swapped());
                }
            }
        }
        for part in &self.retired {
            kernel = part.apply(&kernel)?;
        }
        assert!(self.transactions().all(|part| part.len() <= PART + 512), "no part is large");
        Ok(kernel)
    }
}

fn retire(compiler: &mut Compiler) -> Vec<Transaction> {
    let mut retired = Vec::new();
    while let Some(last) = compiler.retiring() {
        retired.push(compiler.retire(last, PART));
    }
    retired
}
