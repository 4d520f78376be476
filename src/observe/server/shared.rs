//! The servers' settings, and what their handlers share.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Instant};

use crate::{
    config::Origin,
    kernel::nftables::Features,
    observe::{
        endpoint_counters::Counters, health::Health, history::History, metrics::Metrics, query::Asker,
    },
};

/// The settings of the servers.
#[derive(Clone, Debug, Default)]
pub struct ServerSettings {
    /// Name of this node, for people.
    pub node_name: Arc<str>,
    /// Where `/healthz`, `/livez` and `/readyz` are (`healthzBindAddress`); `None` for nowhere.
    pub healthz: Option<SocketAddr>,
    /// Where `/metrics` and its like are (`metricsBindAddress`); `None` for nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where commands on this node ask (`--socket`); `None` for nowhere.
    pub socket: Option<PathBuf>,
    /// Whether an address that cannot be bound is an error (`bindAddressHardFail`); if not, it is retried every five
    /// seconds.
    pub bind_hard_fail: bool,
    /// Where the addresses are configured.
    pub origin: Origin,
    /// The kernel's features, for people.
    pub features: Features,
    /// What `/configz` shows: the configuration as it is in effect.
    pub config: serde_json::Value,
}

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
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub settings: Arc<ServerSettings>,
    pub health: Health,
    pub metrics: Metrics,
    pub history: History,
    pub asker: Asker,
    pub counters: Option<Counters>,
    pub started: Instant,
}
