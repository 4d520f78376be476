//! The list of options: a row for each flag of `portolan run` that is a setting, and for each field of
//! `KubeProxyConfiguration`.
//!
//! From it come the fields of [`Options`], clap's arguments, the reading and writing of the file, defaults, names in
//! messages, the warning about what has no effect, and `docs/configuration.md`. To add an option, add a row here and
//! use its field of [`Options`] in [`super::settings`].

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{
    Duration,
    document::Node,
    value::{Invalid, Kind, Quantity, Value, Vmodule},
};

/// What an option does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is in force. Beside a configuration file, a flag counts only if the file has no field for it.
    Used,
    /// It is in force, and the flag overrides the file.
    Overrides,
    /// It is in force in place of another field that the file leaves at zero, unless the file asks for nftables.
    InPlaceOf(&'static str, Defaults),
    /// It is accepted because kube-proxy has it, and has no effect, for this reason.
    None(&'static str, Defaults),
}

/// Values that kube-proxy has by default and writes into files: they ask for nothing.
type Defaults = &'static [&'static str];

/// The commands that have the flag of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that compile rules: `render`, `diff` and `run`.
    Rules,
    /// `run`.
    Run,
}

/// An option.
#[derive(Debug)]
pub struct Row {
    /// The field of `KubeProxyConfiguration`, as `conntrack.min`; empty if there is none.
    pub field: &'static str,
    /// The flag with its dashes, then other names of it; empty if there is none.
    pub flags: &'static str,
    /// What stands for the value in help texts.
    pub placeholder: &'static str,
    /// The default, as the flag takes it; empty if there is none.
    pub default: &'static str,
    /// What it does here.
    pub effect: Effect,
    /// What it means, in words.
    pub help: &'static str,
    /// The heading above its flag in help texts; empty for that of all flags.
    pub heading: &'static str,
    /// The commands that have its flag.
    pub scope: Scope,
    /// How the flag takes its value.
    pub kind: Kind,
    pub(super) parse: fn(&mut Options, &str) -> Result<(), String>,
    pub(super) read: fn(&mut Options, &Node) -> Result<(), Invalid>,
    pub(super) get: fn(&Options) -> Option<Json>,
    pub(super) take: fn(&mut Options, &mut Options),
}

impl Row {
    /// The flag, as `--conntrack-min`, if there is one.
    pub fn flag(&self) -> Option<&'static str> {
        self.flags.split_whitespace().find(|flag| flag.starts_with("--"))
    }

    /// The row of this field, or of the field that it is part of.
    pub(super) fn of_field(field: &str) -> Option<&'static Self> {
        let contains = |row: &&Self| {
            let rest = (!row.field.is_empty()).then(|| field.strip_prefix(row.field)).flatten();
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        ROWS.iter().find(contains)
    }
}

macro_rules! options {
    ($($heading:literal $scope:ident {
        $($(#[doc = $help:literal])+
        $name:ident: $type:ty = $default:literal, $field:literal, $flags:literal, $placeholder:literal, $effect:expr;)*
    })*) => {
        /// The options as they are given, by flags or by a file: each may be absent.
        #[derive(Clone, Debug, Default, PartialEq)]
        #[expect(clippy::doc_markdown, reason = "these are help texts, too")]
        pub struct Options {
            $($($(#[doc = $help])+ pub $name: Option<$type>,)*)*
        }

        /// All options.
        pub static ROWS: &[Row] = &[$($(Row {
            field: $field,
            flags: $flags,
            placeholder: $placeholder,
            default: $default,
            effect: $effect,
            help: concat!($($help),+),
            heading: $heading,
            scope: Scope::$scope,
            kind: <$type as Value>::KIND,
            parse: |options, text| Ok(options.$name = Some(Value::parse(text)?)),
            read: |options, node| Ok(options.$name = Some(Value::read(node)?)),
            get: |options| options.$name.as_ref().map(Value::to_json),
            take: |to, from| to.$name = from.$name.take().or(to.$name.take()),
        },)*)*];
    };
}

use Effect::{InPlaceOf, None as NoEffect, Overrides, Used};

const IPVS: &str = "there is no ipvs mode";
const JSON: &str = "objects are read as JSON";
const OLD: &str = "earlier versions of kube-proxy had it";
const REQUESTS: &str = "there are a handful of requests in all";
const UNBUFFERED: &str = "log lines are not buffered";
const WINDOWS: &str = "it is for Windows";

// Columns: name and type = default, field, flags, placeholder, effect.
options! {
    "" Run {
        /// Proxy mode: nftables, the only one there is; beside --config it overrides the mode of the file
        mode: String = "nftables", "mode", "--proxy-mode", "MODE", Overrides;
    }

    "API server" Run {
        /// Kubeconfig file [default: the Pod's own credentials]
        kubeconfig: String = "", "clientConnection.kubeconfig", "--kubeconfig", "FILE", Used;
        /// URL of the API server, in place of the kubeconfig's; without a scheme it is http, or https if the
        /// kubeconfig's is
        master: String = "", "", "--master", "URL", Used;
    }

    "Servers" Run {
        /// Address and port of the health server; empty for none
        healthz_bind_address: String = "0.0.0.0:10256", "healthzBindAddress", "--healthz-bind-address", "ADDR", Used;
        /// Address and port of the metrics server; empty for none
        metrics_bind_address: String = "127.0.0.1:10249", "metricsBindAddress", "--metrics-bind-address", "ADDR", Used;
        /// Port of the health server if its address has none; 0 for no server. Superseded by --healthz-bind-address
        healthz_port: u16 = "", "", "--healthz-port", "PORT", Used;
        /// Port of the metrics server if its address has none; 0 for no server. Superseded by --metrics-bind-address
        metrics_port: u16 = "", "", "--metrics-port", "PORT", Used;
        /// Address that takes the place of the node's primary one of its family, for --nodeport-addresses primary. An
        /// IPv6 address moves the default listeners to IPv6, too. Nothing is bound to it
        bind_address: String = "0.0.0.0", "bindAddress", "--bind-address", "IP", Used;
        /// Exit if a server cannot bind its address, rather than try again
        bind_address_hard_fail: bool = "false", "bindAddressHardFail", "--bind-address-hard-fail", "BOOL", Used;
    }

    "Reconciling" Run {
        /// A change that has waited for twice this time makes the agent unhealthy
        sync_period: Duration = "30s", "nftables.syncPeriod", "--iptables-sync-period", "DURATION", Used;
        /// Least time between two reconciles
        min_sync_period: Duration = "0s", "nftables.minSyncPeriod", "--iptables-min-sync-period", "DURATION", Used;
        /// How often all rules are compared with the kernel's, although no change of them is known
        full_sync_period: Duration = "1h", "", "--full-sync-period", "DURATION", Used;
        /// Own the tables, so that no other process can change or flush them (Linux 6.9 and later)
        table_owner: bool = "false", "", "--table-owner", "BOOL", Used;
        /// In place of nftables.syncPeriod if the file leaves that at zero and does not ask for nftables
        iptables_sync_period: Duration = "", "iptables.syncPeriod", "", "", InPlaceOf("nftables.syncPeriod", &["30s"]);
        /// In place of nftables.minSyncPeriod, likewise
        iptables_min_sync_period: Duration = "", "iptables.minSyncPeriod", "", "", InPlaceOf("nftables.minSyncPeriod", &["1s"]);
    }

    "Connection tracking" Run {
        /// Connections to track for each CPU; 0 leaves the kernel's limit alone
        conntrack_max_per_core: i32 = "32768", "conntrack.maxPerCore", "--conntrack-max-per-core", "N", Used;
        /// Connections to track at least, however few CPUs there are
        conntrack_min: i32 = "131072", "conntrack.min", "--conntrack-min", "N", Used;
        /// Idle time of an established TCP connection; 0 leaves the kernel's alone
        conntrack_tcp_timeout_established: Duration = "24h", "conntrack.tcpEstablishedTimeout", "--conntrack-tcp-timeout-established", "DURATION", Used;
        /// Idle time of a TCP connection in CLOSE_WAIT; 0 leaves the kernel's alone
        conntrack_tcp_timeout_close_wait: Duration = "1h", "conntrack.tcpCloseWaitTimeout", "--conntrack-tcp-timeout-close-wait", "DURATION", Used;
        /// Treat TCP packets outside the window as valid
        conntrack_tcp_be_liberal: bool = "false", "conntrack.tcpBeLiberal", "--conntrack-tcp-be-liberal", "BOOL", Used;
        /// Idle time of a UDP flow without reply; 0 leaves the kernel's alone
        conntrack_udp_timeout: Duration = "0s", "conntrack.udpTimeout", "--conntrack-udp-timeout", "DURATION", Used;
        /// Idle time of a UDP flow with replies; 0 leaves the kernel's alone
        conntrack_udp_timeout_stream: Duration = "0s", "conntrack.udpStreamTimeout", "--conntrack-udp-timeout-stream", "DURATION", Used;
    }

    "Process and logs" Run {
        /// Score of this process for the kernel's out-of-memory killer, -1000 (never kill it) to 1000
        oom_score_adj: i32 = "-999", "oomScoreAdj", "--oom-score-adj", "N", Used;
        /// Format of log lines: text (klog's) or json
        logging_format: String = "text", "logging.format", "--logging-format", "FORMAT", Overrides;
        /// Verbosity: 0 to 3 for operators, 4 and more for debugging, 8 and more for what libraries log, too
        verbosity: u32 = "0", "logging.verbosity", "-v --v", "LEVEL", Overrides;
    }

    "Node" Rules {
        /// Name of this node [default: $NODE_NAME, else the host's name]
        hostname_override: String = "", "hostnameOverride", "--hostname-override", "NAME", Overrides;
        /// Networks of the cluster's Pods, one for each family, separated by a comma; traffic to a ClusterIP from
        /// elsewhere is masqueraded
        cluster_cidr: String = "", "clusterCIDR", "--cluster-cidr", "CIDR,…", Used;
        /// Networks of this node's addresses that answer node ports, or primary: the first address of each family of
        /// the Node object, or every address if there is none
        nodeport_addresses: Vec<String> = "primary", "nodePortAddresses", "--nodeport-addresses", "CIDR,…", Used;
        /// How connections of Pods are recognised: ClusterCIDR, NodeCIDR (of the Node object), BridgeInterface or
        /// InterfaceNamePrefix
        detect_local_mode: String = "ClusterCIDR", "detectLocalMode", "--detect-local-mode", "MODE", Used;
        /// Bridge of this node's Pods, for BridgeInterface
        pod_bridge_interface: String = "", "detectLocal.bridgeInterface", "--pod-bridge-interface", "NAME", Used;
        /// Beginning of the names of the interfaces of Pods, for InterfaceNamePrefix
        pod_interface_name_prefix: String = "", "detectLocal.interfaceNamePrefix", "--pod-interface-name-prefix", "PREFIX", Used;
        /// Networks of ClusterIPs besides those of ServiceCIDR objects; packets to an address in them that no Service
        /// has are dropped
        service_cluster_ip_range: String = "", "", "--service-cluster-ip-range", "CIDR,…", Used;
        /// Bit of the packet mark, 0 to 31, that asks for masquerading
        masquerade_bit: i32 = "14", "nftables.masqueradeBit", "--masquerade-bit --iptables-masquerade-bit", "BIT", Used;
        /// Masquerade all traffic to ClusterIPs
        masquerade_all: bool = "false", "nftables.masqueradeAll", "--masquerade-all", "BOOL", Used;
        /// In place of nftables.masqueradeBit if the file leaves that out and does not ask for nftables
        iptables_masquerade_bit: i32 = "", "iptables.masqueradeBit", "", "", InPlaceOf("nftables.masqueradeBit", &["14"]);
        /// In place of nftables.masqueradeAll, likewise
        iptables_masquerade_all: bool = "", "iptables.masqueradeAll", "", "", InPlaceOf("nftables.masqueradeAll", &[]);
        /// Count the new connections of each endpoint in the kernel; `run` shows them as metrics
        endpoint_counters: bool = "false", "", "--endpoint-counters", "BOOL", Used;
        /// Serve the Services whose label service.kubernetes.io/service-proxy-name has this value, rather than those
        /// without the label
        service_proxy_name: String = "", "", "--service-proxy-name", "NAME", Used;
        /// Name of the nftables tables; several agents on a node need different names
        table_name: String = "portolan", "", "--table-name", "NAME", Used;
    }

    "Accepted because kube-proxy has them; without effect" Run {
        /// How often kube-proxy lists all objects again
        config_sync_period: Duration = "", "configSyncPeriod", "--config-sync-period", "DURATION", NoEffect("objects are watched", &["15m0s"]);
        /// Experiments of kube-proxy
        feature_gates: BTreeMap<String, bool> = "", "featureGates", "--feature-gates", "GATE=BOOL,…", NoEffect("the gates are kube-proxy's", &[]);
        /// Whether node ports answer on loopback addresses
        iptables_localhost_nodeports: bool = "", "iptables.localhostNodePorts", "--iptables-localhost-nodeports", "BOOL", NoEffect("node ports do not answer on loopback addresses", &["true"]);
        /// Masquerading of node addresses
        iptables_snat_node_internal_ip: bool = "", "iptables.snatNodeInternalIP", "", "", NoEffect("there is no iptables mode", &[]);
        /// Networks that ipvs leaves alone
        ipvs_exclude_cidrs: Vec<String> = "", "ipvs.excludeCIDRs", "--ipvs-exclude-cidrs", "CIDR,…", NoEffect(IPVS, &[]);
        /// Least time between two reconciles of ipvs
        ipvs_min_sync_period: Duration = "", "ipvs.minSyncPeriod", "--ipvs-min-sync-period", "DURATION", NoEffect(IPVS, &["1s"]);
        /// Scheduler of ipvs
        ipvs_scheduler: String = "", "ipvs.scheduler", "--ipvs-scheduler", "NAME", NoEffect(IPVS, &[]);
        /// ARP settings for ipvs
        ipvs_strict_arp: bool = "", "ipvs.strictARP", "--ipvs-strict-arp", "BOOL", NoEffect(IPVS, &[]);
        /// Time between reconciles of ipvs
        ipvs_sync_period: Duration = "", "ipvs.syncPeriod", "--ipvs-sync-period", "DURATION", NoEffect(IPVS, &["30s"]);
        /// Idle time of TCP connections in ipvs
        ipvs_tcp_timeout: Duration = "", "ipvs.tcpTimeout", "--ipvs-tcp-timeout", "DURATION", NoEffect(IPVS, &[]);
        /// Idle time of TCP connections in ipvs after a FIN
        ipvs_tcpfin_timeout: Duration = "", "ipvs.tcpFinTimeout", "--ipvs-tcpfin-timeout", "DURATION", NoEffect(IPVS, &[]);
        /// Idle time of UDP flows in ipvs
        ipvs_udp_timeout: Duration = "", "ipvs.udpTimeout", "--ipvs-udp-timeout", "DURATION", NoEffect(IPVS, &[]);
        /// Requests to the API server at once
        kube_api_burst: i32 = "", "clientConnection.burst", "--kube-api-burst", "N", NoEffect(REQUESTS, &["10"]);
        /// Media type of requests to the API server
        kube_api_content_type: String = "", "clientConnection.contentType", "--kube-api-content-type", "TYPE", NoEffect(JSON, &["application/vnd.kubernetes.protobuf"]);
        /// Media types that the API server may answer with
        accept_content_types: String = "", "clientConnection.acceptContentTypes", "", "", NoEffect(JSON, &[]);
        /// Requests to the API server each second
        kube_api_qps: f32 = "", "clientConnection.qps", "--kube-api-qps", "N", NoEffect(REQUESTS, &["5.0"]);
        /// How often buffered log lines are written
        log_flush_frequency: Quantity = "", "logging.flushFrequency", "--log-flush-frequency", "DURATION", NoEffect(UNBUFFERED, &["5s", "5000000000"]);
        /// Size of the buffer for JSON log lines
        log_json_info_buffer_size: Quantity = "", "logging.options.json.infoBufferSize", "--log-json-info-buffer-size", "SIZE", NoEffect(UNBUFFERED, &[]);
        /// Write JSON log lines that are not errors to standard output
        log_json_split_stream: bool = "", "logging.options.json.splitStream", "--log-json-split-stream", "BOOL", NoEffect("all log lines go to standard error", &[]);
        /// Size of the buffer for text log lines
        log_text_info_buffer_size: Quantity = "", "logging.options.text.infoBufferSize", "--log-text-info-buffer-size", "SIZE", NoEffect(UNBUFFERED, &[]);
        /// Write text log lines that are not errors to standard output
        log_text_split_stream: bool = "", "logging.options.text.splitStream", "--log-text-split-stream", "BOOL", NoEffect("all log lines go to standard error", &[]);
        /// Go's profiler
        profiling: bool = "", "enableProfiling", "--profiling", "BOOL", NoEffect("there is no Go profiler", &[]);
        /// Ports of the userspace mode
        proxy_port_range: String = "", "portRange", "--proxy-port-range", "FROM-TO", NoEffect(OLD, &[]);
        /// Show metrics that this version of kube-proxy hides
        show_hidden_metrics_for_version: String = "", "showHiddenMetricsForVersion", "--show-hidden-metrics-for-version", "VERSION", NoEffect("no metrics are hidden", &[]);
        /// Verbosity of single source files
        vmodule: Vmodule = "", "logging.vmodule", "--vmodule", "FILE=LEVEL,…", NoEffect("verbosity holds for all source files", &[]);
        /// Limit of tracked connections
        conntrack_max: i32 = "", "conntrack.max", "", "", NoEffect(OLD, &[]);
        /// Container to run in
        resource_container: String = "", "resourceContainer", "", "", NoEffect(OLD, &["/kube-proxy"]);
        /// Idle time of UDP flows in the userspace mode
        udp_idle_timeout: Duration = "", "udpIdleTimeout", "", "", NoEffect(OLD, &["250ms"]);
        /// Run as a service of Windows
        windows_run_as_service: bool = "", "windowsRunAsService", "", "", NoEffect(WINDOWS, &[]);
        /// Network of Windows
        winkernel_network_name: String = "", "winkernel.networkName", "", "", NoEffect(WINDOWS, &[]);
        /// Source address on Windows
        winkernel_source_vip: String = "", "winkernel.sourceVip", "", "", NoEffect(WINDOWS, &[]);
        /// Direct server return on Windows
        winkernel_enable_dsr: bool = "", "winkernel.enableDSR", "", "", NoEffect(WINDOWS, &[]);
        /// Endpoint name on Windows
        winkernel_root_hns_endpoint_name: String = "", "winkernel.rootHnsEndpointName", "", "", NoEffect(WINDOWS, &[]);
        /// Health checks of load balancers on Windows
        winkernel_forward_health_check_vip: bool = "", "winkernel.forwardHealthCheckVip", "", "", NoEffect(WINDOWS, &[]);
    }
}
