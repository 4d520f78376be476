//! The first reading of the kernel: most likely the kernel holds what an earlier run made of the same state.

use portolan_rules::{
    compile::{Compiler, Problem},
    plane::is_of_attributes,
    ruleset::{Ruleset, diff::diff},
    state::State,
};

use super::{
    compiled::Compiled,
    large::{self, Equal},
    reading::Small,
};
use crate::kernel::nftables::{Error, Tables};

/// How many times large sets are compared at most, if another process commits meanwhile. A change of our tables is
/// noticed anyway.
const COMPARISONS: usize = 3;

/// What the first reading found.
#[derive(Default)]
pub(super) struct First {
    /// What the kernel holds. Sets that were compared while they were read have only the elements that differ.
    pub kernel: Ruleset,
    /// What was compiled for the kernel, if anything was.
    pub guess: Option<Compiled>,
    /// What the kernel must hold, if sets were compared while they were read. These sets have only the elements that
    /// differ.
    pub desired: Option<Ruleset>,
    /// Whether nothing was left out. If the kernel does not report how many elements sets have, elements that no packet
    /// meets may be left out.
    pub is_whole: bool,
}

/// Reads the kernel for the first time. The compiler has compiled nothing yet.
pub(super) fn read(
    kernel: &mut impl Tables,
    compiler: &Compiler,
    state: &mut State,
    mut equal: Equal,
) -> Result<First, Error> {
    let mut comparisons = 0;
    loop {
        let before = kernel.generation()?.id;
        let mut small = Small::with_attributes(compiler);
        let mut present = kernel.read(&compiler.config().table, &mut small)?;
        let unread = small.unread;
        if unread.is_empty() {
            return Ok(First { kernel: present, is_whole: true, ..First::default() });
        }
        if unread.iter().any(|(_, set, _)| is_of_attributes(*set)) {
            // Endpoint ids are adopted when everything is known.
            equal = Equal::Kept;
        }
        let is_whole = unread.iter().all(|(_, _, count)| count.is_some());
        let mut guess = Compiled::new(kernel, compiler, state, &mut present, &unread)?;
        let desired = large::compare(kernel, &mut guess, state, &mut present, (&unread, equal))?;
        if desired.is_none() && equal == Equal::Left {
            equal = Equal::Kept;
            continue;
        }
        comparisons += 1;
        if kernel.generation()?.id == before || comparisons == COMPARISONS {
            return Ok(First { kernel: present, guess: Some(guess), desired, is_whole });
        }
    }
}

/// The state, compiled and compared with the kernel.
pub(super) struct Adopted {
    /// What is wrong with the state.
    pub problems: Vec<Problem>,
    /// Whether the kernel is known to hold exactly what it must.
    pub is_equal: bool,
    /// What the kernel must hold, as in [`First`].
    pub desired: Option<Ruleset>,
}

/// Compiles the state for a kernel that holds `present`: endpoints keep their slots.
pub(super) fn load(
    compiler: &mut Compiler,
    state: &mut State,
    present: &Ruleset,
    (guess, desired): (Option<Compiled>, Option<Ruleset>),
) -> Adopted {
    // If sets were compared, the guess was compiled for this kernel. Otherwise, if the kernel holds exactly the guess,
    // there is nothing to adopt.
    let confirmed = guess.filter(|guess| desired.is_some() || guess.compiler.is_held_by(present));
    let problems = match confirmed {
        Some(confirmed) => {
            *compiler = confirmed.compiler;
            confirmed.problems
        }
        None => compiler.load(state, present),
    };
    let is_equal = match &desired {
        Some(desired) => diff(&compiler.config().table, present, desired).is_empty(),
        None => compiler.is_held_by(present),
    };
    Adopted { problems, is_equal, desired }
}

/// What a start found in the kernel, and what the kernel must hold.
#[derive(Debug)]
pub struct Comparison {
    /// What the kernel holds, if it differs from what it must hold.
    pub present: Ruleset,
    /// The compiler, which has compiled all of the state.
    pub compiler: Compiler,
    /// What the compiler found wrong with the state.
    pub problems: Vec<Problem>,
    /// What the kernel must hold; `None` if the kernel is known to hold exactly that.
    pub desired: Option<Ruleset>,
}

/// Compares a state with what an earlier run left, as the agent does at its start: endpoints keep their slots. Returns
/// `None`, and compiles nothing, if the kernel holds no tables of ours. `compiler` must not have compiled anything yet.
///
/// # Errors
/// The kernel cannot be read.
pub fn compare_at_start(
    kernel: &mut impl Tables,
    compiler: &Compiler,
    state: &mut State,
) -> Result<Option<Comparison>, Error> {
    let First { kernel: present, guess, desired, .. } = read(kernel, compiler, state, Equal::Left)?;
    if present.tables.is_empty() {
        return Ok(None);
    }
    let mut compiler = compiler.clone();
    let Adopted { problems, is_equal, desired } = load(&mut compiler, state, &present, (guess, desired));
    let desired = (!is_equal).then(|| desired.unwrap_or_else(|| compiler.ruleset()));
    let desired = desired.filter(|desired| *desired != present);
    Ok(Some(Comparison { present, compiler, problems, desired }))
}
