//! How a running agent is observed: health, metrics, log lines and Events, and the HTTP servers that publish them.

pub mod agent_state;
pub(crate) mod clock;
pub mod counts;
pub mod endpoint_counters;
pub mod events;
pub mod flows;
pub mod health;
pub mod history;
pub mod logging;
pub mod metrics;
pub mod query;
pub mod report;
pub mod server;
pub mod state_text;
pub mod state_values;
