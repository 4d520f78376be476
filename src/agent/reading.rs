//! What is read of the kernel when it is in doubt.

use portolan_rules::{
    compile::Compiler,
    plane::{PerSet, SetName},
    ruleset::{Chain, Concat, Family, Name, Operation, Ruleset, Set},
};

use super::{belief::Sets, first::Compiled};
use crate::kernel::nftables::{Scope, Wanted};

/// What was read of the kernel, and what came of it.
pub(super) struct Reading {
    /// The tables.
    pub kernel: Ruleset,
    /// The generation before.
    pub generation: u32,
    /// The state as compiled for the first reading, and what the kernel must hold, as in [`First`](super::first::First).
    pub guess: (Option<Compiled>, Option<Ruleset>),
    /// The sets whose elements were read; `None` for all.
    pub scope: Option<Scope>,
    /// Whether nothing else was left out.
    pub is_whole: bool,
    /// What must be done first, to own the tables.
    pub first: Vec<(Family, Operation)>,
}

/// Which elements to read, by what the compiler knows of them.
pub(super) struct Known<'a> {
    compiler: &'a Compiler,
    sets: &'a Sets,
    /// The sets whose elements were read.
    pub(super) read: Scope,
    /// Whether the kernel says how many elements sets have.
    pub(super) is_counted: bool,
    /// All keys, once any were asked for.
    keys: Option<PerSet<Vec<Concat>>>,
}

impl<'a> Known<'a> {
    pub(super) fn new(compiler: &'a Compiler, sets: &'a Sets) -> Self {
        Self { compiler, sets, read: Scope::new(), is_counted: true, keys: None }
    }
}

impl Wanted for Known<'_> {
    fn chains(&mut self, family: Family, names: &[Name]) -> Vec<Chain> {
        self.compiler.chains(family, names)
    }

    fn wants(&mut self, family: Family, set: &Set, count: Option<u32>) -> bool {
        let wanted = SetName::from_name(&set.name).map(|name| self.compiler.held(family, name));
        self.is_counted &= count.is_some();
        // Of single ranges the kernel counts both ends.
        let count = count.filter(|_| !set.flags.interval || set.key.len() > 1);
        let wants = !set.flags.dynamic && self.sets.contain(family, set, wanted, count);
        if wants {
            self.read.insert((family, set.name.clone()));
        }
        wants
    }

    fn keys(&mut self, family: Family, set: &str) -> Vec<Concat> {
        let Some(name) = SetName::from_name(set) else { return Vec::new() };
        self.keys.get_or_insert_with(|| self.compiler.held_keys())[(family, name)].clone()
    }
}
