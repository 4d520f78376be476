//! What differs between two states, Service by Service.
//!
//! A Service is taken apart into [`Facts`]: its ports, frontends, endpoints and settings, each with a value. They come
//! from an [explanation](crate::explanation) ([`explained`]) or from a ruleset, such as the one that the kernel holds
//! ([`programmed`]). Two Services are equal if their facts are equal. A difference lists each fact that is new, gone
//! or changed, so that nothing is left out. A property test checks both.

mod explained;
mod fact;
mod programmed;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, BTreeSet};

pub use self::{
    explained::explained,
    fact::{Aspect, Fact, Facts, Parent, Port, Services},
    programmed::programmed,
};
use crate::model::ObjectName;

crate::named! {
    /// Whether a Service is in both states.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Presence {
        /// Only in the later state.
        New = "new",
        /// Only in the earlier state.
        Gone = "gone",
        /// In both states.
        Both = "changed",
    }
}

/// One fact that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The aspect of the Service.
    pub aspect: Aspect,
    /// Its value before, if it was there.
    pub before: Option<Fact>,
    /// Its value after, if it is there.
    pub after: Option<Fact>,
}

/// How a Service differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The Service.
    pub service: ObjectName,
    /// Whether it is in both states.
    pub presence: Presence,
    /// Every fact that differs, in order.
    pub changes: Vec<Change>,
    /// How many endpoints take new connections, before and after.
    pub endpoints: BTreeMap<Parent, (usize, usize)>,
}

/// The Services that differ, in order of their names.
pub fn compare(before: &Services, after: &Services) -> Vec<Difference> {
    let names: BTreeSet<&ObjectName> = before.keys().chain(after.keys()).collect();
    let none = Facts::new();
    let differences = names.into_iter().filter_map(|name| {
        let (old, new) = (before.get(name), after.get(name));
        let presence = match (old, new) {
            (None, _) => Presence::New,
            (_, None) => Presence::Gone,
            _ => Presence::Both,
        };
        let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
        let aspects: BTreeSet<&Aspect> = old.keys().chain(new.keys()).collect();
        let change = |aspect: &Aspect| {
            let (before, after) = (old.get(aspect).cloned(), new.get(aspect).cloned());
            (before != after).then(|| Change { aspect: aspect.clone(), before, after })
        };
        let changes: Vec<Change> = aspects.into_iter().filter_map(change).collect();
        let endpoints = count(old, new);
        let is_equal = changes.is_empty() && presence == Presence::Both;
        (!is_equal).then(|| Difference { service: name.clone(), presence, changes, endpoints })
    });
    differences.collect()
}

/// Endpoints that take new connections, before and after.
fn count(before: &Facts, after: &Facts) -> BTreeMap<Parent, (usize, usize)> {
    let mut counts: BTreeMap<Parent, (usize, usize)> = BTreeMap::new();
    for (facts, is_after) in [(before, false), (after, true)] {
        for (aspect, fact) in facts {
            if let Aspect::Endpoint { of, .. } = aspect {
                let (before, after) = counts.entry(*of).or_default();
                let count = if is_after { after } else { before };
                *count += usize::from(fact.is_used);
            }
        }
    }
    counts
}
