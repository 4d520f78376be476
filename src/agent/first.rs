//! The first reading of the kernel: it most likely holds what this state makes, from an earlier run.

use portolan_rules::{
    compile::{Compiler, Problem},
    restart::ExpectedKeys,
    ruleset::{Concat, Family, Ruleset},
    state::State,
};

use super::Tables;
use crate::kernel::nftables::{Error, Wanted};

/// Reads the kernel for the first time, with what was compiled to read it fast, if anything was. The compiler has
/// compiled nothing yet.
pub(super) fn read(
    kernel: &mut impl Tables,
    compiler: &Compiler,
    state: &mut State,
) -> Result<(Ruleset, Option<Compiled>), Error> {
    let mut guess = Guess { compiler, state, compiled: None };
    let present = kernel.read(&compiler.config().table, &mut guess)?;
    Ok((present, guess.compiled))
}

/// Compiles the state for a kernel that holds this: endpoints keep their slots. Gives what is wrong with it, and
/// whether the kernel is known to hold just what it should.
pub(super) fn load(
    compiler: &mut Compiler,
    state: &mut State,
    present: &Ruleset,
    guess: Option<Compiled>,
) -> (Vec<Problem>, bool) {
    // If the kernel holds just what this says, there is nothing to adopt.
    let confirmed = guess.filter(|guess| guess.compiler.is_held_by(present));
    let Some(confirmed) = confirmed else {
        return (compiler.load(state, present), false);
    };
    *compiler = confirmed.compiler;
    (confirmed.problems, true)
}

/// What the kernel would be told if it held nothing, compiled only once somebody asks.
struct Guess<'a> {
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

impl Wanted for Guess<'_> {
    fn first(&self) -> &[&str] {
        &ExpectedKeys::FIRST
    }

    fn keys(&mut self, read: &Ruleset, family: Family, set: &str) -> Vec<Concat> {
        let Self { compiler, state, compiled } = self;
        let compiled = compiled.get_or_insert_with(|| {
            let mut compiler = compiler.clone();
            // The sets' sizes are those of the kernel.
            let problems = compiler.load(state, read);
            let keys = ExpectedKeys::new(&compiler);
            Compiled { compiler, problems, keys }
        });
        let keys = compiled.keys.take(read, family, set);
        if !keys.is_empty() {
            return keys;
        }
        // Asked for again, since somebody wrote while it was read.
        compiled.keys = ExpectedKeys::new(&compiled.compiler);
        compiled.keys.take(read, family, set)
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
    let (present, guess) = read(kernel, compiler, state)?;
    if present.tables.is_empty() {
        return Ok(None);
    }
    let mut compiler = compiler.clone();
    let (problems, is_equal) = load(&mut compiler, state, &present, guess);
    let desired = (!is_equal).then(|| compiler.ruleset()).filter(|desired| *desired != present);
    Ok(Some(Comparison { present, compiler, problems, desired }))
}
