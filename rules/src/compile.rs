//! Compiles Services into a ruleset: constant chains, and elements of shared maps.
//!
//! [`Compiler`] takes the changes of the state and returns the changes for the kernel ([`Plan`]). Each Service is
//! compiled separately, to its frontends, their classes, and the endpoints at their slots. [`Compiler`] keeps these,
//! decides which Service owns a frontend, and notes the difference from the previous version.

mod admission;
mod compiler;
mod port;
mod problem;
mod service;

pub use self::{
    compiler::{Compiler, Plan, cold_start::Loaded, endpoint_counts::NoLocalEndpoints, metrics::SetSize},
    problem::{Problem, Severity},
};
