//! Compiles Services into a ruleset: constant chains, and elements of shared maps.
//!
//! [`Compiler`] takes what changed in the state and gives what to change in the kernel ([`Update`]). A Service is
//! compiled on its own, to its frontends, their classes, and the endpoints at their slots; [`Compiler`] keeps these,
//! settles which Service owns a frontend, and notes the difference from before.

mod admission;
mod compiler;
mod port;
mod problem;
mod service;

pub use self::{
    compiler::{Compiler, Update, cold_start::Loaded, endpoint_counts::NoLocalEndpoints, metrics::SetSize},
    problem::{Problem, Severity},
};
