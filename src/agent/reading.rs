//! What is read from the kernel when it is in doubt.

use portolan_rules::{
    compile::Compiler,
    plane::{PerSet, SetName, has_leaders, is_of_attributes},
    ruleset::{Chain, Concat, Family, Name, Operation, Ruleset, Set},
};

use super::{
    belief::Sets,
    compiled::{Compiled, Unread},
};
use crate::kernel::nftables::{LARGE, Scope, Wanted, is_large};

/// What was read from the kernel, and what was derived from it.
pub(super) struct Reading {
    /// The tables.
    pub kernel: Ruleset,
    /// The generation before the reading.
    pub generation: u32,
    /// The state compiled for the first reading, and what the kernel must hold, as in [`First`](super::first::First).
    pub guess: (Option<Compiled>, Option<Ruleset>),
    /// The sets whose elements were read; `None` for all.
    pub scope: Option<Scope>,
    /// Whether nothing else was left out.
    pub is_whole: bool,
    /// The operations that must come first, to own the tables.
    pub first: Vec<(Family, Operation)>,
}

/// Decides which elements to read, by what the compiler knows about them.
pub(super) struct Known<'a> {
    compiler: &'a Compiler,
    sets: &'a Sets,
    /// The sets whose elements were read.
    pub(super) read: Scope,
    /// Whether the kernel reports how many elements sets have.
    pub(super) is_counted: bool,
    /// The keys of all sets, once the keys of any set were requested.
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
        // For single ranges, the kernel counts both ends.
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

/// Reads all elements with dumps; expects the rules of the compiler's configuration.
impl Wanted for &Compiler {
    fn chains(&mut self, family: Family, names: &[Name]) -> Vec<Chain> {
        Compiler::chains(self, family, names)
    }
}

/// Leaves out the elements of the compiler's large sets; expects the rules of its configuration. If the kernel does not
/// report how many elements sets have, only the sets of endpoints are left out.
pub struct Small<'a> {
    compiler: &'a Compiler,
    /// Sets of attributes are left out from this number of elements on.
    most_attributes: u32,
    /// The sets that were left out, with their number of elements if the kernel reports it.
    pub unread: Vec<Unread>,
}

impl<'a> Small<'a> {
    /// Creates a reading that has left out nothing yet.
    pub const fn new(compiler: &'a Compiler) -> Self {
        Self { compiler, most_attributes: LARGE, unread: Vec::new() }
    }

    /// As [`Small::new`], but with larger sets of attributes, which hold the endpoint ids that an earlier run assigned.
    pub const fn with_attributes(compiler: &'a Compiler) -> Self {
        Self { compiler, most_attributes: 16 * LARGE, unread: Vec::new() }
    }
}

impl Wanted for Small<'_> {
    fn chains(&mut self, family: Family, names: &[Name]) -> Vec<Chain> {
        self.compiler.chains(family, names)
    }

    fn wants(&mut self, family: Family, set: &Set, count: Option<u32>) -> bool {
        let name = SetName::from_name(&set.name).filter(|_| !set.flags.interval && !set.flags.dynamic);
        let large = name.filter(|name| {
            is_large(set, count)
                && if is_of_attributes(*name) {
                    count.or(set.size) >= Some(self.most_attributes)
                } else {
                    count.is_some() || has_leaders(*name)
                }
        });
        self.unread.extend(large.map(|set| (family, set, count)));
        large.is_none()
    }
}
