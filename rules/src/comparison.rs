//! What differs between two states, Service by Service.
//!
//! A Service is taken apart into [`Facts`]: its ports, frontends, endpoints and settings, each with a value. They come from
//! an [explanation](crate::explanation) ([`explained`]) or from a ruleset, such as what the kernel holds ([`programmed`]).
//! Two Services are equal if their facts are, and a difference names each fact that is new, gone or another, so that nothing
//! is left out; a property test holds both.

mod explained;
mod programmed;
#[cfg(test)]
mod tests;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

pub use self::{explained::explained, programmed::programmed};
use crate::{
    frontends::{FrontendKey, FrontendKind},
    model::{ObjectName, Protocol},
    ruleset::Family,
};

/// What can be said of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Aspect {
    /// It has this port.
    Port(Port),
    /// A field of the Service, or something that one of its frontends has.
    Setting {
        /// The frontend, if not all of the Service.
        of: Option<FrontendKey>,
        /// The field.
        field: &'static str,
    },
    /// It answers here.
    Frontend {
        /// Address or node port.
        key: FrontendKey,
        /// Of which kind, where that is known.
        kind: Option<FrontendKind>,
        /// The port that it belongs to, where that is known.
        port: Option<Port>,
    },
    /// It has this endpoint.
    Endpoint {
        /// What leads to it.
        of: Door,
        /// Its address and port.
        at: SocketAddr,
    },
}

/// A port of a Service in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// Number.
    pub number: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Family.
    pub family: Family,
}

/// What leads to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Door {
    /// All frontends of a port.
    Port(Port),
    /// One frontend.
    Frontend(FrontendKey),
}

/// The value of an aspect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    /// In words; may be empty.
    pub value: String,
    /// Whether an endpoint takes new connections.
    pub is_used: bool,
}

impl Fact {
    fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), is_used: true }
    }
}

/// All that can be said of a Service.
pub type Facts = BTreeMap<Aspect, Fact>;

/// The facts of Services by name.
pub type Services = BTreeMap<ObjectName, Facts>;

crate::named! {
    /// Whether a Service is in both states.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Presence {
        /// Only in the later one.
        New = "new",
        /// Only in the earlier one.
        Gone = "gone",
        /// In both.
        Both = "changed",
    }
}

/// One fact that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What.
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
    pub endpoints: BTreeMap<Door, (usize, usize)>,
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
        let changes: Vec<Change> = aspects
            .into_iter()
            .filter(|aspect| old.get(aspect) != new.get(aspect))
            .map(|aspect| Change {
                aspect: aspect.clone(),
                before: old.get(aspect).cloned(),
                after: new.get(aspect).cloned(),
            })
            .collect();
        let endpoints = count(old, new);
        let is_equal = changes.is_empty() && presence == Presence::Both;
        (!is_equal).then(|| Difference { service: name.clone(), presence, changes, endpoints })
    });
    differences.collect()
}

/// Endpoints that take new connections, before and after.
fn count(before: &Facts, after: &Facts) -> BTreeMap<Door, (usize, usize)> {
    let mut counts: BTreeMap<Door, (usize, usize)> = BTreeMap::new();
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
