//! Whether this node is there, and stays: load balancers go by it, and people want to know when it changes.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use crate::observe::health::Health;

/// What the Node object says of this node's future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is there and stays.
    Stays,
    /// It is being deleted, or about to be by the cluster autoscaler.
    Leaves,
    /// There is no Node object of this name.
    Missing,
}

/// What was last said of it.
#[derive(Debug)]
pub(super) struct Lookout {
    node_name: Arc<str>,
    last: Mutex<Option<Standing>>,
}

impl Lookout {
    /// Nothing was said yet.
    pub fn new(node_name: Arc<str>) -> Self {
        Self { node_name, last: Mutex::default() }
    }

    /// Takes note. Nobody needs to be told that a node is there when it was never anything else.
    pub fn note(&self, standing: Standing, health: &Health) {
        health.set_node_eligible(standing == Standing::Stays);
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(standing);
        if last.unwrap_or(Standing::Stays) == standing {
            return;
        }
        let node = &*self.node_name;
        match standing {
            Standing::Stays => info!(node, "This node stays: load balancers may send it traffic"),
            Standing::Leaves => info!(node, "This node is about to go: load balancers are told to leave it"),
            Standing::Missing => warn!(
                node,
                "There is no Node of this name, so that load balancers are told to leave it; is it what \
                 --hostname-override should be?"
            ),
        }
    }
}
