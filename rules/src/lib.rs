//! Compiles Kubernetes Services and `EndpointSlices` into an nftables ruleset.
//!
//! The API is small: a [`state::State`] takes the objects of the cluster, a [`compile::Compiler`] takes the state
//! and returns a [`Plan`](compile::Plan): the transactions to commit. Everything here is a pure function of
//! its arguments: no I/O, no clock, no unsafe code.
//!
//! The modules, in the order in which data passes through them; each uses only those before it:
//!
//! 1. [`model`]: Services, `EndpointSlices` and the node, as far as a service proxy needs them.
//! 2. [`ruleset`]: tables, chains, rules, sets and elements; transactions, and the difference between two rulesets.
//! 3. [`frontends`]: the addresses and ports at which a Service answers, and which Service owns a contested
//!    frontend.
//! 4. [`state`]: all objects of the cluster, and which Services a change affects.
//! 5. [`selection`]: which endpoints a frontend leads to: one file per API field that affects the choice.
//! 6. [`plane`]: the chains and sets in the kernel, and the class of each frontend.
//! 7. [`placement`]: which endpoint has which slot, and the endpoint ids of session affinity.
//! 8. [`incremental`]: what changed, and the transactions that commit the changes.
//! 9. [`compile`]: compiles each Service with the modules above, and keeps the result.
//! 10. [`restart`]: what an earlier run left in the kernel.
//!
//! Two modules read any ruleset: [`print`](mod@print) writes a ruleset as text or JSON, and
//! [`simulate`](mod@simulate) computes what a ruleset does with a packet. [`explanation`] uses both to report where
//! Services lead and why, [`picture`] draws an explanation, [`mod@iptables`] writes its Services for iptables, and
//! [`comparison`] reports what differs between two states.
#![forbid(unsafe_code)]

pub mod comparison;
pub mod compile;
pub mod explanation;
pub mod frontends;
pub mod incremental;
pub mod iptables;
pub mod model;
mod named;
pub mod picture;
pub mod placement;
pub mod plane;
pub mod print;
pub mod restart;
pub mod ruleset;
pub mod selection;
pub mod simulate;
pub mod state;
#[cfg(test)]
mod tests;
