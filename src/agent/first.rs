//! The first reading of the kernel: most likely it holds what an earlier run made of the same state.

use portolan_rules::{
    compile::{Compiler, Problem},
    model::ObjectName,
    plane::{PerSet, SetName, has_leaders},
    restart::ExpectedKeys,
    ruleset::{Chain, Concat, Element, Family, Name, Ruleset},
    state::State,
};

use super::elements::{Expected, tables};
use crate::kernel::nftables::{Error, Small, Tables, Wanted};

/// What the first reading found.
pub(super) struct First {
    /// What the kernel holds.
    pub kernel: Ruleset,
    /// What was compiled to read it fast, if anything was.
    pub guess: Option<Compiled>,
    /// Whether the kernel holds just what that says: then its large sets have no elements in `kernel`.
    pub is_held: bool,
    /// Whether nothing was left out: of a kernel that does not say how many elements sets have, those that no packet meets
    /// may be.
    pub is_whole: bool,
}

/// Reads the kernel for the first time. The compiler has compiled nothing yet.
pub(super) fn read(kernel: &mut impl Tables, compiler: &Compiler, state: &mut State) -> Result<First, Error> {
    let before = kernel.generation()?.id;
    let mut small = Small::new(compiler);
    let present = kernel.read(&compiler.config().table, &mut small)?;
    if small.unread.is_empty() {
        return Ok(First { kernel: present, guess: None, is_held: false, is_whole: true });
    }
    let is_whole = small.unread.iter().all(|(_, _, count)| count.is_some());
    let mut guess = Compiled::new(compiler, state, &present);
    if small.is_rest_held(kernel, &mut guess, state, &present)? && kernel.generation()?.id == before {
        return Ok(First { kernel: present, guess: Some(guess), is_held: true, is_whole });
    }
    drop(present);
    read_all(kernel, Guess::new(compiler, state, Some(guess)))
}

/// The same, with all elements, whatever they are.
pub(super) fn read_whole(
    kernel: &mut impl Tables,
    compiler: &Compiler,
    state: &mut State,
) -> Result<First, Error> {
    read_all(kernel, Guess::new(compiler, state, None))
}

/// The same, whatever it takes.
pub(super) fn dump(kernel: &mut impl Tables, mut compiler: &Compiler) -> Result<First, Error> {
    let present = kernel.read(&compiler.config().table, &mut compiler)?;
    Ok(First { kernel: present, guess: None, is_held: false, is_whole: true })
}

fn read_all(kernel: &mut impl Tables, mut guess: Guess<'_>) -> Result<First, Error> {
    let present = kernel.read(&guess.compiler.config().table, &mut guess)?;
    Ok(First { kernel: present, guess: guess.compiled, is_held: false, is_whole: guess.is_whole })
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
        let problems = compiler.load(state, present);
        return (problems, compiler.is_held_by(present));
    };
    *compiler = confirmed.compiler;
    (confirmed.problems, true)
}

/// Elements of large sets that are read, and compared, at a time.
const AT_ONCE: usize = 1024;

impl Small<'_> {
    /// Whether the kernel holds just what was compiled, but for the slots at which endpoints stand: these are taken over.
    /// The large sets are compared as they are read: they are never in memory as a whole.
    fn is_rest_held(
        &self,
        kernel: &mut impl Tables,
        compiled: &mut Compiled,
        state: &State,
        present: &Ruleset,
    ) -> Result<bool, Error> {
        let Compiled { compiler, problems, .. } = compiled;
        let mut is_unread = PerSet::default();
        for (family, set, count) in &self.unread {
            if count.is_some_and(|count| compiler.held(*family, *set) != count) {
                return Ok(false);
            }
            is_unread[(*family, *set)] = true;
        }
        let mut services: Vec<ObjectName> = compiler.services().cloned().collect();
        while !services.is_empty() {
            let (mut part, mut expected, mut count) = (Vec::new(), Expected::default(), 0);
            while count < AT_ONCE
                && let Some(service) = services.pop()
            {
                count += expected.add(compiler, &service, |family, set, _| is_unread[(family, set)]);
                part.push(service);
            }
            let found = expected.read(kernel, compiler)?;
            if expected.are(&found) {
                continue;
            }
            if part.iter().any(|service| compiler.has_affinity(service)) {
                return Ok(false);
            }
            problems.extend(compiler.adopt(state, &part, &tables(found.clone(), compiler)));
            let mut expected = Expected::default();
            for service in &part {
                expected.add(compiler, service, |family, set, _| is_unread[(family, set)]);
            }
            if !expected.are(&found) {
                return Ok(false);
            }
        }
        let mut shared: Vec<_> =
            compiler.shared_elements().filter(|(family, set, _)| is_unread[(*family, *set)]).collect();
        while !shared.is_empty() {
            let mut expected = Expected::default();
            for (family, set, key) in shared.split_off(shared.len().saturating_sub(AT_ONCE)) {
                expected.push((family, set), key, Some(Element::member()));
            }
            if !expected.are(&expected.read(kernel, compiler)?) {
                return Ok(false);
            }
        }
        Ok(compiler.is_held_except(present, &is_unread))
    }
}

/// What a blank kernel would be given; compiled only if it is needed.
struct Guess<'a> {
    compiler: &'a Compiler,
    state: &'a mut State,
    compiled: Option<Compiled>,
    /// Whether all sets were counted.
    is_whole: bool,
}

impl<'a> Guess<'a> {
    const fn new(compiler: &'a Compiler, state: &'a mut State, guess: Option<Compiled>) -> Self {
        Self { compiler, state, compiled: guess, is_whole: true }
    }
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
    fn chains(&mut self, family: Family, names: &[Name]) -> Vec<Chain> {
        self.compiler.chains(family, names)
    }

    fn first(&self) -> &[&str] {
        &ExpectedKeys::FIRST
    }

    fn keys(&mut self, read: &Ruleset, family: Family, set: &str, is_counted: bool) -> Vec<Concat> {
        // Of a kernel that does not count, all that packets can meet must be known.
        if !is_counted && !SetName::from_name(set).is_some_and(has_leaders) {
            return Vec::new();
        }
        let Self { compiler, state, compiled, is_whole } = self;
        *is_whole &= is_counted;
        let compiled = compiled.get_or_insert_with(|| Compiled::new(compiler, state, read));
        let Compiled { compiler, keys, .. } = compiled;
        let of_set = keys.get_or_insert_with(|| ExpectedKeys::new(compiler)).take(read, family, set);
        if !of_set.is_empty() {
            return of_set;
        }
        // Asked for again, since the tables changed while they were read.
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
    let First { kernel: present, guess, is_held, .. } = read(kernel, compiler, state)?;
    if present.tables.is_empty() {
        return Ok(None);
    }
    let mut compiler = compiler.clone();
    let (problems, is_equal) = load(&mut compiler, state, &present, (guess, is_held));
    let desired = (!is_equal).then(|| compiler.ruleset()).filter(|desired| *desired != present);
    Ok(Some(Comparison { present, compiler, problems, desired }))
}
