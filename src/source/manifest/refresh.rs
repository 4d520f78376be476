//! The objects that a source of manifests has read, and the changes since.

use std::{collections::BTreeMap, sync::Arc};

use ipnetwork::IpNetwork;
use portolan_rules::{
    explanation::StandIns,
    model::{EndpointSlice, Node, ObjectName, Service},
};

use super::problem::Problem;
use crate::source::{
    eligibility::Eligibility,
    event::{Change, Completeness},
};

/// The objects of all manifests.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Services that this proxy serves.
    pub services: BTreeMap<ObjectName, Arc<Service>>,
    /// Slices of Services, and those derived from Pods for Services that have none.
    pub slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    /// The Node object of this node, if there is one.
    pub node: Option<Arc<Node>>,
    /// The ranges of all `ServiceCIDR` objects, in order.
    pub service_cidrs: Vec<IpNetwork>,
    /// The names of all Nodes of the input, in order.
    pub node_names: Vec<Arc<str>>,
    /// The stand-ins for values that a cluster would assign.
    pub stand_ins: StandIns,
    /// Objects for which no stand-in was left, as text.
    pub without_stand_in: Vec<String>,
    /// Objects of kinds that do not matter here, counted by kind.
    pub ignored: BTreeMap<String, usize>,
    /// Parts of objects that are ignored.
    pub warnings: Vec<Problem>,
    /// Paths, files and objects that cannot be used.
    pub errors: Vec<Problem>,
    /// How complete the input is.
    pub completeness: Completeness,
    /// Whether one of the paths could not be used at all, or a file could not be read: its objects are unknown.
    pub is_path_missing: bool,
}

/// What a refresh has changed, and new problems.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refresh {
    /// Differences: Services, slices, node, ranges.
    pub changes: Vec<Change>,
    /// Parts of objects that are ignored; each is reported once.
    pub warnings: Vec<Problem>,
    /// Paths, files and objects that cannot be used; each is reported once.
    pub errors: Vec<Problem>,
    /// How complete the input is now, if that changed.
    pub completeness: Option<Completeness>,
    /// Whether load balancers may use this node now, if that changed.
    pub(super) eligibility: Option<Eligibility>,
}

impl Refresh {
    /// Whether there is nothing to do and nothing to report.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds a later refresh.
    pub fn append(&mut self, later: Self) {
        let Self { changes, warnings, errors, completeness, eligibility } = later;
        self.changes.extend(changes);
        self.warnings.extend(warnings);
        self.errors.extend(errors);
        self.completeness = completeness.or(self.completeness);
        self.eligibility = eligibility.or(self.eligibility);
    }
}
