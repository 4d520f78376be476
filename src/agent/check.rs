//! Compares elements with the kernel by their keys: the elements of a commit that failed and, in parts between commits,
//! all elements. No change waits longer than one part takes.
//!
//! Between two commits the kernel must hold what the compiler has, so that the elements of some Services can be
//! compared without regard to the others: they are read by their keys, and differences are written at once. Elements
//! that should not be there show in the number of elements: once all parts are compared, sets with a wrong number are
//! read, and so is everything that has no parts: tables, chains, rules, ranges and verdicts.

use std::{collections::BTreeSet, time::Instant};

use portolan_rules::{
    incremental::plan::PART,
    model::ObjectName,
    plane::{PerSet, Role, SetName},
    ruleset::{Concat, Element, Operation},
};
use tracing::{debug, warn};

use super::{
    belief::{self, Compared},
    core::{Agent, Check},
    elements::Expected,
};
use crate::kernel::nftables::{Error, Scope, Tables};

impl<T: Tables> Agent<T> {
    /// Whether elements are compared in parts: there are many, and the kernel reports how many each set has.
    pub(super) fn compares_in_parts(&self) -> bool {
        let elements: usize = self.compiler.sizes().map(|size| size.elements as usize).sum();
        self.kernel_counts && elements > PART && self.is_accounted_for()
    }

    /// Whether the compiler knows the owner of every element in the kernel that has an owner.
    pub(super) fn is_accounted_for(&self) -> bool {
        self.leftovers.is_none() && !self.isolation.is_searching()
    }

    /// Whether a part remains to be compared when there is nothing else to do.
    pub fn is_checking(&self) -> bool {
        self.belief.checks().is_some()
    }

    /// Compares the next part with the kernel, and writes what differs.
    ///
    /// # Errors
    /// The kernel cannot be read or written. The next sync compares everything.
    pub fn compare_part(&mut self) -> Result<(), Error> {
        if self.belief.checks() == Some(Compared::Due) {
            self.check = Check {
                services: self.compiler.services().cloned().collect(),
                shared: self.compiler.shared_elements().collect(),
            };
            self.note(belief::Observation::Begun);
        }
        let started = Instant::now();
        let expected = self.next_part();
        let outcome = self.compare_at(expected).inspect_err(|_| self.note(belief::Observation::Failed));
        if let Ok(operations @ 1..) = outcome {
            warn!(operations, "The full comparison repaired elements");
        }
        let left = self.check.services.len();
        debug!(services_left = left, elapsed = ?started.elapsed(), "Compared a part");
        if outcome.is_ok() && left == 0 && self.check.shared.is_empty() {
            self.note(belief::Observation::Checked { rest: self.without_parts(), now: Instant::now() });
        }
        outcome.map(drop)
    }

    /// Notes that the commit of the unsent operations failed.
    pub(super) fn note_unsent(&mut self) {
        let (mut is_known, mut sets) = (true, Scope::new());
        for (family, operation) in &self.unsent.operations {
            let (Operation::AddElement { set, .. } | Operation::DeleteElement { set, .. }) = operation else {
                continue; // Tables, chains, rules and declarations are always read.
            };
            match SetName::from_name(&set.name) {
                None => is_known = false,
                Some(name) if has_parts(name) => {}
                Some(_) => drop(sets.insert((*family, set.name.clone()))),
            }
        }
        self.note(if is_known { belief::Observation::Unsent { sets } } else { belief::Observation::Failed });
    }

    /// Commits those unsent changes of elements that the kernel lacks: the commit that failed may have reached the
    /// kernel nevertheless.
    pub(super) fn mend_unsent(&mut self) -> Result<(), Error> {
        let mut keys: PerSet<BTreeSet<Concat>> = PerSet::default();
        for (family, operation) in &self.unsent.operations {
            let (Operation::AddElement { set, key, .. } | Operation::DeleteElement { set, key, .. }) =
                operation
            else {
                continue;
            };
            let Some(name) = SetName::from_name(&set.name).filter(|name| has_parts(*name)) else { continue };
            keys[(*family, name)].insert(key.clone());
        }
        let expected = self.expected_at(keys);
        let operations = self.compare_at(expected).inspect_err(|_| self.note(belief::Observation::Failed))?;
        debug!(operations, "Wrote what an earlier commit failed to write");
        Ok(())
    }

    /// Returns what should stand at these keys, except elements that are retiring.
    pub(super) fn expected_at(&self, mut keys: PerSet<BTreeSet<Concat>>) -> Expected {
        let owners = keys.iter().flat_map(|(family, name, keys)| {
            keys.iter().filter_map(move |key| self.compiler.owner(family, name, key))
        });
        let services: BTreeSet<ObjectName> = owners.cloned().collect();
        let mut expected = Expected::default();
        for service in &services {
            expected.add(&self.compiler, service, |family, set, key| keys[(family, set)].remove(key));
        }
        for (family, name, rest) in keys.into_all() {
            let set = self.compiler.declaration(family, name);
            for key in rest {
                let is_shared = self.compiler.is_shared_element(name, &key);
                if is_shared || !self.compiler.is_retiring(family, set, &key) {
                    expected.push((family, name), key, is_shared.then(Element::member));
                }
            }
        }
        expected
    }

    /// Returns what should stand at the keys of the next part.
    fn next_part(&mut self) -> Expected {
        let Self { compiler, check, .. } = self;
        let (mut expected, mut count) = (Expected::default(), 0);
        while count < PART
            && let Some(service) = check.services.pop()
        {
            count += expected.add(compiler, &service, |_, set, _| has_parts(set));
        }
        let more = PART.saturating_sub(count).min(check.shared.len());
        for (family, set, key) in check.shared.split_off(check.shared.len() - more) {
            if compiler.is_shared_element(set, &key) {
                expected.push((family, set), key, Some(Element::member()));
            }
        }
        expected
    }

    /// Compares elements with the kernel, and writes what differs. Returns how many elements differ.
    fn compare_at(&mut self, expected: Expected) -> Result<usize, Error> {
        let found = expected.read(&mut self.kernel, &self.compiler)?;
        let changes = expected.changes(&found, &self.compiler);
        let different = changes.len();
        if different > 0 {
            let steps = self.compiler.mend(changes);
            self.carry_out(&steps)?;
            self.retirement.note(Instant::now(), self.compiler.retiring());
        }
        Ok(different)
    }

    /// The sets whose elements are not compared in parts.
    fn without_parts(&self) -> Scope {
        let families = self.settings.config.families.iter();
        let names = || SetName::ALL.into_iter().filter(|set| !has_parts(*set));
        families.flat_map(|family| names().map(|set| (*family, set.name().into()))).collect()
    }
}

/// Whether a set's elements stand at single keys, and belong to Services.
pub(super) fn has_parts(set: SetName) -> bool {
    matches!(set.role(), Role::Leader | Role::Led) && set != SetName::Affinity
}
