//! The cluster source of the agent against the test API server: the updates that the agent gets for any answers of the
//! server.
//!
//! A test prepares answers one by one, or the server itself answers; each test has its own namespace. The tests need
//! root, and report an error without it.

mod bounds;
mod delivery;
mod events;
mod faults;
mod lists;
mod recorded;
mod restored;
mod wire;
mod world;
