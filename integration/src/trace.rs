//! What the API server of a large cluster writes while much happens at once: made up, from a seed.
//!
//! The cluster has nodes in three zones; Services, each with the Deployment that its name says, most of them small and few
//! large; and EndpointSlices as their controller keeps them: at most 100 endpoints each, filled up before another one is made,
//! and written once for all that happened to a Service until its turn came. The controller takes one Service every two
//! milliseconds, as five workers do that wait ten for each write. Four things happen, one after the other:
//!
//! | phase | what happens |
//! |---|---|
//! | rolling updates | so many Deployments at once replace all of their pods, with a surge of a quarter and a quarter unavailable. A new pod gets its address after one to three seconds, is ready two to ten later, and one in twenty fails once more; an old one terminates, still serving, for one to ten seconds |
//! | a zone is lost | all nodes of a zone fall silent within five seconds; their pods are not ready any more |
//! | the zone is back | their pods are ready again, within five seconds |
//! | Services created | so many Services, a hundred a second, each with its pods |
//!
//! All along, five pods a second fail a probe and pass it a second later. The kubelet of the node whose proxy looks on writes its
//! Node's status every ten seconds. Other Nodes are left out: a proxy watches its own alone.
//!
//! The same plan makes the same trace. A trace ends when nothing is under way any more: every Deployment has its pods, all of
//! them ready, and every slice says so.

mod cluster;
mod object;
mod rollout;
mod simulation;
mod slices;

use std::time::Duration;

pub use self::{object::Write, simulation::Simulation};

/// What a trace is made from.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The same seed makes the same trace.
    pub seed: u64,
    /// Nodes, a third in each zone; enough for their pods, of which each has addresses for 254.
    pub nodes: u32,
    /// Services at the beginning.
    pub services: u32,
    /// How many Deployments are updated at once.
    pub rollouts: u32,
    /// How many Services are created.
    pub created: u32,
}

/// One of the things that happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Deployments replace their pods.
    Rollouts,
    /// The nodes of a zone fall silent.
    ZoneLost,
    /// They are back.
    ZoneBack,
    /// Services are created.
    Created,
}

impl Phase {
    /// All, in their order.
    pub const ALL: [Self; 4] = [Self::Rollouts, Self::ZoneLost, Self::ZoneBack, Self::Created];
}

/// What is written at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Since the beginning of the phase.
    pub at: Duration,
    /// The objects.
    pub writes: Vec<Write>,
}
