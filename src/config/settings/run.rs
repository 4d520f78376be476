//! Settings of the agent: what `portolan run` needs beyond the settings of the rules.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::node::Settings;
use crate::config::{Error, Options, Origin};

/// The settings of `portolan run`, from flags or a configuration file.
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
    /// The socket on which commands on this node query the agent (`--socket`); `None` to have no socket.
    pub socket: Option<PathBuf>,
    /// Whether a server that cannot bind its address ends the agent (`bindAddressHardFail`); if not, it tries
    /// again every 5 seconds.
    pub bind_hard_fail: bool,
    /// Whether the tables carry the kernel's owner and persist flags (`NFT_TABLE_F_OWNER`, `NFT_TABLE_F_PERSIST`),
    /// so that no other process can change or flush them.
    pub table_owner: bool,
    /// Limits and timeouts of connection tracking (`conntrack`).
    pub conntrack: ConntrackSettings,
    /// Score of this process for the out-of-memory killer, -1000 to 1000 (`oomScoreAdj`).
    pub oom_score_adj: Requested<i32>,
    /// How to log (`logging`).
    pub logging: LoggingSettings,
    /// Where the settings come from.
    pub origin: Origin,
    /// All options with their defaults: what `/configz` shows and `--write-config-to` writes.
    pub options: Options,
    /// Flags for which the file has no field, as `--table-name=edge`.
    pub flags_beside_file: Vec<String>,
    /// Fields and flags that are given but have no effect here, or none beside a configuration file.
    pub without_effect: Vec<String>,
    /// Warnings about unknown or repeated fields of the file.
    pub warnings: Vec<Error>,
}

/// When to reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncSettings {
    /// A queued change older than twice this makes the agent unhealthy (`nftables.syncPeriod`).
    pub period: Duration,
    /// Least time from the end of one reconcile to the start of the next (`nftables.minSyncPeriod`); zero for
    /// none.
    pub min_period: Duration,
    /// How often all rules are compared with the kernel's, even if no change of them is known.
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
    /// The context of the kubeconfig to use instead of its current context.
    pub context: Option<String>,
    /// URL of the API server (`--master`), which overrides the kubeconfig's.
    pub master: Option<String>,
    /// Whether objects are read only as JSON (`clientConnection.contentType`), rather than as protobuf where the server
    /// has it.
    pub is_json: bool,
    /// How often all objects are relisted, less up to half of that time (`--relist-period`); `None` for never.
    pub relist: Option<Duration>,
    /// The key of the taint that this Node keeps until its Services are programmed (`--remove-taint`).
    pub startup_taint: Option<String>,
}

/// A value to set outside this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requested<T> {
    /// The value.
    pub value: T,
    /// Whether the value was requested, rather than being the default. Only if it was requested is it an error that it
    /// cannot be set.
    pub is_explicit: bool,
}

/// Limits and timeouts of connection tracking (`net.netfilter.nf_conntrack_*`). Times are in seconds; `None` and 0
/// leave the kernel's value alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConntrackSettings {
    /// Connections to track for each CPU (`maxPerCore`).
    pub max_per_core: Requested<u32>,
    /// The least number of connections to track (`min`).
    pub min: Requested<u32>,
    /// `tcp_timeout_established`.
    pub tcp_established: Requested<u64>,
    /// `tcp_timeout_close_wait`.
    pub tcp_close_wait: Requested<u64>,
    /// `tcp_be_liberal`; false leaves it alone.
    pub tcp_be_liberal: bool,
    /// `udp_timeout`.
    pub udp: Requested<u64>,
    /// `udp_timeout_stream`.
    pub udp_stream: Requested<u64>,
}

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoggingSettings {
    /// Whether lines are JSON rather than klog's text.
    pub is_json: bool,
    /// Verbosity as klog counts it.
    pub verbosity: u32,
}
