//! Settings of an agent that stays, checked: what `portolan run` needs beyond the facts of the node.

mod check;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{Settings, SettingsError};
use crate::config::{self, KubeProxyConfiguration, Origin, arguments::RunArgs};

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
    /// Limits and timeouts of connection tracking (`conntrack`).
    pub conntrack: ConntrackSettings,
    /// What the out-of-memory killer makes of this process, -1000 to 1000 (`oomScoreAdj`).
    pub oom_score_adj: Wish<i32>,
    /// How to log (`logging`).
    pub logging: LoggingSettings,
    /// The configuration file that all this was read from.
    pub config_file: Option<PathBuf>,
    /// All this as a configuration file has it, with defaults written down: what `/configz` shows and
    /// `--write-config-to` writes.
    pub configuration: KubeProxyConfiguration,
    /// What the file cannot say, as flags: `--table-name=edge`.
    pub beside_configuration: Vec<String>,
    /// Fields and flags that were given but mean nothing here, or not beside a configuration file.
    pub ineffective: Vec<String>,
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

/// A value that something outside this process is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish<T> {
    /// The value.
    pub value: T,
    /// Whether it was asked for, rather than being the default: only then is it an error if it cannot be had.
    pub is_explicit: bool,
}

impl<T: PartialEq> Wish<T> {
    /// A value beside the default.
    fn new(value: T, default: &T) -> Self {
        Self { is_explicit: value != *default, value }
    }
}

/// Limits and timeouts of connection tracking (`net.netfilter.nf_conntrack_*`). Times are in seconds; `None` and 0
/// leave the kernel's value alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConntrackSettings {
    /// Connections to track for each CPU (`maxPerCore`).
    pub max_per_core: Wish<u32>,
    /// At least so many in all (`min`).
    pub min: Wish<u32>,
    /// `tcp_timeout_established`.
    pub tcp_established: Wish<u64>,
    /// `tcp_timeout_close_wait`.
    pub tcp_close_wait: Wish<u64>,
    /// `tcp_be_liberal`; false leaves it alone.
    pub tcp_be_liberal: bool,
    /// `udp_timeout`.
    pub udp: Wish<u64>,
    /// `udp_timeout_stream`.
    pub udp_stream: Wish<u64>,
}

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoggingSettings {
    /// Lines of JSON rather than klog's text.
    pub is_json: bool,
    /// Verbosity as klog counts it.
    pub verbosity: u32,
}

impl RunSettings {
    /// Reads the configuration file, if one is given, and checks everything. Touches nothing else.
    ///
    /// Beside a file only those flags count that it has no field for, and `--hostname-override` and those of
    /// logging, which override it, as for kube-proxy.
    pub fn resolve(args: &RunArgs) -> Result<Self, SettingsError> {
        let flags = KubeProxyConfiguration::try_from(args)?;
        let Some(path) = args.config.as_ref().filter(|path| !path.as_os_str().is_empty()) else {
            return Self::check(&flags, &Origin::Flags, args);
        };
        let mut given = config::read(path)?;
        let mut inert = flags;
        for (over, field) in [
            (&mut inert.hostname_override, &mut given.hostname_override),
            (&mut inert.logging.format, &mut given.logging.format),
        ] {
            *field = over.take().or(field.take());
        }
        given.logging.verbosity = inert.logging.verbosity.take().or(given.logging.verbosity);
        // Empty, they say what a file cannot.
        for listener in [&mut inert.healthz_bind_address, &mut inert.metrics_bind_address] {
            listener.take_if(|address| address.trim().is_empty());
        }
        let mut settings = Self::check(&given, &Origin::File(path.clone()), args)?;
        settings.ineffective.extend(check::names(&Origin::Flags, &config::fields_set(&inert)));
        settings.config_file = Some(path.clone());
        Ok(settings)
    }

    /// Who said all this.
    pub fn origin(&self) -> Origin {
        self.config_file.clone().map_or(Origin::Flags, Origin::File)
    }
}
