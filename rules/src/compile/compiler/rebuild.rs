//! Families that cannot be changed in place and are rebuilt.

use foldhash::HashSet;

use crate::{
    incremental::plan::{Changes, ElementChange},
    plane::SetName,
    ruleset::{Concat, Family, Name, Set},
};

/// A family that is rebuilt beside the plane in force, and the changes of the update that requires the rebuild.
#[derive(Clone, Debug)]
pub(super) struct Rebuild {
    pub(super) family: Family,
    changes: Vec<ElementChange>,
    /// Names of the chains that are in force now, but not after the rebuild.
    old_chains: Vec<Name>,
    /// Names of the chains that are in force after the rebuild, but not now.
    new_chains: HashSet<Name>,
}

impl Rebuild {
    /// Takes the changes of one family out of `changes`.
    pub(super) fn take(changes: &mut Changes, family: Family) -> Self {
        let elements = changes.elements.extract_if(.., |change| change.family == family);
        let old_chains = changes.old_chains.extract_if(.., |(of, _)| *of == family);
        let new_chains = changes.new_chains.extract_if(.., |(of, _)| *of == family);
        Self {
            family,
            changes: elements.collect(),
            old_chains: old_chains.map(|(_, name)| name).collect(),
            new_chains: new_chains.map(|(_, chain)| chain.name).collect(),
        }
    }

    /// The keys of a set that the kernel holds now, given the keys that it is to hold.
    pub(super) fn held(&self, set: &Set, mut wanted: Vec<Concat>) -> Vec<Concat> {
        let of_set = || self.changes.iter().filter(|change| change.set.name == set.name);
        let come: HashSet<&Concat> =
            of_set().filter(|change| change.before.is_none()).map(|change| &change.key).collect();
        wanted.retain(|key| !come.contains(key));
        wanted.extend(of_set().filter(|change| change.after.is_none()).map(|change| change.key.clone()));
        wanted
    }

    /// Elements that must stay for a while: packets that the former plane led to an endpoint are looked up in the new
    /// plane when they leave.
    pub(super) fn lingering(&self) -> Vec<ElementChange> {
        let lingers =
            |change: &&ElementChange| change.after.is_none() && *change.set.name == *SetName::Hairpin.name();
        self.changes.iter().filter(lingers).cloned().collect()
    }

    /// Whether a chain of this name is not in force yet.
    pub(super) fn comes(&self, chain: &str) -> bool {
        self.new_chains.contains(chain)
    }

    /// The chains that are in force now: those of `wanted` that are not new, and those that will not be in force.
    pub(super) fn held_chains(&self, wanted: Vec<Name>) -> Vec<Name> {
        let held = wanted.into_iter().filter(|name| !self.new_chains.contains(name));
        held.chain(self.old_chains.iter().cloned()).collect()
    }
}
