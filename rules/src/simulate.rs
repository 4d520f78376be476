//! Computes what a ruleset does with a packet, without a kernel.
//!
//! [`simulate`](fn@simulate) reads the ruleset only, never the Services it was compiled from, so it can contradict the
//! compiler. It walks the hooks as the kernel does for the first packet of a connection and keeps to the kernel's
//! semantics: registers, rules that end at a failed test, jump and goto, base chains in order of priority, one
//! translation per direction. Random choices are not drawn but enumerated, so the answer is an exact distribution.
//!
//! The simulation leaves out: tables outside of the ruleset, routing beyond "is the destination local", ports and
//! addresses that a masquerade picks (rules after one see the old source), and the bias of at most 2⁻³² that the
//! kernel's `numgen random` has when its modulus is not a power of two.

mod commit;
mod courses;
mod draws;
mod evaluate;
mod explain;
mod jhash;
mod memory;
mod moment;
mod outcome;
mod packet;
mod probability;
mod rule;
#[cfg(test)]
mod tests;
mod walk;

pub use self::{
    commit::Lookups,
    courses::simulate,
    explain::explain,
    memory::Memory,
    moment::Moment,
    outcome::{Action, Case, Decision, Effect, Fate, Outcome, SetWrite, Step, UnknownReason},
    packet::{Host, Input, Packet},
    probability::Probability,
};
