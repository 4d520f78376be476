//! The explanation of a node's Services: their frontends, where each frontend leads and with which shares, and
//! everything that was left out, with the reason and the API field that decided it.
//!
//! It is made from the state, the compiler and the ruleset that program the kernel. Shares come from the compiler's
//! slots, or else from [`crate::simulate`]. Nothing here reads the API a second time or decides anything anew: a test
//! checks that the endpoints without a reason are those that the compiler selected.

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
