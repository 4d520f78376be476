//! What to keep of the kernel's ruleset while part of the input cannot be read.
//!
//! A manifest that was good yesterday and cannot be read today must not cost its Services their rules
//! when the agent restarts: until it is readable again, frontends that no readable object claims stay.

use std::collections::BTreeSet;

use crate::{
    compile::SetName,
    ruleset::{Concat, ElementData, Ruleset, Table, Verdict},
};

/// Adds to `desired` what `kernel` has beyond it: frontends, their endpoints and what these need. Where
/// both have an element of the same key, `desired` wins.
pub fn keep_leftovers(desired: &mut Ruleset, kernel: &Ruleset) {
    for (family, desired) in &mut desired.tables {
        if let Some(kernel) = kernel.tables.get(family) {
            keep(desired, kernel);
        }
    }
}

fn keep(desired: &mut Table, kernel: &Table) {
    for (frontends, endpoints) in
        [(SetName::Frontends, SetName::Endpoints), (SetName::NodePorts, SetName::NodeEndpoints)]
    {
        let known: BTreeSet<Concat> = keys(desired, frontends);
        let unknown = |key: &Concat| !known.contains(key);
        copy(desired, kernel, frontends, unknown);
        copy(desired, kernel, endpoints, |key| {
            let frontend = key.as_bytes().len().saturating_sub(4);
            unknown(&Concat::from_bytes(&key.as_bytes()[..frontend]))
        });
    }
    for set in [SetName::ClusterIps, SetName::Hairpin] {
        copy(desired, kernel, set, |_| true);
    }
    let Some(classes) = kernel.sets.get(SetName::Classes.name()) else { return };
    for element in classes.elements.values() {
        if let ElementData::Verdict(Verdict::Goto(chain)) = &element.data
            && let Some(chain) = kernel.chains.get(chain)
            && !desired.chains.contains_key(&chain.name)
        {
            desired.add_chain(chain.clone());
        }
    }
    copy(desired, kernel, SetName::Classes, |_| true);
}

fn keys(table: &Table, set: SetName) -> BTreeSet<Concat> {
    table.sets.get(set.name()).into_iter().flat_map(|set| set.elements.keys().cloned()).collect()
}

fn copy(desired: &mut Table, kernel: &Table, set: SetName, wanted: impl Fn(&Concat) -> bool) {
    let (Some(into), Some(from)) = (desired.sets.get_mut(set.name()), kernel.sets.get(set.name())) else {
        return;
    };
    if into.key != from.key || into.data != from.data || into.flags != from.flags {
        return;
    }
    let kept = from.elements.iter().filter(|(key, _)| wanted(key));
    into.elements.insert_missing(kept.map(|(key, element)| (key.clone(), element.clone())));
    let count = into.elements.len() as u32;
    if into.size.is_some_and(|size| size < count) {
        into.size = from.size.max(Some(count));
    }
}
