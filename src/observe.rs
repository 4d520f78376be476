//! How a running agent is observed: health, metrics, log lines and Events, and the HTTP servers that publish them.

pub(crate) mod clock;
pub mod endpoint_counters;
pub mod events;
pub mod health;
pub mod logging;
pub mod metrics;
pub mod report;
pub mod server;
