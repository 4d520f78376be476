//! The list of options: a row for each flag of `portolan run` that is a setting, and for each field of
//! `KubeProxyConfiguration`.
//!
//! The list determines clap's arguments, the reading and writing of the file, defaults, checks of types and ranges,
//! names in messages, the warning about options without effect, and `docs/configuration.md`. To add an option, add a
//! row here and use it in [`super::settings`].

use super::kind::Kind::{
    self, Boolean, Choice, Duration, Float, Gates, List, Nanoseconds, Number, Period, Size, Text, TextOr,
    Vmodule,
};

/// What an option does here.
#[derive(Clone, Copy, Debug)]
pub enum Effect {
    /// It is in force. Beside a configuration file, the flag counts only if the file has no field for it.
    Used,
    /// It is in force, and the flag overrides the file.
    Overrides,
    /// It is in force in place of another field that the file leaves at zero, unless the file asks for nftables.
    InPlaceOf(&'static Row, Defaults),
    /// It is accepted because kube-proxy has it, and has no effect, for this reason.
    None(&'static str, Defaults),
}

/// Values that kube-proxy has by default and writes into files: they ask for nothing.
type Defaults = &'static [&'static str];

/// The commands that have the flag of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The commands that compile rules, such as `render`, `diff` and `run`.
    Rules,
    /// Only `run`.
    Run,
}

/// An option.
#[derive(Debug)]
pub struct Row {
    /// The field of `KubeProxyConfiguration`, as `conntrack.min`; empty if there is none.
    pub field: &'static str,
    /// The flag with its dashes, then other names of it; empty if there is none.
    pub flags: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The default, as the flag takes it; empty if there is none.
    pub default: &'static str,
    /// What it does here.
    pub effect: Effect,
    /// What it means, in words.
    pub help: &'static str,
    /// The heading above its flag in help texts; empty for the common heading.
    pub heading: &'static str,
    /// The commands that have its flag.
    pub scope: Scope,
}

impl Row {
    /// The flag, as `--conntrack-min`, if there is one.
    pub fn flag(&self) -> Option<&'static str> {
        self.flags.split_whitespace().find(|flag| flag.starts_with("--"))
    }

    /// The unique name of the option: its field, or else its flags.
    pub(super) fn name(&self) -> &'static str {
        if self.field.is_empty() { self.flags } else { self.field }
    }

    /// Whether the option is accepted but has no effect.
    pub fn is_without_effect(&self) -> bool {
        matches!(self.effect, Effect::None(..))
    }
}

/// All options.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    USED.iter().copied().chain(WITHOUT_EFFECT)
}

macro_rules! options {
    ($($heading:literal $scope:ident {
        $($(#[doc = $help:literal])+
        $name:ident: $kind:expr, $default:literal, $field:literal, $flags:literal, $effect:expr;)*
    })*) => {
        $($($(#[doc = $help])+
        #[allow(clippy::doc_markdown, reason = "it is a help text, too")]
        pub static $name: Row = Row {
            field: $field,
            flags: $flags,
            kind: $kind,
            default: $default,
            effect: $effect,
            help: concat!($($help),+),
            heading: $heading,
            scope: Scope::$scope,
        };)*)*

        static USED: &[&Row] = &[$($(&$name),*),*];
    };
}

use Effect::{InPlaceOf, Overrides, Used};

// Columns: name: type, default, field, flags, effect.
options! {
    "" Run {
        /// Proxy mode: nftables is the only one; with --config, the flag overrides the file's mode
        MODE: Choice("MODE", &["nftables"]), "nftables", "mode", "--proxy-mode", Overrides;
    }

    "API server" Run {
        /// Kubeconfig file [default: the Pod's own credentials]
        KUBECONFIG: Text("FILE"), "", "clientConnection.kubeconfig", "--kubeconfig", Used;
        /// URL of the API server, in place of the kubeconfig's; without a scheme it is http, or https if the kubeconfig's
        /// cluster has a CA or insecure-skip-tls-verify
        MASTER: Text("URL"), "", "", "--master", Used;
        /// Encoding of objects from the API server: application/vnd.kubernetes.protobuf, if the server supports it, or
        /// application/json
        CONTENT_TYPE: Text("TYPE"), "application/vnd.kubernetes.protobuf", "clientConnection.contentType", "--kube-api-content-type", Used;
        /// How often all objects are listed again even if no change was missed, at random up to half the time earlier;
        /// 0 for never
        RELIST_PERIOD: Duration, "0s", "", "--relist-period", Used;
        /// Remove the taint with this key from the Node once its Services are programmed, so that no Pod starts before
        /// that; without a value, the key is portolan.io/not-ready. Requires the right to patch Nodes
        REMOVE_TAINT: TextOr("KEY", "portolan.io/not-ready"), "", "", "--remove-taint", Used;
    }

    "Servers" Run {
        /// Address and port of the health server; empty for none
        HEALTHZ_BIND_ADDRESS: Text("ADDR"), "0.0.0.0:10256", "healthzBindAddress", "--healthz-bind-address", Used;
        /// Address and port of the metrics server; empty for none
        METRICS_BIND_ADDRESS: Text("ADDR"), "127.0.0.1:10249", "metricsBindAddress", "--metrics-bind-address", Used;
        /// Port of the health server if its address has none; 0 for no server. Superseded by --healthz-bind-address
        HEALTHZ_PORT: Number(0, u16::MAX as i64), "", "", "--healthz-port", Used;
        /// Port of the metrics server if its address has none; 0 for no server. Superseded by --metrics-bind-address
        METRICS_PORT: Number(0, u16::MAX as i64), "", "", "--metrics-port", Used;
        /// Address to use as the node's primary address of its family, for --nodeport-addresses primary. An IPv6
        /// address also moves the default listeners to IPv6. Nothing binds to this address
        BIND_ADDRESS: Text("IP"), "0.0.0.0", "bindAddress", "--bind-address", Used;
        /// Unix socket on which the agent answers commands on this node, for root only [default:
        /// /run/portolan/TABLE.sock]; empty for none
        SOCKET: Text("PATH"), "", "", "--socket", Used;
        /// Exit if a server cannot bind its address, rather than try again
        BIND_ADDRESS_HARD_FAIL: Boolean, "false", "bindAddressHardFail", "--bind-address-hard-fail", Used;
    }

    "Reconciling" Run {
        /// A change that has waited for twice this time makes the agent unhealthy
        SYNC_PERIOD: Period, "30s", "nftables.syncPeriod", "--iptables-sync-period", Used;
        /// Minimum time between two reconciles
        MIN_SYNC_PERIOD: Duration, "0s", "nftables.minSyncPeriod", "--iptables-min-sync-period", Used;
        /// How often all rules are compared with the kernel's, even if no change is known
        FULL_SYNC_PERIOD: Period, "1h", "", "--full-sync-period", Used;
        /// Own the tables, so that no other process can change or flush them (Linux 6.9 and later)
        TABLE_OWNER: Boolean, "false", "", "--table-owner", Used;
        /// Used in place of nftables.syncPeriod if the file leaves that at zero and its mode is not nftables
        IPTABLES_SYNC_PERIOD: Period, "", "iptables.syncPeriod", "", InPlaceOf(&SYNC_PERIOD, &["30s"]);
        /// Used in place of nftables.minSyncPeriod under the same conditions
        IPTABLES_MIN_SYNC_PERIOD: Duration, "", "iptables.minSyncPeriod", "", InPlaceOf(&MIN_SYNC_PERIOD, &["1s"]);
    }

    "Connection tracking" Run {
        /// Limit of tracked connections for each CPU; 0 leaves the kernel's limit alone
        CONNTRACK_MAX_PER_CORE: COUNT, "32768", "conntrack.maxPerCore", "--conntrack-max-per-core", Used;
        /// Minimum limit of tracked connections, however few CPUs there are
        CONNTRACK_MIN: COUNT, "131072", "conntrack.min", "--conntrack-min", Used;
        /// Idle time of an established TCP connection; 0 leaves the kernel's alone
        CONNTRACK_TCP_TIMEOUT_ESTABLISHED: Duration, "24h", "conntrack.tcpEstablishedTimeout", "--conntrack-tcp-timeout-established", Used;
        /// Idle time of a TCP connection in CLOSE_WAIT; 0 leaves the kernel's alone
        CONNTRACK_TCP_TIMEOUT_CLOSE_WAIT: Duration, "1h", "conntrack.tcpCloseWaitTimeout", "--conntrack-tcp-timeout-close-wait", Used;
        /// Treat TCP packets outside the window as valid
        CONNTRACK_TCP_BE_LIBERAL: Boolean, "false", "conntrack.tcpBeLiberal", "--conntrack-tcp-be-liberal", Used;
        /// Idle time of a UDP flow without reply; 0 leaves the kernel's alone
        CONNTRACK_UDP_TIMEOUT: Duration, "0s", "conntrack.udpTimeout", "--conntrack-udp-timeout", Used;
        /// Idle time of a UDP flow with replies; 0 leaves the kernel's alone
        CONNTRACK_UDP_TIMEOUT_STREAM: Duration, "0s", "conntrack.udpStreamTimeout", "--conntrack-udp-timeout-stream", Used;
    }

    "Process and logs" Run {
        /// Score of this process for the kernel's out-of-memory killer, -1000 (never kill it) to 1000
        OOM_SCORE_ADJ: Number(-1000, 1000), "-999", "oomScoreAdj", "--oom-score-adj", Used;
        /// Format of log lines: text (klog's) or json
        LOGGING_FORMAT: Choice("FORMAT", &["text", "json"]), "text", "logging.format", "--logging-format", Overrides;
        /// Verbosity: 0 to 3 for operators, 4 and more for debugging, 8 and more to include the libraries' logs
        VERBOSITY: Number(0, u32::MAX as i64), "0", "logging.verbosity", "-v --v", Overrides;
    }

    "Node" Rules {
        /// Name of this node [default: $NODE_NAME, else the host's name]
        HOSTNAME_OVERRIDE: Text("NAME"), "", "hostnameOverride", "--hostname-override", Overrides;
        /// Networks of the cluster's Pods, one for each family, separated by a comma; traffic to a ClusterIP from
        /// elsewhere is masqueraded
        CLUSTER_CIDR: Text("CIDR,…"), "", "clusterCIDR", "--cluster-cidr", Used;
        /// Networks; this node's addresses in them answer node ports. If only networks are given, a family without any
        /// answers on every address. Or words: primary (the first address of each family in the Node object, or every
        /// address if there is no Node); localhost (127.0.0.1 and ::1, for TCP); all (every address and localhost)
        NODEPORT_ADDRESSES: List("CIDR,…"), "primary", "nodePortAddresses", "--nodeport-addresses", Used;
        /// How connections of Pods are recognised: ClusterCIDR, NodeCIDR (of the Node object), BridgeInterface or
        /// InterfaceNamePrefix
        DETECT_LOCAL_MODE: Choice("MODE", &["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"]), "ClusterCIDR", "detectLocalMode", "--detect-local-mode", Used;
        /// Bridge of this node's Pods, for BridgeInterface
        POD_BRIDGE_INTERFACE: Text("NAME"), "", "detectLocal.bridgeInterface", "--pod-bridge-interface", Used;
        /// Prefix of the names of Pods' interfaces, for InterfaceNamePrefix
        POD_INTERFACE_NAME_PREFIX: Text("PREFIX"), "", "detectLocal.interfaceNamePrefix", "--pod-interface-name-prefix", Used;
        /// Networks of ClusterIPs, besides those of ServiceCIDR objects; packets to addresses in them that belong to no
        /// Service are dropped
        SERVICE_CLUSTER_IP_RANGE: Text("CIDR,…"), "", "", "--service-cluster-ip-range", Used;
        /// Bit of the packet mark, 0 to 31, that asks for masquerading
        MASQUERADE_BIT: Number(0, 31), "14", "nftables.masqueradeBit", "--masquerade-bit --iptables-masquerade-bit", Used;
        /// Masquerade all traffic to ClusterIPs
        MASQUERADE_ALL: Boolean, "false", "nftables.masqueradeAll", "--masquerade-all", Used;
        /// Used in place of nftables.masqueradeBit if the file leaves that out and its mode is not nftables
        IPTABLES_MASQUERADE_BIT: Number(0, 31), "", "iptables.masqueradeBit", "", InPlaceOf(&MASQUERADE_BIT, &["14"]);
        /// Used in place of nftables.masqueradeAll if the file leaves that false and its mode is not nftables
        IPTABLES_MASQUERADE_ALL: Boolean, "", "iptables.masqueradeAll", "", InPlaceOf(&MASQUERADE_ALL, &[]);
        /// Count the new connections of each endpoint in the kernel; `run` shows them as metrics
        ENDPOINT_COUNTERS: Boolean, "false", "", "--endpoint-counters", Used;
        /// Serve the Services whose label service.kubernetes.io/service-proxy-name has this value, rather than those
        /// without the label
        SERVICE_PROXY_NAME: Text("NAME"), "", "", "--service-proxy-name", Used;
        /// Name of the nftables tables; several agents on a node need different names
        TABLE_NAME: Text("NAME"), "portolan", "", "--table-name", Used;
    }
}

const fn none(
    field: &'static str,
    flags: &'static str,
    kind: Kind,
    why: &'static str,
    defaults: Defaults,
    help: &'static str,
) -> Row {
    let heading = "Accepted because kube-proxy has them; without effect";
    Row {
        field,
        flags,
        kind,
        default: "",
        effect: Effect::None(why, defaults),
        help,
        heading,
        scope: Scope::Run,
    }
}

const COUNT: Kind = Number(0, i32::MAX as i64);

const IPVS: &str = "there is no ipvs mode";
const CONTENT: &str = "`contentType` decides";
const OLD: &str = "earlier versions of kube-proxy had it";
const REQUESTS: &str = "only a handful of requests are made";
const UNBUFFERED: &str = "log lines are not buffered";
const WINDOWS: &str = "it is for Windows";

// Columns: field, flags, type, why it has no effect, kube-proxy's defaults, what it means for kube-proxy.
#[rustfmt::skip]
static WITHOUT_EFFECT: &[Row] = &[
    none("configSyncPeriod", "--config-sync-period", Period, "objects are watched", &["15m"], "How often kube-proxy lists all objects again"),
    none("featureGates", "--feature-gates", Gates, "the gates are kube-proxy's", &[], "Experimental features of kube-proxy"),
    none("iptables.localhostNodePorts", "--iptables-localhost-nodeports", Boolean, "use `localhost` in nodePortAddresses instead", &["true"], "Whether node ports answer on loopback addresses"),
    none("iptables.snatNodeInternalIP", "", Boolean, "there is no iptables mode", &[], "Masquerading of node addresses"),
    none("ipvs.excludeCIDRs", "--ipvs-exclude-cidrs", List("CIDR,…"), IPVS, &[], "Networks that ipvs leaves alone"),
    none("ipvs.minSyncPeriod", "--ipvs-min-sync-period", Duration, IPVS, &["1s"], "Minimum time between two reconciles of ipvs"),
    none("ipvs.scheduler", "--ipvs-scheduler", Text("NAME"), IPVS, &[], "Scheduler of ipvs"),
    none("ipvs.strictARP", "--ipvs-strict-arp", Boolean, IPVS, &[], "ARP settings for ipvs"),
    none("ipvs.syncPeriod", "--ipvs-sync-period", Duration, IPVS, &["30s"], "Time between reconciles of ipvs"),
    none("ipvs.tcpTimeout", "--ipvs-tcp-timeout", Duration, IPVS, &[], "Idle time of TCP connections in ipvs"),
    none("ipvs.tcpFinTimeout", "--ipvs-tcpfin-timeout", Duration, IPVS, &[], "Idle time of TCP connections in ipvs after a FIN"),
    none("ipvs.udpTimeout", "--ipvs-udp-timeout", Duration, IPVS, &[], "Idle time of UDP flows in ipvs"),
    none("clientConnection.burst", "--kube-api-burst", COUNT, REQUESTS, &["10"], "Burst of requests to the API server"),
    none("clientConnection.acceptContentTypes", "", Text(""), CONTENT, &[], "Media types that the API server may answer with"),
    none("clientConnection.qps", "--kube-api-qps", Float, REQUESTS, &["5.0"], "Requests to the API server each second"),
    none("logging.flushFrequency", "--log-flush-frequency", Nanoseconds, UNBUFFERED, &["5s", "5000000000"], "How often buffered log lines are written"),
    none("logging.options.json.infoBufferSize", "--log-json-info-buffer-size", Size, UNBUFFERED, &[], "Size of the buffer for JSON log lines"),
    none("logging.options.json.splitStream", "--log-json-split-stream", Boolean, "all log lines go to standard error", &[], "Write JSON log lines that are not errors to standard output"),
    none("logging.options.text.infoBufferSize", "--log-text-info-buffer-size", Size, UNBUFFERED, &[], "Size of the buffer for text log lines"),
    none("logging.options.text.splitStream", "--log-text-split-stream", Boolean, "all log lines go to standard error", &[], "Write text log lines that are not errors to standard output"),
    none("enableProfiling", "--profiling", Boolean, "there is no Go profiler", &[], "Go's profiler"),
    none("portRange", "--proxy-port-range", Text("FROM-TO"), OLD, &[], "Ports of the userspace mode"),
    none("showHiddenMetricsForVersion", "--show-hidden-metrics-for-version", Text("VERSION"), "no metrics are hidden", &[], "Show metrics that this version of kube-proxy hides"),
    none("logging.vmodule", "--vmodule", Vmodule, "verbosity applies to all source files", &[], "Verbosity of individual source files"),
    none("conntrack.max", "", COUNT, OLD, &[], "Limit of tracked connections"),
    none("resourceContainer", "", Text(""), OLD, &["/kube-proxy"], "Container to run in"),
    none("udpIdleTimeout", "", Duration, OLD, &["250ms"], "Idle time of UDP flows in the userspace mode"),
    none("windowsRunAsService", "", Boolean, WINDOWS, &[], "Run as a Windows service"),
    none("winkernel.networkName", "", Text(""), WINDOWS, &[], "Name of the network on Windows"),
    none("winkernel.sourceVip", "", Text(""), WINDOWS, &[], "Source address on Windows"),
    none("winkernel.enableDSR", "", Boolean, WINDOWS, &[], "Direct server return on Windows"),
    none("winkernel.rootHnsEndpointName", "", Text(""), WINDOWS, &[], "Endpoint name on Windows"),
    none("winkernel.forwardHealthCheckVip", "", Boolean, WINDOWS, &[], "Health checks of load balancers on Windows"),
];
