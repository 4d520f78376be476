//! `hints.forNodes` and `hints.forZones`, which the API server's controller sets according to `trafficDistribution`.

use std::{net::SocketAddr, sync::Arc};

use crate::model::{Endpoint, Node};

/// Which hints restrict the selection (KEP-2433, KEP-3015).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Hints for this node.
    SameNode,
    /// Hints for its zone.
    SameZone,
    /// No hints.
    Anywhere,
}

impl Topology {
    /// Decided by the ready endpoints only: a level applies if each of them has a hint of that level, and one of these
    /// hints names this node or zone.
    pub fn of(endpoints: &[(SocketAddr, &Endpoint)], node: &Node) -> Self {
        let level = |hints: fn(&Endpoint) -> &[Arc<str>], own: &str| {
            let mut ready = endpoints.iter().map(|(_, e)| *e).filter(|e| e.ready).peekable();
            ready.peek().is_some()
                && !own.is_empty()
                && ready.clone().all(|e| !hints(e).is_empty())
                && ready.any(|e| hints(e).iter().any(|hint| **hint == *own))
        };
        if level(|e| &e.hints.nodes, &node.name) {
            Self::SameNode
        } else if level(|e| &e.hints.zones, node.zone.as_deref().unwrap_or_default()) {
            Self::SameZone
        } else {
            Self::Anywhere
        }
    }

    /// Whether a ready endpoint is selected.
    pub fn admits(self, endpoint: &Endpoint, node: &Node) -> bool {
        let own_zone = node.zone.as_deref().unwrap_or_default();
        match self {
            Self::SameNode => endpoint.hints.nodes.iter().any(|hint| **hint == *node.name),
            Self::SameZone => endpoint.hints.zones.iter().any(|hint| **hint == *own_zone),
            Self::Anywhere => true,
        }
    }

    /// Whether this endpoint alone, if it is ready, keeps another level from applying.
    pub fn is_held_by(self, endpoint: &Endpoint, node: &Node) -> bool {
        let (hints, has_zone) = (&*endpoint.hints, node.zone.as_ref().is_some_and(|zone| !zone.is_empty()));
        let holds = match self {
            Self::SameNode => true,
            Self::SameZone => hints.nodes.is_empty(),
            Self::Anywhere => hints.nodes.is_empty() && (hints.zones.is_empty() || !has_zone),
        };
        endpoint.ready && holds && self.admits(endpoint, node)
    }

    /// Whether the level stays when these endpoints are added to the endpoints that decided it. False if that depends
    /// on other endpoints.
    pub fn stays(self, endpoints: &[&Endpoint], node: &Node) -> bool {
        let has_hint = |endpoint: &Endpoint| match self {
            Self::SameNode => !endpoint.hints.nodes.is_empty(),
            Self::SameZone => !endpoint.hints.zones.is_empty(),
            Self::Anywhere => true,
        };
        endpoints.iter().all(|e| !e.ready || has_hint(e))
            && endpoints.iter().any(|e| self.is_held_by(e, node))
    }
}
