//! The first reading of the kernel: it most likely holds what this state makes, from an earlier run.

use portolan_rules::{
    compile::{Compiler, ExpectedKeys, PerSet, Problem, SetName},
    ruleset::{Concat, Element, Elements, Family, Ruleset, Set},
    state::State,
};

use super::Tables;
use crate::kernel::{Error, Wanted};

/// What the first reading found.
pub(super) struct First {
    /// What the kernel holds.
    pub kernel: Ruleset,
    /// What was compiled to read it fast, if anything was.
    pub guess: Option<Compiled>,
    /// Whether the kernel holds just what that says: then its large sets have no elements in `kernel`.
    pub is_held: bool,
}

/// Reads the kernel for the first time. The compiler has compiled nothing yet.
pub(super) fn read(
    kernel: &mut impl Tables,
    compiler: &Compiler,
    state: &mut State,
) -> Result<First, Error> {
    let before = kernel.generation()?.id;
    let mut small = Small::default();
    let mut present = kernel.read(&compiler.config().table, &mut small)?;
    if small.unread.is_empty() {
        return Ok(First { kernel: present, guess: None, is_held: false });
    }
    let compiled = Compiled::new(compiler, state, &present);
    if small.is_rest_held(kernel, &compiled.compiler, &present)? && kernel.generation()?.id == before {
        return Ok(First { kernel: present, guess: Some(compiled), is_held: true });
    }
    drop(present);
    let mut guess = Guess { compiler, state, compiled: Some(compiled) };
    present = kernel.read(&compiler.config().table, &mut guess)?;
    Ok(First { kernel: present, guess: guess.compiled, is_held: false })
}

/// The same, with all elements, whatever they are.
pub(super) fn read_whole(
    kernel: &mut impl Tables,
    compiler: &Compiler,
    state: &mut State,
) -> Result<First, Error> {
    let mut guess = Guess { compiler, state, compiled: None };
    let present = kernel.read(&compiler.config().table, &mut guess)?;
    Ok(First { kernel: present, guess: guess.compiled, is_held: false })
}

/// Compiles the state for a kernel that holds this: endpoints keep their slots. Gives what is wrong with it, and
/// whether the kernel is known to hold just what it should.
pub(super) fn load(
    compiler: &mut Compiler,
    state: &mut State,
    present: &Ruleset,
    (guess, is_held): (Option<Compiled>, bool),
) -> (Vec<Problem>, bool) {
    // If the kernel holds just what this says, there is nothing to adopt.
    let confirmed = guess.filter(|guess| is_held || guess.compiler.is_held_by(present));
    let Some(confirmed) = confirmed else {
        return (compiler.load(state, present), false);
    };
    *compiler = confirmed.compiler;
    (confirmed.problems, true)
}

/// Sets of fewer elements are read before it is known what to expect.
const LARGE: u32 = 4096;
/// Elements of a large set that are read, and compared, at a time.
const AT_ONCE: usize = 1024;

/// Reads all but the large sets, of a kernel that says how many elements these have.
#[derive(Default)]
struct Small {
    unread: Vec<(Family, SetName, u32)>,
}

impl Wanted for Small {
    fn wants(&mut self, family: Family, set: &Set, count: Option<u32>) -> bool {
        let name = SetName::from_name(&set.name).filter(|_| !set.flags.interval && !set.flags.dynamic);
        let large = name.zip(count).filter(|(_, count)| *count >= LARGE);
        self.unread.extend(large.map(|(set, count)| (family, set, count)));
        large.is_none()
    }
}

impl Small {
    /// Whether the kernel holds just what was compiled. The large sets are compared as they are read: they are never in
    /// memory as a whole.
    fn is_rest_held(
        &self,
        kernel: &mut impl Tables,
        compiler: &Compiler,
        present: &Ruleset,
    ) -> Result<bool, Error> {
        let mut is_unread = PerSet::default();
        for (family, set, count) in &self.unread {
            if compiler.held(*family, *set) != *count {
                return Ok(false);
            }
            is_unread[(*family, *set)] = true;
        }
        if !compiler.is_held_except(present, &is_unread) {
            return Ok(false);
        }
        let table = &compiler.config().table;
        let mut is_held = |family, set, expected: &mut Vec<(Concat, Element)>| {
            let keys: Vec<Concat> = expected.iter().map(|(key, _)| key.clone()).collect();
            let found = kernel.elements(table, family, compiler.declaration(family, set), &keys)?;
            Ok(found == Elements::from(std::mem::take(expected)))
        };
        let mut waiting: PerSet<Vec<(Concat, Element)>> = PerSet::default();
        let mut outcome = Ok(true);
        compiler.each_element(&mut |family, set, key, element| {
            if is_unread[(family, set)] && matches!(outcome, Ok(true)) {
                let waiting = &mut waiting[(family, set)];
                waiting.push((key, element));
                if waiting.len() == AT_ONCE {
                    outcome = is_held(family, set, waiting);
                }
            }
        });
        for (family, set, mut rest) in waiting.into_all().filter(|(.., rest)| !rest.is_empty()) {
            if matches!(outcome, Ok(true)) {
                outcome = is_held(family, set, &mut rest);
            }
        }
        outcome
    }
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
    keys: Option<ExpectedKeys>,
}

impl Compiled {
    /// The sets' sizes are those of the kernel.
    fn new(compiler: &Compiler, state: &mut State, present: &Ruleset) -> Self {
        let mut compiler = compiler.clone();
        let problems = compiler.load(state, present);
        Self { compiler, problems, keys: None }
    }
}

impl Wanted for Guess<'_> {
    fn first(&self) -> &[&str] {
        &ExpectedKeys::FIRST
    }

    fn keys(&mut self, read: &Ruleset, family: Family, set: &str) -> Vec<Concat> {
        let Self { compiler, state, compiled } = self;
        let compiled = compiled.get_or_insert_with(|| Compiled::new(compiler, state, read));
        let Compiled { compiler, keys, .. } = compiled;
        let of_set = keys.get_or_insert_with(|| ExpectedKeys::new(compiler)).take(read, family, set);
        if !of_set.is_empty() {
            return of_set;
        }
        // Asked for again, since somebody wrote while it was read.
        keys.insert(ExpectedKeys::new(compiler)).take(read, family, set)
    }
}

/// What a start found in the kernel, and what it makes of it.
#[derive(Debug)]
pub struct Comparison {
    /// What the kernel holds, if it is not what it must hold.
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
    let First { kernel: present, guess, is_held } = read(kernel, compiler, state)?;
    if present.tables.is_empty() {
        return Ok(None);
    }
    let mut compiler = compiler.clone();
    let (problems, is_equal) = load(&mut compiler, state, &present, (guess, is_held));
    let desired = (!is_equal).then(|| compiler.ruleset()).filter(|desired| *desired != present);
    Ok(Some(Comparison { present, compiler, problems, desired }))
}
