//! Turns the changes in the tracker into the transactions of a plan, or into a rebuild of families that cannot be
//! changed in place.

use std::{collections::BTreeSet, sync::Arc};

use super::{Compiler, class_verdict, rebuild::Rebuild};
use crate::{
    incremental::{
        NetChanges,
        plan::{Act, Changes, ElementChange, PART, make_equal},
    },
    plane::{PerSet, SetName, size_for},
    ruleset::{Concat, Element, Family, Name, Ruleset, Transaction},
};

impl Compiler {
    /// Takes the changes in the tracker since the last call, as transactions that are committed one after the other.
    /// They leave out families that must be rebuilt, which wait for [`Compiler::rebuild`].
    pub(super) fn plan(&mut self) -> Vec<Transaction> {
        let net = self.tracker.take_changes();
        let outgrown = self.outgrown(&net);
        let mut steps = Vec::new();
        // Deletes retiring objects first, if their room in a set or the names of the other plane are needed.
        while (!outgrown.is_empty() || self.is_tight(&net)) && !self.retiring.is_empty() {
            steps.push(self.retire(self.retiring.last(), PART));
        }
        let mut changes = self.changes(net);
        for family in outgrown {
            self.rebuilds.push(Rebuild::take(&mut changes, family));
        }
        steps.extend(changes.stage(&self.config.table, &mut self.retiring));
        steps
    }

    /// Takes the groups that began to retire up to a number ([`Compiler::retiring`]), at most `limit` elements of them,
    /// as a transaction that deletes them; empty if there is nothing to delete.
    pub fn retire(&mut self, up_to: u64, limit: usize) -> Transaction {
        self.retiring.take_part(&self.config.table, up_to, limit)
    }

    /// The number of the group that began to retire last; `None` if nothing is retiring.
    pub fn retiring(&self) -> Option<u64> {
        (!self.retiring.is_empty()).then(|| self.retiring.last())
    }

    /// Makes the kernel, which holds the ruleset `kernel`, hold `desired`. `take` carries out each act, in order, and
    /// returns whether it succeeded.
    pub fn make_equal(&mut self, kernel: &Ruleset, desired: Ruleset, take: &mut dyn FnMut(Act) -> bool) {
        self.rebuilds.clear();
        make_equal(&self.config.table, kernel, desired, &mut self.retiring, take);
    }

    /// Cuts element changes that the kernel was found to need into transactions that are committed one after the other.
    pub fn mend(&mut self, elements: Vec<ElementChange>) -> Vec<Transaction> {
        Changes { elements, ..Changes::default() }.stage(&self.config.table, &mut self.retiring)
    }

    /// Whether the last update requires families to be rebuilt ([`Compiler::rebuild`]).
    pub const fn wants_rebuild(&self) -> bool {
        !self.rebuilds.is_empty()
    }

    /// Forgets the retiring objects, because the kernel is about to be compared as a whole; returns the transaction
    /// that would have deleted them.
    pub fn forget_retiring(&mut self) -> Transaction {
        self.rebuilds.clear();
        self.retire(u64::MAX, usize::MAX)
    }

    /// Forgets which elements of these sets are retiring, because they are about to be compared.
    pub fn forget_retiring_of(&mut self, sets: &BTreeSet<(Family, Name)>) {
        self.rebuilds.clear();
        self.retiring.forget(sets);
    }

    /// Forgets which elements at these keys of a set are retiring, because they are about to be compared.
    pub fn forget_retiring_at(&mut self, family: Family, set: &Name, keys: &BTreeSet<Concat>) {
        self.retiring.forget_at(family, set, keys);
    }

    fn changes(&self, net: NetChanges) -> Changes {
        let mut changes = Changes::default();
        let mut verdict = |family: Family, class, is_new| {
            let (key, element) = class_verdict(class);
            let set = self.declaration(family, class.verdict_map()).clone();
            let (before, after) = if is_new { (None, Some(element)) } else { (Some(element), None) };
            changes.elements.push(ElementChange { family, set, key, before, after });
        };
        for (family, class) in net.old_classes {
            verdict(family, class, false);
            let chains = class.chains(&self.config, family);
            changes.old_chains.extend(chains.into_iter().map(|chain| (family, chain.name)));
        }
        for (family, class) in net.new_classes {
            verdict(family, class, true);
            let chains = class.chains(&self.config, family);
            changes.new_chains.extend(chains.into_iter().map(|chain| (family, chain)));
        }
        for ((family, set, key), before, after) in net.elements {
            let set = self.declaration(family, set).clone();
            changes.elements.push(ElementChange { family, set, key, before, after });
        }
        changes
    }

    /// How many elements of each set are deleted.
    fn leaving(net: &NetChanges) -> PerSet<u32> {
        let mut leaving = PerSet::default();
        for ((family, set, _), before, after) in &net.elements {
            if before.is_some() && after.is_none() {
                leaving[(*family, *set)] += 1;
            }
        }
        for (family, class) in &net.old_classes {
            leaving[(*family, class.verdict_map())] += 1;
        }
        leaving
    }

    /// Whether there is room for new elements only once the retiring elements are deleted.
    fn is_tight(&self, net: &NetChanges) -> bool {
        if self.retiring.is_empty() {
            return false;
        }
        let leaving = Self::leaving(net);
        leaving.into_all().any(|(family, set, leaving)| {
            let declaration = self.declaration(family, set);
            let count = self.tracker.count(family, set) + leaving;
            let retiring = self.retiring.count(family, set);
            retiring > 0 && declaration.size.is_some_and(|size| count + retiring > size)
        })
    }

    /// The families that must be rebuilt: those with a set that has more elements than its declared size while deleted
    /// elements are still there, or with an old ServiceCIDR and a new one that overlap, which one set cannot hold.
    /// Declares all sets of these families again, for the present numbers of elements.
    pub(super) fn outgrown(&mut self, net: &NetChanges) -> Vec<Family> {
        let leaving = Self::leaving(net);
        let is_outgrown = |family: Family| {
            SetName::ALL.into_iter().any(|set| {
                let count = self.tracker.count(family, set) + leaving[(family, set)];
                self.declaration(family, set).size.is_some_and(|size| count > size)
            })
        };
        let outgrown: Vec<Family> =
            Family::ALL.into_iter().filter(|family| is_outgrown(*family) || overlap(net, *family)).collect();
        for family in &outgrown {
            for set in SetName::ALL {
                let size = size_for(self.tracker.count(*family, set) + leaving[(*family, set)]);
                let size = self.declaration(*family, set).size.map_or(size, |present| present.max(size));
                let declared = set.declaration(&self.config, *family, size);
                self.declarations[(*family, set)] = Arc::new(declared);
            }
        }
        outgrown
    }
}

/// Whether a deleted ServiceCIDR and a new one overlap.
fn overlap(net: &NetChanges, family: Family) -> bool {
    let of = |key: &Concat, element: &Element| (key.clone(), element.end.as_deref().unwrap_or(key).clone());
    let changes =
        net.elements.iter().filter(|((f, set, _), ..)| *f == family && *set == SetName::ServiceCidrs);
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    for ((.., key), before, after) in changes {
        gone.extend(before.as_ref().map(|before| of(key, before)));
        come.extend(after.as_ref().map(|after| of(key, after)));
    }
    gone.iter().any(|gone| come.iter().any(|come| gone.0 <= come.1 && come.0 <= gone.1))
}
