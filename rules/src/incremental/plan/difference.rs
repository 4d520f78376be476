//! Makes the kernel hold a ruleset, regardless of what it holds now.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::{
    change::{Act, ElementChange, PART},
    changes::Changes,
    parts::Parts,
    retiring::Retiring,
    whole::{Emit, Whole},
};
use crate::{
    plane::{
        SetName, is_of_clients,
        planes::{counterpart, is_beside, is_shared},
    },
    ruleset::{
        Chain, Concat, Element, Elements, Family, Name, Operation, Ruleset, Set, Table, Transaction,
        diff::diff_into,
    },
};

/// Makes the kernel, which holds the tables of `kernel`, hold those of `desired`. `take` carries out each act, in
/// order, and returns whether it succeeded. Deletions that come last are left to `retiring`, which otherwise holds none
/// of the elements that were read.
pub fn make_equal(
    table: &Name,
    kernel: &Ruleset,
    mut desired: Ruleset,
    retiring: &mut Retiring,
    take: &mut dyn FnMut(Act) -> bool,
) {
    let mut wanted = Ruleset::default();
    for family in Family::ALL {
        let Some(new) = desired.tables.remove(&family) else { continue };
        let is_wanted = match kernel.tables.get(&family) {
            None => create(table, family, new, take),
            Some(old) if old.hooks_differ(&new) => {
                // A hook cannot be changed, and other chains may refer to it: the whole table changes at once.
                let old = Ruleset { tables: [(family, old.clone())].into() };
                take(Act::Commit(diff_into(table, &old, Ruleset { tables: [(family, new)].into() })))
            }
            Some(old) if sets_differ(old, &new) => create_beside(table, family, old, new, retiring, take),
            Some(_) => {
                wanted.tables.insert(family, new);
                true
            }
        };
        if !is_wanted {
            return;
        }
    }
    let families: Vec<Family> = wanted.tables.keys().copied().collect();
    let mut difference = diff_into(table, kernel, wanted);
    // The other families hold what is desired already.
    difference.operations.retain(|(family, _)| families.contains(family));
    for transaction in Changes::of(difference, kernel).stage(table, retiring) {
        if !take(Act::Commit(transaction)) {
            return;
        }
    }
}

/// Whether a table cannot be changed in place, so that it is rebuilt as a whole.
pub fn is_made_anew(old: &Table, new: &Table) -> bool {
    old.hooks_differ(new) || sets_differ(old, new)
}

fn sets_differ(old: &Table, new: &Table) -> bool {
    let differs = |set: &Set| {
        let old = old.sets.get(&set.name);
        old.is_some_and(|old| !old.same_declaration(set) || set.flags.interval && ranges_meet(old, set))
    };
    new.sets.values().any(differs)
}

/// First and last value of a range's last field.
type Ends = (Vec<u8>, Vec<u8>);

/// Whether a deleted range and a new one overlap: the kernel cannot hold both at once, and for a moment it would have
/// neither.
fn ranges_meet(old: &Set, new: &Set) -> bool {
    let last = new.key.last().map_or(0, |field| field.padded_size());
    // All fields but the last are the same from the start of a range to its end.
    let split = |key: &Concat| {
        let bytes = key.as_bytes();
        let (fields, last) = bytes.split_at(bytes.len().saturating_sub(last));
        (fields.to_vec(), last.to_vec())
    };
    let range = |key: &Concat, element: &Element| {
        let (fields, first) = split(key);
        (fields, (first, split(element.end.as_deref().unwrap_or(key)).1))
    };
    let mut gone: HashMap<Vec<u8>, Vec<Ends>> = HashMap::default();
    for (key, element) in old.elements.iter().filter(|(key, e)| new.elements.get(key) != Some(*e)) {
        let (fields, ends) = range(key, element);
        gone.entry(fields).or_default().push(ends);
    }
    let mut come = new.elements.iter().filter(|(key, element)| old.elements.get(key) != Some(*element));
    !gone.is_empty()
        && come.any(|(key, element)| {
            let (fields, (first, last)) = range(key, element);
            let gone = gone.get(&fields).into_iter().flatten();
            gone.into_iter().any(|(start, end)| *start <= last && first <= *end)
        })
}

/// Takes the elements of its sets out of a table.
fn take_elements(table: &mut Table) -> Vec<(Arc<Set>, Elements)> {
    let take = |set: &mut Set| {
        let elements = std::mem::take(&mut set.elements);
        (Arc::new(set.clone()), elements)
    };
    table.sets.values_mut().map(take).collect()
}

fn create(table: &Name, family: Family, mut new: Table, take: &mut dyn FnMut(Act) -> bool) -> bool {
    let elements = take_elements(&mut new);
    let mut commit = |transaction| take(Act::Commit(transaction));
    let mut parts = Parts::new(table, &mut commit);
    let emit = emitting(&elements);
    Whole { family, table: new, elements: &emit }.create(&mut parts);
    parts.is_wanted()
}

fn emitting(elements: &[(Arc<Set>, Elements)]) -> impl Fn(Emit<'_>) {
    move |emit| {
        for (set, elements) in elements {
            for (key, element) in elements {
                emit(set, key.clone(), element.clone());
            }
        }
    }
}

fn create_beside(
    table: &Name,
    family: Family,
    old: &Table,
    mut new: Table,
    retiring: &mut Retiring,
    take: &mut dyn FnMut(Act) -> bool,
) -> bool {
    // Deletes what an earlier attempt left under the names of the other plane.
    let mut leftover = Retiring::default();
    leftover.retire_table(family, old, |name| is_beside(name).then(|| name.into()));
    while !leftover.is_empty() {
        if !take(Act::Commit(leftover.take_part(table, u64::MAX, PART))) {
            return false;
        }
    }
    // The chains that both planes share are in force already.
    let shared: Vec<&Chain> =
        new.chains.values().filter(|c| c.base.is_none() && is_shared(&c.name)).collect();
    let stays = |chain: &&Chain| old.chains.get(&chain.name).is_some_and(|old| old.rules == chain.rules);
    let mut changed = Transaction::new(table.clone());
    for chain in shared.iter().filter(|chain| old.chains.contains_key(&chain.name) && !stays(chain)) {
        changed.push(family, Operation::FlushChain(chain.name.clone()));
        for rule in &chain.rules {
            changed.push(family, Operation::AddRule { chain: chain.name.clone(), rule: rule.clone() });
        }
    }
    if !changed.is_empty() && !take(Act::Commit(changed)) {
        return false;
    }
    let shared: HashSet<Name> = shared.into_iter().map(|chain| chain.name.clone()).collect();
    let lingering = lingering(family, old, &mut new);
    let elements = take_elements(&mut new);
    let mut commit = |mut transaction: Transaction| {
        transaction.swap(|_| true);
        take(Act::Commit(transaction))
    };
    let mut parts = Parts::new(table, &mut commit);
    let emit = emitting(&elements);
    let has = |name: &str| old.sets.contains_key(name) || old.chains.contains_key(name);
    Whole { family, table: new, elements: &emit }.create_beside(&mut parts, has);
    if !parts.is_wanted() || !take(Act::Exchange(family)) {
        return false;
    }
    retiring.retire_table(family, old, |name| {
        let goes =
            if is_of_clients(name) { !shared.contains(name) } else { !is_shared(name) && !is_beside(name) };
        goes.then(|| counterpart(name))
    });
    for change in lingering {
        retiring.retire_element(change);
    }
    true
}

/// Adds elements that must stay for a while: packets that the former plane led to an endpoint are looked up in the new
/// plane when they leave.
fn lingering(family: Family, old: &Table, new: &mut Table) -> Vec<ElementChange> {
    let name = SetName::Hairpin.name();
    let (Some(old), Some(new)) = (old.sets.get(name), new.sets.get_mut(name)) else { return Vec::new() };
    let gone: Vec<_> = old.elements.iter().filter(|(key, _)| !new.elements.contains_key(key)).collect();
    if old.key != new.key || new.size.is_some_and(|size| new.elements.len() + gone.len() > size as usize) {
        return Vec::new();
    }
    let set = Arc::new(new.without_elements());
    let mut lingering = Vec::new();
    for (key, element) in gone {
        new.elements.insert(key.clone(), element.clone());
        let (set, key, before) = (set.clone(), key.clone(), Some(element.clone()));
        lingering.push(ElementChange { family, set, key, before, after: None });
    }
    lingering
}

impl Retiring {
    /// Retires objects of a table, each by the name that `name` returns; objects for which it returns none stay.
    fn retire_table(&mut self, family: Family, table: &Table, name: impl Fn(&str) -> Option<Name>) {
        self.begin();
        for set in table.sets.values() {
            let Some(name) = name(&set.name) else { continue };
            // Ranges are deleted with their sets; elements of dynamic sets are not known.
            if !set.flags.interval && !set.elements.is_empty() {
                let keys = set.elements.keys().cloned().collect();
                let declared = Set { name: name.clone(), ..set.without_elements() };
                self.retire_elements(family, Arc::new(declared), keys);
            }
            self.retire_set(family, name);
        }
        for chain in table.chains.values().filter(|chain| chain.base.is_none()) {
            if let Some(name) = name(&chain.name) {
                self.retire_chain(family, name);
            }
        }
    }
}
