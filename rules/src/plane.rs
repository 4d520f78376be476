//! What stands in the kernel: a constant number of chains, and the sets and maps that they look into.
//!
//! A frontend's element names its *class*, which says how its first packets are treated and among how many endpoints
//! one is chosen. Whatever differs between Services is an element of a set.

mod class;
mod config;
mod dispatch;
mod keys;
mod per_set;
mod pick;
pub mod planes;
mod range_list;
mod sets;

pub use self::{
    class::Class,
    config::{Config, PodDetector},
    dispatch::chains,
    per_set::PerSet,
    pick::{Pick, is_of_clients},
    range_list::RangeList,
    sets::{Role, SetName},
};
pub(crate) use self::{
    dispatch::constant_chains,
    keys::{
        ENDPOINT_MASK, Keys, LOCAL_SLOTS, PORT_MASK, attribute, attributes_of, first_slot, is_first_slot,
        is_lasting, lasting,
    },
    pick::Picks,
    sets::size_for,
};
