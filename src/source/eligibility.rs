//! Whether load balancers may send traffic to this node, for health checks and the log.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use crate::observe::health::Health;

/// Whether this node is eligible for the traffic of load balancers (KEP-3836).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Eligibility {
    /// The Node exists and is not being removed.
    #[default]
    Eligible,
    /// The Node is being deleted, or the cluster autoscaler is about to delete it.
    Leaving,
    /// There is no Node with this name.
    Missing,
}

impl Eligibility {
    /// The eligibility of a Node that exists.
    pub fn of(is_eligible: bool) -> Self {
        if is_eligible { Self::Eligible } else { Self::Leaving }
    }
}

/// Reports the eligibility of this node, and logs changes.
#[derive(Debug)]
pub(super) struct EligibilityTracker {
    node_name: Arc<str>,
    last: Mutex<Option<Eligibility>>,
}

impl EligibilityTracker {
    /// Creates a tracker for the node with this name, whose eligibility is not known yet.
    pub fn new(node_name: Arc<str>) -> Self {
        Self { node_name, last: Mutex::default() }
    }

    /// Reports the present eligibility. Does not log it if the node is eligible from the start.
    pub fn update(&self, eligibility: Eligibility, health: &Health) {
        health.set_node_eligible(eligibility == Eligibility::Eligible);
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(eligibility);
        if last.unwrap_or(Eligibility::Eligible) == eligibility {
            return;
        }
        let node = &*self.node_name;
        match eligibility {
            Eligibility::Eligible => info!(node, "Node is eligible: load balancers may send it traffic"),
            Eligibility::Leaving => info!(node, "Node is being removed: load balancers should avoid it"),
            Eligibility::Missing => warn!(
                node,
                "There is no Node of this name: load balancers should avoid this node; check --hostname-override"
            ),
        }
    }
}
