//! The explanation of a node's Services: which frontends there are, where each leads with which share, and everything
//! that was left out, with the reason and the API field that decided it.
//!
//! It is made from the state, the compiler and the ruleset that program the kernel, and shares come from
//! [`crate::simulate`]. Nothing here reads the API a second time or decides anything anew: a test holds that the
//! endpoints without a reason are those that the compiler selected.

mod client;
mod compiled;
mod explained;
mod finding;
mod reason;
mod service;
mod stand_ins;
mod summary;
pub mod trace;
mod workload;

pub use self::{
    client::Origin,
    compiled::Compiled,
    explained::{
        ExplainedEndpoint, ExplainedFrontend, ExplainedPort, ExplainedService, Finding, Rules, View,
    },
    reason::{Reason, Severity},
    stand_ins::StandIns,
    summary::{Answer, PolicyShares},
    workload::{Labels, Pod, Selector, Workloads},
};
