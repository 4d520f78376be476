//! What an earlier run left in the kernel, beyond what the state says.

mod expected;
pub mod leftovers;

pub use self::expected::ExpectedKeys;
