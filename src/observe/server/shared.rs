//! What the handlers of the servers share, and why there are no servers.

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
        /// The flag, or file and field, that names it.
        option: String,
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// There is no thread or no event queue to run on.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[from] io::Error),
}

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub settings: Arc<RunSettings>,
    pub features: Arc<Features>,
    pub health: Health,
    pub metrics: Metrics,
    pub history: History,
    pub asker: Asker,
    pub counters: Option<Counters>,
    pub started: Instant,
}
