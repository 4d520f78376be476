//! The cluster source of the agent against the test API server: what the agent is sent, whatever the server answers.
//!
//! Answers are prepared one by one, or given by the server itself; each test has a namespace of its own. They need root
//! and say so without it.

mod bounds;
mod delivery;
mod events;
mod faults;
mod lists;
mod recorded;
mod restored;
mod wire;
mod world;
