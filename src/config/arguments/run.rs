//! The arguments of `run`: kube-proxy's flags, and a few more.

use std::path::PathBuf;

use clap::Args;

use super::{ManifestArgs, NodeArgs, boolean, optional_path};
use crate::config::Duration;

/// Arguments of `run`.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// File or directory with manifests (YAML or JSON), or - for standard input, in place of an API server; may
    /// be repeated
    #[arg(short = 'f', long = "filename", value_name = "PATH", conflicts_with_all = ["kubeconfig", "master"])]
    pub filenames: Vec<PathBuf>,

    /// Program the kernel once and exit; needs -f
    #[arg(long, requires = "filenames")]
    pub once: bool,

    /// What to take of manifests.
    #[command(flatten)]
    pub manifests: ManifestArgs,

    /// KubeProxyConfiguration (v1alpha1), as kubeadm writes it; most flags have no effect beside it
    #[arg(long, value_name = "FILE", value_parser = optional_path())]
    pub config: Option<PathBuf>,

    /// Print the resolved configuration and exit
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub show_config: Option<bool>,

    /// Write the resolved configuration to a file and exit
    #[arg(long, value_name = "FILE", value_parser = optional_path())]
    pub write_config_to: Option<PathBuf>,

    /// Do what needs privileges beyond NET_ADMIN (sysctls of connection tracking) and exit
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub init_only: Option<bool>,

    /// Remove Portolan's tables and exit, as `portolan cleanup`
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub cleanup: Option<bool>,

    /// Which proxy: nftables, the only one there is
    #[arg(long, value_name = "MODE")]
    pub proxy_mode: Option<String>,

    /// API server.
    #[command(flatten)]
    pub api: ApiArgs,
    /// Servers.
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Reconciler.
    #[command(flatten)]
    pub sync: SyncArgs,
    /// Connection tracking.
    #[command(flatten)]
    pub conntrack: ConntrackArgs,
    /// Process and logs.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// Facts of the node.
    #[command(flatten)]
    pub node: NodeArgs,
    /// What kube-proxy has and nobody needs here. Last, as their heading holds for all that follows.
    #[command(flatten)]
    pub ineffective: IneffectiveArgs,
}

/// Where to find the API server.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "API server")]
pub struct ApiArgs {
    /// Kubeconfig file [default: the pod's own credentials]
    #[arg(long, value_name = "FILE", value_parser = optional_path())]
    pub kubeconfig: Option<PathBuf>,

    /// URL of the API server, in place of the kubeconfig's; without a scheme http, or https if the kubeconfig has it
    #[arg(long, value_name = "URL")]
    pub master: Option<String>,
}

/// What to listen at.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Servers")]
pub struct ServerArgs {
    /// Address and port of the health server; empty to have none [default: 0.0.0.0:10256]
    #[arg(long, value_name = "ADDR")]
    pub healthz_bind_address: Option<String>,

    /// Address and port of the metrics server; empty to have none [default: 127.0.0.1:10249]
    #[arg(long, value_name = "ADDR")]
    pub metrics_bind_address: Option<String>,

    /// Port of the health server if its address has none; 0 to have no server. Superseded by
    /// `--healthz-bind-address`
    #[arg(long, value_name = "PORT", hide_short_help = true)]
    pub healthz_port: Option<u16>,

    /// Port of the metrics server, likewise
    #[arg(long, value_name = "PORT", hide_short_help = true)]
    pub metrics_port: Option<u16>,

    /// Address that stands for the node's primary one, for `--nodeport-addresses primary`; IPv6 moves the default
    /// listeners to IPv6 too. Nothing is bound to it
    #[arg(long, value_name = "IP")]
    pub bind_address: Option<String>,

    /// End if a server cannot bind its address, rather than trying again
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub bind_address_hard_fail: Option<bool>,
}

/// When and how to write to the kernel.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Reconciling")]
pub struct SyncArgs {
    /// A change that waits for twice as long makes the agent unhealthy [default: 30s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub iptables_sync_period: Option<Duration>,

    /// Least time between two reconciles [default: 0s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub iptables_min_sync_period: Option<Duration>,

    /// How often the whole kernel is compared although nobody is known to have changed it [default: 1h]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub full_sync_period: Option<Duration>,

    /// Own the tables, so that nobody else can change or flush them (where the kernel can)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub table_owner: Option<bool>,
}

/// Connection tracking.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection tracking")]
pub struct ConntrackArgs {
    /// Connections to track for each CPU; 0 leaves the limit alone [default: 32768]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub conntrack_max_per_core: Option<i32>,

    /// At least so many connections, however few CPUs there are [default: 131072]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub conntrack_min: Option<i32>,

    /// Idle time of an established TCP connection; 0 leaves it alone [default: 24h]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub conntrack_tcp_timeout_established: Option<Duration>,

    /// Idle time of a TCP connection in CLOSE_WAIT; 0 leaves it alone [default: 1h]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub conntrack_tcp_timeout_close_wait: Option<Duration>,

    /// Take TCP packets outside the window for valid
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub conntrack_tcp_be_liberal: Option<bool>,

    /// Idle time of a UDP flow without reply; 0 leaves it alone [default: 0s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub conntrack_udp_timeout: Option<Duration>,

    /// Idle time of a UDP flow with replies; 0 leaves it alone [default: 0s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub conntrack_udp_timeout_stream: Option<Duration>,
}

/// The process itself, and what it says.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Process and logs")]
pub struct ProcessArgs {
    /// What the out-of-memory killer makes of this process, -1000 (spare it) to 1000 [default: -999]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub oom_score_adj: Option<i32>,

    /// Format of log lines: text (klog's) or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub logging_format: Option<String>,

    /// Verbosity: 0 to 3 what an operator cares about, 4 and more for debugging [default: 0]
    #[arg(short = 'v', long = "v", value_name = "LEVEL")]
    pub verbosity: Option<u32>,
}

/// Flags of kube-proxy that mean nothing here. Those that are given are named in one warning.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Accepted because kube-proxy has them; without effect")]
#[expect(missing_docs, reason = "without meaning here")]
pub struct IneffectiveArgs {
    #[arg(long, value_name = "DURATION", hide_short_help = true, allow_hyphen_values = true)]
    pub config_sync_period: Option<Duration>,
    #[arg(long, value_name = "GATE=BOOL,…", hide_short_help = true)]
    pub feature_gates: Vec<String>,
    #[arg(long, value_name = "BOOL", hide_short_help = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub iptables_localhost_nodeports: Option<bool>,
    #[arg(long, value_name = "CIDR,…", hide_short_help = true)]
    pub ipvs_exclude_cidrs: Vec<String>,
    #[arg(long, value_name = "DURATION", hide_short_help = true, allow_hyphen_values = true)]
    pub ipvs_min_sync_period: Option<Duration>,
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub ipvs_scheduler: Option<String>,
    #[arg(long, value_name = "BOOL", hide_short_help = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub ipvs_strict_arp: Option<bool>,
    #[arg(long, value_name = "DURATION", hide_short_help = true, allow_hyphen_values = true)]
    pub ipvs_sync_period: Option<Duration>,
    #[arg(long, value_name = "DURATION", hide_short_help = true, allow_hyphen_values = true)]
    pub ipvs_tcp_timeout: Option<Duration>,
    #[arg(long, value_name = "DURATION", hide_short_help = true, allow_hyphen_values = true)]
    pub ipvs_tcpfin_timeout: Option<Duration>,
    #[arg(long, value_name = "DURATION", hide_short_help = true, allow_hyphen_values = true)]
    pub ipvs_udp_timeout: Option<Duration>,
    #[arg(long, value_name = "N", hide_short_help = true, allow_negative_numbers = true)]
    pub kube_api_burst: Option<i32>,
    #[arg(long, value_name = "TYPE", hide_short_help = true)]
    pub kube_api_content_type: Option<String>,
    #[arg(long, value_name = "N", hide_short_help = true, allow_negative_numbers = true)]
    pub kube_api_qps: Option<f32>,
    #[arg(long, value_name = "DURATION", hide_short_help = true, allow_hyphen_values = true)]
    pub log_flush_frequency: Option<Duration>,
    #[arg(long, value_name = "SIZE", hide_short_help = true)]
    pub log_json_info_buffer_size: Option<String>,
    #[arg(long, value_name = "BOOL", hide_short_help = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub log_json_split_stream: Option<bool>,
    #[arg(long, value_name = "SIZE", hide_short_help = true)]
    pub log_text_info_buffer_size: Option<String>,
    #[arg(long, value_name = "BOOL", hide_short_help = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub log_text_split_stream: Option<bool>,
    #[arg(long, value_name = "BOOL", hide_short_help = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub profiling: Option<bool>,
    #[arg(long, value_name = "FROM-TO", hide_short_help = true)]
    pub proxy_port_range: Option<String>,
    #[arg(long, value_name = "VERSION", hide_short_help = true)]
    pub show_hidden_metrics_for_version: Option<String>,
    #[arg(long, value_name = "FILE=LEVEL,…", hide_short_help = true)]
    pub vmodule: Vec<String>,
}
