//! The rules that an explanation is made from.

use std::sync::OnceLock;

use crate::{compile::Compiler, ruleset::Ruleset};

/// The rules that are explained. What was compiled is written down only once a packet is followed through it.
#[derive(Debug, Default)]
pub struct Rules(OnceLock<Ruleset>);

impl Rules {
    /// The rules that were read, if they are not those of a compiler.
    pub fn get(&self) -> Option<&Ruleset> {
        self.0.get()
    }

    /// The same, to add to them.
    pub fn get_mut(&mut self) -> Option<&mut Ruleset> {
        self.0.get_mut()
    }

    /// The rules, which are those of this compiler unless they are others.
    pub(super) fn of(&self, compiler: &Compiler) -> &Ruleset {
        self.0.get_or_init(|| compiler.ruleset())
    }

    /// The same, given away.
    pub(super) fn into_ruleset(self, compiler: &Compiler) -> Ruleset {
        self.0.into_inner().unwrap_or_else(|| compiler.ruleset())
    }
}

impl From<Ruleset> for Rules {
    fn from(ruleset: Ruleset) -> Self {
        Self(ruleset.into())
    }
}
