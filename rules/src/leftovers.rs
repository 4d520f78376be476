//! What to keep of the kernel's ruleset while part of the input cannot be read.
//!
//! A manifest that was good yesterday and cannot be read today must not cost its Services their rules
//! when the agent restarts: until it is readable again, frontends that no readable object claims stay.

use std::collections::BTreeSet;

use crate::{
    compile::SetName,
    ruleset::{Concat, ElementData, Name, Ruleset, Statement, Table, Verdict},
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

/// The maps and sets whose keys begin with a frontend, behind the one that says which frontends there are.
const OF_FRONTENDS: [&[SetName]; 2] = [
    &[
        SetName::Frontends,
        SetName::Endpoints,
        SetName::Attributes,
        SetName::AllowedSources,
        SetName::OtherAllowedSources,
    ],
    &[SetName::NodePorts, SetName::NodeEndpoints, SetName::NodePortAttributes],
];

fn keep(desired: &mut Table, kernel: &Table) {
    for maps in OF_FRONTENDS {
        let Some(frontends) = maps.first().and_then(|set| desired.sets.get(set.name())) else { continue };
        let known: BTreeSet<Concat> = frontends.elements.keys().cloned().collect();
        let length: usize = frontends.key.iter().map(|field| field.padded_size()).sum();
        for map in maps {
            copy(desired, kernel, *map, |key| {
                let frontend = key.as_bytes().get(..length);
                frontend.is_some_and(|frontend| !known.contains(&Concat::from_bytes(frontend)))
            });
        }
    }
    for set in [SetName::ClusterIps, SetName::Hairpin] {
        copy(desired, kernel, set, |_| true);
    }
    for map in [SetName::Classes, SetName::DirectClasses, SetName::Draws] {
        for element in kernel.sets.get(map.name()).into_iter().flat_map(|set| set.elements.values()) {
            if let ElementData::Verdict(verdict) = &element.data {
                keep_chains(desired, kernel, verdict);
            }
        }
        copy(desired, kernel, map, |_| true);
    }
}

/// Keeps the chain that a verdict leads to, and those that it leads to in turn.
fn keep_chains(desired: &mut Table, kernel: &Table, verdict: &Verdict) {
    let mut wanted: Vec<Name> = target(verdict).cloned().into_iter().collect();
    while let Some(name) = wanted.pop() {
        let Some(chain) = kernel.chains.get(&name).filter(|_| !desired.chains.contains_key(&name)) else {
            continue;
        };
        for statement in chain.rules.iter().flat_map(|rule| &rule.statements) {
            if let Statement::Verdict(verdict) = statement {
                wanted.extend(target(verdict).cloned());
            }
        }
        desired.add_chain(chain.clone());
    }
}

fn target(verdict: &Verdict) -> Option<&Name> {
    match verdict {
        Verdict::Goto(chain) | Verdict::Jump(chain) => Some(chain),
        _ => None,
    }
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
