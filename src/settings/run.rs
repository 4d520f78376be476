//! Settings of an agent that stays, checked: what `portolan run` needs beyond the facts of the node.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::Settings;

/// Everything that `portolan run` was told, by flags or by a configuration file.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// What the rules depend on.
    pub node: Settings,
    /// When to reconcile.
    pub sync: SyncSettings,
    /// Where to find the API server.
    pub api: ApiSettings,
    /// Health server (`healthzBindAddress`); `None` to have none.
    pub healthz: Option<SocketAddr>,
    /// Metrics server (`metricsBindAddress`); `None` to have none.
    pub metrics: Option<SocketAddr>,
    /// Whether a server that cannot bind its address ends the agent (`bindAddressHardFail`); if not, it tries
    /// again every 5 seconds.
    pub bind_hard_fail: bool,
    /// Whether the tables carry the kernel's owner and persist flags (`NFT_TABLE_F_OWNER`, `NFT_TABLE_F_PERSIST`),
    /// so that nobody else can change or flush them.
    pub table_owner: bool,
    /// Whether new connections are counted for each endpoint, which doubles the size of an element.
    pub endpoint_counters: bool,
}

/// When to reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncSettings {
    /// A queued change older than twice this makes the agent unhealthy (`nftables.syncPeriod`).
    pub period: Duration,
    /// Least time from the end of one reconcile to the start of the next (`nftables.minSyncPeriod`); zero for
    /// none.
    pub min_period: Duration,
    /// How often everything is compared with the kernel although nobody is known to have changed it.
    pub full_period: Duration,
}

impl Default for SyncSettings {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(30),
            min_period: Duration::ZERO,
            full_period: Duration::from_hours(1),
        }
    }
}

/// Where to find the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiSettings {
    /// A kubeconfig file (`clientConnection.kubeconfig`); in-cluster credentials if neither this nor `master` is
    /// given.
    pub kubeconfig: Option<PathBuf>,
    /// URL of the API server (`--master`), which overrides the kubeconfig's.
    pub master: Option<String>,
}
