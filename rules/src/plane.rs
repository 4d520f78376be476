//! The rules in the kernel: a constant number of chains, and the sets and maps that they look into.
//!
//! A frontend's element names its *class*, which decides how its first packets are treated and among how many endpoints
//! one is chosen. Everything that differs between Services is an element of a set.
//!
//! `dispatch` contains the chains that always exist, [`Class`] the chains of the classes, and `session_affinity` the
//! chains that remember clients. [`SetName`] lists the sets, and `keys` makes and reads their keys and values. With
//! [`planes`] all of this can be made beside the objects in force, to replace them at once.

pub mod chains;
mod class;
mod config;
mod dispatch;
mod keys;
mod per_set;
mod pick;
pub mod planes;
mod range_list;
mod session_affinity;
mod sets;

pub use self::{
    class::Class,
    config::{Config, PodDetector},
    keys::{Keys, endpoint_from_value, has_leaders, is_of_attributes, number_from_value},
    per_set::PerSet,
    pick::Pick,
    range_list::RangeList,
    session_affinity::is_of_clients,
    sets::{Role, SetName},
};
pub(crate) use self::{
    dispatch::constant_chains,
    keys::{
        ENDPOINT_MASK, LOCAL_SLOTS, PORT_MASK, attribute, attributes_of, classes_of, endpoint_id_key,
        endpoint_value, first_slot, frontend_of_class, is_first_slot,
    },
    pick::Picks,
    sets::size_for,
};
