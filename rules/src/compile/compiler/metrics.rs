//! Numbers for metrics, updated as Services change, so that reading them examines no Service and no element.

use super::{Compiler, endpoint_counts::NoLocalEndpoints};
use crate::{plane::SetName, ruleset::Family};

/// Number of elements of a set or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetSize {
    /// Family of its table.
    pub family: Family,
    /// The set or map.
    pub set: SetName,
    /// Number of elements.
    pub elements: u32,
    /// The number of elements that it is declared for (`NFTA_SET_DESC_SIZE`); `None` without a limit.
    pub declared: Option<u32>,
}

impl Compiler {
    /// The number of Services that are compiled.
    pub fn service_count(&self) -> usize {
        self.services.len()
    }

    /// The ServicePorts without local endpoints of each family, in the order of [`Family::ALL`].
    pub fn no_local_endpoints(&self) -> [NoLocalEndpoints; Family::ALL.len()] {
        self.endpoint_counts.no_local
    }

    /// The number of Services with a port that has no endpoint on any node, in any family.
    pub fn without_endpoints(&self) -> u32 {
        self.endpoint_counts.without
    }

    /// The number of elements of each set and map that Portolan fills. The map of clients is left out: packets fill it.
    pub fn sizes(&self) -> impl Iterator<Item = SetSize> {
        let sets = SetName::ALL.into_iter().filter(|set| *set != SetName::Affinity);
        Family::ALL.into_iter().flat_map(move |family| {
            sets.clone().map(move |set| SetSize {
                family,
                set,
                elements: self.tracker.count(family, set),
                declared: self.declaration(family, set).size,
            })
        })
    }

    /// The number of elements that the kernel holds of a set that Portolan fills, if it holds what was compiled.
    pub fn held(&self, family: Family, set: SetName) -> u32 {
        self.tracker.count(family, set) + self.retiring.count(family, set)
    }

    /// The number of classes in use of each family, in the order of [`Family::ALL`].
    pub fn class_counts(&self) -> [usize; Family::ALL.len()] {
        Family::ALL.map(|family| self.classes(family).count())
    }
}
