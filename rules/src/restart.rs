//! What an earlier run left in the kernel, and how it is taken over.
//!
//! Slots are taken over by the compiler itself ([`crate::compile::Compiler::load`]). Here are the keys to which the
//! kernel's elements lead, and the leftovers: what it has beyond an incomplete state.

mod led;
pub mod leftovers;
mod read_back;

pub use self::{
    led::{endpoint_id_keys, led_to},
    read_back::{node_addresses, read_back},
};
