//! What an earlier run left in the kernel, and how it is taken over.
//!
//! The compiler takes over slots ([`crate::compile::Compiler::load`]). This module finds the keys to which the kernel's
//! elements lead, and the leftovers: the objects that the kernel has beyond an incomplete state.

mod led;
pub mod leftovers;
mod read_back;

pub use self::{
    led::{endpoint_id_keys, led_to},
    read_back::{node_addresses, read_back},
};
