//! Plans: the transactions in which a change is committed, so that no packet under way finds half of it.
//!
//! A packet sees the rules that are in force when it enters a base chain, and the elements that are in force at each
//! lookup; sets of ranges change last of all ([`crate::simulate::Moment`]). So a change is committed in phases:
//!
//! 1. *prepare*: chains, the elements that lead to them, and source ranges. Nothing leads to them yet.
//! 2. *switch*: the elements that packets look up first, and, with them or before them, the elements that they lead to.
//! 3. *retire*: objects that nothing leads to any more, once no packet that was led to them is under way; see
//!    [`Retiring`].
//!
//! A change that needs no preparation is one transaction: a packet that finds a new frontend also finds the elements
//! that it leads to. Each phase is cut into parts of [`PART`] operations, so that the kernel's mutex is never held for
//! long.

mod change;
mod changes;
mod difference;
mod parts;
mod retiring;
mod whole;

pub use self::{
    change::{Act, ElementChange, PART},
    changes::Changes,
    difference::{is_made_anew, make_equal},
    parts::Parts,
    retiring::Retiring,
    whole::{Emit, Whole},
};
