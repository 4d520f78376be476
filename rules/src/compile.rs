//! Compiles Services into a ruleset: constant chains, and elements of shared maps.
//!
//! A *frontend* is one address and port that the node answers: (destination address, protocol, port),
//! or (protocol, node port) on a node address. Each has a *class*, which says how its first packets are
//! treated and among how many endpoints one is drawn, and endpoints at *slots* 0…N−1.

mod admission;
mod adopt;
pub(crate) mod claims;
mod class;
mod compiler;
mod config;
mod delta;
mod expected;
mod frontend;
mod maglev;
mod per_set;
mod pick;
mod placed;
mod port;
mod scaffold;
mod service;
mod sets;
mod slots;
mod sources;
mod sticky;

pub(crate) use self::{
    adopt::{AdoptedSlots, FrontendSlots},
    frontend::frontends,
};
pub use self::{
    class::Class,
    compiler::{Compiler, Loaded, NoLocalEndpoints, SetSize, Update},
    config::{Config, PodDetector},
    expected::{ExpectedKeys, first_slot, is_first_slot},
    frontend::{Door, FrontendKey, endpoint_from_value},
    per_set::PerSet,
    pick::{Pick, is_of_clients},
    scaffold::chains,
    service::{Problem, Severity},
    sets::{Role, SetName},
};
