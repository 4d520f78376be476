//! The first reading of the kernel: it most likely holds what this state makes, from an earlier run.

use portolan_rules::{
    compile::{Compiler, ExpectedKeys, Problem},
    diff::diff,
    ruleset::{Concat, Family, Ruleset},
    state::State,
};

use super::Tables;
use crate::kernel::{Error, Expected};

/// What the kernel would be told if it held nothing, compiled only once somebody asks.
pub(super) struct Guess<'a> {
    compiler: &'a Compiler,
    state: &'a mut State,
    compiled: Option<Compiled>,
}

/// A state compiled without knowing which endpoint stands at which slot in the kernel.
pub(super) struct Compiled {
    compiler: Compiler,
    problems: Vec<Problem>,
    keys: ExpectedKeys,
}

impl<'a> Guess<'a> {
    /// With a compiler that has compiled nothing yet.
    pub(super) fn new(compiler: &'a Compiler, state: &'a mut State) -> Self {
        Self { compiler, state, compiled: None }
    }

    /// What was compiled, if anybody asked.
    pub(super) fn finish(self) -> Option<Compiled> {
        self.compiled
    }
}

impl Expected for Guess<'_> {
    fn first(&self) -> &[&str] {
        &ExpectedKeys::FIRST
    }

    fn keys(&mut self, read: &Ruleset, family: Family, set: &str) -> Vec<Concat> {
        let Self { compiler, state, compiled } = self;
        let compiled = compiled.get_or_insert_with(|| {
            let mut compiler = compiler.clone();
            // The sets' sizes are those of the kernel.
            let problems = compiler.load(state, read);
            let keys = ExpectedKeys::new(compiler.ruleset());
            Compiled { compiler, problems, keys }
        });
        compiled.keys.keys(read, family, set)
    }
}

impl Compiled {
    /// The compiler, if the kernel holds just what it says: then there is nothing to adopt.
    pub(super) fn confirmed(self, kernel: &Ruleset) -> Option<(Compiler, Vec<Problem>)> {
        let table = self.compiler.config().table.clone();
        diff(&table, kernel, self.keys.compiled()).is_empty().then_some((self.compiler, self.problems))
    }
}

/// What a start found in the kernel, and what it makes of it.
#[derive(Debug)]
pub struct Comparison {
    /// What the kernel holds.
    pub present: Ruleset,
    /// The compiler, which has compiled all of the state.
    pub compiler: Compiler,
    /// What it found wrong.
    pub problems: Vec<Problem>,
    /// What the kernel must hold; `None` if it is known to hold just that.
    pub desired: Option<Ruleset>,
}

/// Compares a state with what an earlier run left, as the agent does at its start: endpoints keep their slots.
/// `None`, and nothing is compiled, if the kernel holds no tables of ours. The compiler has compiled nothing yet.
///
/// # Errors
/// The kernel cannot be read.
pub fn compare_at_start(
    kernel: &mut impl Tables,
    compiler: &Compiler,
    state: &mut State,
) -> Result<Option<Comparison>, Error> {
    let mut guess = Guess::new(compiler, state);
    let present = kernel.dump_expecting(&compiler.config().table, &mut guess)?;
    if present.tables.is_empty() {
        return Ok(None);
    }
    if let Some((compiler, problems)) = guess.finish().and_then(|compiled| compiled.confirmed(&present)) {
        return Ok(Some(Comparison { present, compiler, problems, desired: None }));
    }
    let mut compiler = compiler.clone();
    let problems = compiler.load(state, &present);
    let desired = Some(compiler.ruleset()).filter(|desired| *desired != present);
    Ok(Some(Comparison { present, compiler, problems, desired }))
}
