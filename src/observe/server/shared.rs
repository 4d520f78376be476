//! The servers' settings, and what their handlers share.

use std::{io, net::SocketAddr, sync::Arc, time::Instant};

use crate::{
    config::Origin,
    kernel::nftables::Features,
    observe::{health::Health, metrics::Metrics},
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
    pub started: Instant,
}
