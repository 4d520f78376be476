//! Compares large sets with what was compiled while they are read, some Services at a time. Equal elements are not
//! kept, so that the sets are never in memory as a whole.

use std::collections::{BTreeSet, HashSet};

use portolan_rules::{
    compile::Compiler,
    incremental::plan::{ElementChange, is_made_anew},
    model::ObjectName,
    plane::{PerSet, SetName, has_leaders},
    restart::led_to,
    ruleset::{Concat, Element, Elements, Family, Ruleset, Set, Table},
    state::State,
};

use super::{
    compiled::{Compiled, Unread},
    elements::{Expected, Found, tables},
};
use crate::kernel::nftables::{Error, Tables, Wanted};

/// Number of elements that are read and compared at a time.
const AT_ONCE: usize = 1024;

/// The most gone endpoints that are read by their keys, or as many as the set should have, if that is more. If there
/// are more, the set is read as a whole: a frontend that another process wrote may be of any class.
const MOST_GONE: usize = 1 << 16;

/// What to do with elements that are as they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Equal {
    /// They are kept, like all other elements that the kernel has.
    Kept,
    /// They are left out.
    Left,
}

/// What was found in large sets.
#[derive(Default)]
struct Compared {
    /// All elements that were found, if they are kept.
    all: Option<PerSet<Vec<(Concat, Element)>>>,
    /// How many elements were found at the keys that were read, whether or not they are equal.
    found: PerSet<usize>,
    /// What is different.
    changes: Vec<ElementChange>,
}

/// Compares the large sets of `present`, which holds all other sets, with what was compiled for it. Endpoints keep the
/// slots that they have in the kernel. With [`Equal::Left`], adds the elements that differ to `present`, and returns
/// what the kernel must hold, without the elements that are equal; or returns `None` if tables have to be made anew,
/// which takes all elements. With [`Equal::Kept`], adds all elements to `present`, and returns `None`.
pub(super) fn compare(
    kernel: &mut impl Tables,
    guess: &mut Compiled,
    state: &State,
    present: &mut Ruleset,
    (unread, equal): (&[Unread], Equal),
) -> Result<Option<Ruleset>, Error> {
    let mut is_unread = PerSet::default();
    for (family, set, _) in unread {
        is_unread[(*family, *set)] = true;
    }
    let mut compared = Compared { all: (equal == Equal::Kept).then(PerSet::default), ..Compared::default() };
    compared.services(kernel, guess, state, present, &is_unread)?;
    let compiler = &guess.compiler;
    compared.shared(kernel, compiler, &is_unread)?;
    let (led, leaders): (Vec<&Unread>, Vec<&Unread>) =
        unread.iter().partition(|(_, set, _)| has_leaders(*set));
    for (family, set, count) in leaders {
        if count.is_some_and(|count| count as usize == compared.found[(*family, *set)]) {
            continue;
        }
        compared.read_whole(kernel, compiler, (*family, *set))?;
    }
    let most = PerSet::from_fn(|family, set| MOST_GONE.max(compiler.held(family, set) as usize));
    let mut gone = compared.led_to(compiler, present, (&is_unread, &most));
    for (family, set, count) in led {
        let gone = std::mem::take(&mut gone[(*family, *set)]);
        let of_set = (*family, *set);
        if gone.len() <= most[of_set] {
            let mut expected = Expected::default();
            for key in gone {
                expected.push(of_set, key, None);
            }
            let found = expected.read(kernel, compiler)?;
            compared.note(expected, &found, compiler);
            if count.is_none_or(|count| count as usize == compared.found[of_set]) {
                continue;
            }
        }
        compared.read_whole(kernel, compiler, of_set)?;
    }
    if equal == Equal::Kept {
        compared.put_all_into(present);
        return Ok(None);
    }
    let mut desired = compiler.ruleset_without(&is_unread);
    compared.put_into(present, &mut desired);
    let is_anew = |(family, table): (&Family, &Table)| {
        present.tables.get(family).is_some_and(|present| is_made_anew(present, table))
    };
    Ok((!desired.tables.iter().any(is_anew)).then_some(desired))
}

impl Compared {
    /// Compares the elements of all Services.
    fn services(
        &mut self,
        kernel: &mut impl Tables,
        guess: &mut Compiled,
        state: &State,
        present: &Ruleset,
        is_unread: &PerSet<bool>,
    ) -> Result<(), Error> {
        let Compiled { compiler, problems, .. } = guess;
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
            if expected.are_among(&found) {
                self.note(expected, &found, compiler);
                continue;
            }
            let (mut equal, mut held, mut different) = (Expected::default(), Found::default(), Vec::new());
            for service in part {
                let mut of_service = Expected::default();
                of_service.add(compiler, &service, |family, set, _| is_unread[(family, set)]);
                if of_service.are_among(&found) {
                    equal.append(of_service);
                } else {
                    for (of_set, key, element) in of_service.found(&found) {
                        held[of_set].insert(key.clone(), element.clone());
                    }
                    different.push(service);
                }
            }
            self.note(equal, &found, compiler);
            // The endpoint ids of Services with session affinity are already adopted.
            let others = |service: &&ObjectName| !compiler.has_affinity(service);
            let others: Vec<ObjectName> = different.iter().filter(others).cloned().collect();
            let held = with_ranges(tables(held, compiler), present);
            problems.extend(compiler.adopt(state, &others, &held));
            let mut expected = Expected::default();
            for service in &different {
                expected.add(compiler, service, |family, set, _| is_unread[(family, set)]);
            }
            let found = expected.read(kernel, compiler)?;
            self.note(expected, &found, compiler);
        }
        Ok(())
    }

    /// Compares the elements that Services share.
    fn shared(
        &mut self,
        kernel: &mut impl Tables,
        compiler: &Compiler,
        is_unread: &PerSet<bool>,
    ) -> Result<(), Error> {
        let mut shared: Vec<_> =
            compiler.shared_elements().filter(|(family, set, _)| is_unread[(*family, *set)]).collect();
        while !shared.is_empty() {
            let mut expected = Expected::default();
            for (family, set, key) in shared.split_off(shared.len().saturating_sub(AT_ONCE)) {
                expected.push((family, set), key, Some(Element::member()));
            }
            let found = expected.read(kernel, compiler)?;
            self.note(expected, &found, compiler);
        }
        Ok(())
    }

    /// Notes what was read at these keys, and perhaps at others.
    fn note(&mut self, expected: Expected, found: &Found, compiler: &Compiler) {
        for (of_set, key, element) in expected.found(found) {
            self.found[of_set] += 1;
            if let Some(all) = &mut self.all {
                all[of_set].push((key.clone(), element.clone()));
            }
        }
        self.changes.extend(expected.changes(found, compiler));
    }

    /// Finds the elements that a set has beyond those that it should have.
    fn read_whole(
        &mut self,
        kernel: &mut impl Tables,
        compiler: &Compiler,
        (family, set): (Family, SetName),
    ) -> Result<(), Error> {
        let whole = kernel.read(&compiler.config().table, &mut Only(family, set))?;
        let is_other = PerSet::from_fn(|f, s| (f, s) != (family, set));
        let different = compiler.differences(&whole, &is_other);
        let is_of_set = |change: &&ElementChange| change.family == family && *change.set.name == *set.name();
        let known: HashSet<&Concat> =
            self.changes.iter().filter(is_of_set).map(|change| &change.key).collect();
        let declared = compiler.declaration(family, set);
        let elements = whole.tables.get(&family).and_then(|table| table.sets.get(set.name()));
        let extra: Vec<ElementChange> = different[(family, set)]
            .iter()
            .filter(|key| !known.contains(key))
            .filter_map(|key| elements?.elements.get_key_value(key))
            .map(|(key, element)| ElementChange {
                family,
                set: declared.clone(),
                key: key.clone(),
                before: Some(element.clone()),
                after: None,
            })
            .collect();
        self.changes.extend(extra);
        Ok(())
    }

    /// Returns the keys of endpoints to which the kernel's differing elements lead, without the endpoints that should
    /// be there. If there are too many, returns only some.
    fn led_to(
        &self,
        compiler: &Compiler,
        present: &Ruleset,
        (is_unread, most): (&PerSet<bool>, &PerSet<usize>),
    ) -> PerSet<BTreeSet<Concat>> {
        let mut keys: PerSet<BTreeSet<Concat>> = PerSet::default();
        let mut lead = |family, leader, key: &Concat, element: &Element| {
            for of_set in SetName::ALL.map(|set| (family, set)).into_iter().filter(|set| is_unread[*set]) {
                if keys[of_set].len() <= most[of_set] {
                    keys[of_set].extend(led_to(of_set.1, leader, key, element));
                }
            }
        };
        for change in &self.changes {
            if let (Some(leader), Some(element)) = (SetName::from_name(&change.set.name), &change.before) {
                lead(change.family, leader, &change.key, element);
            }
        }
        for (family, leader, different) in compiler.differences(present, is_unread).into_all() {
            let set = present.tables.get(&family).and_then(|table| table.sets.get(leader.name()));
            for key in different {
                if let Some(element) = set.and_then(|set| set.elements.get(&key)) {
                    lead(family, leader, &key, element);
                }
            }
        }
        let owners = keys.iter().flat_map(|(family, set, keys)| {
            keys.iter().filter_map(move |key| compiler.owner(family, set, key))
        });
        let owners: BTreeSet<ObjectName> = owners.cloned().collect();
        for owner in &owners {
            compiler.service_elements(owner, &mut |family, set, key, _| {
                keys[(family, set)].remove(&key);
            });
        }
        keys
    }

    /// Adds everything to what the kernel holds.
    fn put_all_into(self, present: &mut Ruleset) {
        let mut all = self.all.unwrap_or_default();
        for ElementChange { family, set, key, before, after } in self.changes {
            // An element that another replaces was found at its key, and is in `all` already.
            if let (Some(set), Some(element), None) = (SetName::from_name(&set.name), before, after) {
                all[(family, set)].push((key, element));
            }
        }
        put(present, all);
    }

    /// Adds what is different to what the kernel holds, and to what it must hold.
    fn put_into(self, present: &mut Ruleset, desired: &mut Ruleset) {
        let [mut old, mut new]: [PerSet<Vec<(Concat, Element)>>; 2] = Default::default();
        for ElementChange { family, set, key, before, after } in self.changes {
            let Some(set) = SetName::from_name(&set.name) else { continue };
            old[(family, set)].extend(before.map(|element| (key.clone(), element)));
            new[(family, set)].extend(after.map(|element| (key, element)));
        }
        put(present, old);
        put(desired, new);
    }
}

/// Puts these elements into their sets.
fn put(ruleset: &mut Ruleset, elements: PerSet<Vec<(Concat, Element)>>) {
    for (family, set, elements) in elements.into_all().filter(|(_, _, elements)| !elements.is_empty()) {
        let table = ruleset.tables.get_mut(&family);
        if let Some(set) = table.and_then(|table| table.sets.get_mut(set.name())) {
            set.elements = Elements::from(elements);
        }
    }
}

/// Adds the source ranges of the kernel to these elements: they determine which list of ranges a frontend reads.
fn with_ranges(mut elements: Ruleset, present: &Ruleset) -> Ruleset {
    for (family, table) in &mut elements.tables {
        for set in [SetName::AllowedSources, SetName::OtherAllowedSources] {
            let ranges = present.tables.get(family).and_then(|present| present.sets.get(set.name()));
            if let Some(ranges) = ranges.filter(|ranges| !ranges.elements.is_empty()) {
                table.add_set(ranges.clone());
            }
        }
    }
    elements
}

/// The elements of one set.
struct Only(Family, SetName);

impl Wanted for Only {
    fn wants(&mut self, family: Family, set: &Set, _: Option<u32>) -> bool {
        (family, &*set.name) == (self.0, self.1.name())
    }
}
