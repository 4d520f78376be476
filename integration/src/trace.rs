//! The writes of the API server of a large cluster while much happens at once: synthetic, from a seed.
//!
//! The cluster has nodes in three zones; Services, each with a Deployment, most of them small and few
//! large; and EndpointSlices as their controller maintains them: at most 100 endpoints each, filled before another one
//! is created, and written once for everything that happened to a Service until its turn came. The controller handles
//! one Service every two milliseconds, as five workers do that wait ten milliseconds for each write. Four phases
//! follow one another:
//!
//! | phase | what happens |
//! |---|---|
//! | rolling updates | a number of Deployments replace all of their pods at once, with a surge of a quarter and a quarter unavailable. A new pod gets its address after one to three seconds and is ready two to ten seconds later; one in twenty fails once after that. An old pod terminates, still serving, for one to ten seconds |
//! | a zone is lost | all nodes of a zone fall silent within five seconds; their pods are no longer ready |
//! | the zone is back | their pods are ready again, within five seconds |
//! | Services created | a number of Services, a hundred per second, each with its pods |
//!
//! All along, five pods a second fail a probe and pass it a second later. The kubelet of the observing proxy's node
//! writes the status of its Node every ten seconds. Other Nodes are left out: a proxy watches only its own.
//!
//! The same plan gives the same trace. A trace ends when nothing is in progress any more: every Deployment has its
//! pods, all of them are ready, and the slices list them so.

mod cluster;
mod object;
mod rollout;
mod simulation;
mod slices;

use std::time::Duration;

pub use self::{object::Write, simulation::Simulation};

/// The parameters of a trace.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The same seed gives the same trace.
    pub seed: u64,
    /// Number of nodes, a third in each zone; enough for their pods: each node has addresses for 254.
    pub nodes: u32,
    /// Number of Services at the beginning.
    pub services: u32,
    /// How many Deployments are updated at once.
    pub rollouts: u32,
    /// How many Services are created.
    pub created: u32,
}

/// One phase of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Deployments replace their pods.
    Rollouts,
    /// The nodes of a zone fall silent.
    ZoneLost,
    /// The nodes of the zone are back.
    ZoneBack,
    /// Services are created.
    Created,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Self; 4] = [Self::Rollouts, Self::ZoneLost, Self::ZoneBack, Self::Created];
}

/// The writes of one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The time since the beginning of the phase.
    pub at: Duration,
    /// The objects.
    pub writes: Vec<Write>,
}
