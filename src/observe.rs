//! What can be seen of a running agent: health, metrics, log lines and Events, and the servers that show them.

pub(crate) mod clock;
pub mod endpoint_counters;
pub mod events;
pub mod health;
pub mod logging;
pub mod metrics;
pub mod report;
pub mod server;
