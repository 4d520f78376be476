//! What the handlers of the servers share, and errors that keep the servers from starting.

use std::{io, net::SocketAddr, sync::Arc, time::Instant};

use crate::{
    config::settings::RunSettings,
    kernel::nftables::Features,
    observe::{
        endpoint_counters::Counters, health::Health, history::History, metrics::Metrics, query::Asker,
    },
};

/// Why the servers cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address cannot be bound, with `bindAddressHardFail`.
    #[error("{option} {address}: {source}")]
    Bind {
        /// The flag, or file and field, that names the address.
        option: String,
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// No thread or event queue could be created.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[from] io::Error),
}

/// What the handlers share.
#[derive(Clone)]
pub struct Shared {
    /// The settings of the agent.
    pub settings: Arc<RunSettings>,
    /// The features of the kernel.
    pub features: Arc<Features>,
    /// The health of the proxy.
    pub health: Health,
    /// All metrics.
    pub metrics: Metrics,
    /// The last commits.
    pub history: History,
    /// Queries the reconciler.
    pub asker: Asker,
    /// The counters of connections, if they are enabled.
    pub counters: Option<Counters>,
    /// When the agent started.
    pub started: Instant,
}
