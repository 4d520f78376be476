//! The start over what an earlier run left: compile, compare, and compile again only where something differs.

use portolan_rules::{
    compile::{Compiler, Problem},
    diff::diff_into,
    ruleset::Ruleset,
    state::State,
};

use crate::kernel::{Error, Kernel};

/// What a start found in the kernel, and what it makes of it.
#[derive(Debug)]
pub struct Comparison {
    /// What the kernel holds.
    pub present: Ruleset,
    /// The compiler, which has compiled all of the state.
    pub compiler: Compiler,
    /// What it found wrong.
    pub problems: Vec<Problem>,
    /// What the kernel must hold, as the compiler says; `None` if it is known to hold just that.
    pub desired: Option<Ruleset>,
}

/// Compiles the state and compares it with the kernel; `None`, and nothing is compiled, if the kernel holds no
/// tables of ours.
///
/// `pristine` makes a compiler that has compiled nothing. The first one compiles as if there were nothing in the
/// kernel: most often that is just what an earlier run left, and large sets are then read by their keys
/// ([`Kernel::dump_expecting`]). If anything differs, a second one compiles again with what is there, so that
/// endpoints keep their slots, and gives out numbers after `number_origin` ([`Compiler::set_number_origin`]).
pub fn compare_at_start(
    kernel: &mut Kernel,
    state: &mut State,
    pristine: &dyn Fn() -> Compiler,
    number_origin: u16,
) -> Result<Option<Comparison>, Error> {
    let mut first = pristine();
    let table = first.config().table.clone();
    let mut problems = None;
    let (present, expected) = kernel.dump_expecting(&table, &mut |skeleton| {
        // Asked again if the tables change meanwhile.
        if problems.is_some() {
            first = pristine();
        }
        problems = Some(first.load(state, skeleton));
        first.ruleset()
    })?;
    let (Some(expected), Some(problems)) = (expected, problems) else { return Ok(None) };
    if diff_into(&table, &present, expected).is_empty() {
        return Ok(Some(Comparison { present, compiler: first, problems, desired: None }));
    }
    drop(first);
    let mut compiler = pristine();
    compiler.set_number_origin(number_origin);
    let problems = compiler.load(state, &present);
    let desired = Some(compiler.ruleset());
    Ok(Some(Comparison { present, compiler, problems, desired }))
}
