//! The fields of the file. Each may be absent, null or zero, which all mean its default.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Duration;

/// `KubeProxyConfiguration`; unknown fields are refused.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct KubeProxyConfiguration {
    /// Always [`super::API_VERSION`].
    pub api_version: Option<String>,
    /// Always [`super::KIND`].
    pub kind: Option<String>,
    /// Switches of kube-proxy's experiments; none of them means anything here.
    pub feature_gates: Option<BTreeMap<String, bool>>,
    /// How to reach the API server.
    #[serde(deserialize_with = "or_default")]
    pub client_connection: ClientConnection,
    /// How to log.
    #[serde(deserialize_with = "or_default")]
    pub logging: Logging,
    /// Name of this node, if not the host's.
    pub hostname_override: Option<String>,
    /// Address that stands for the node's primary one; nothing is bound to it.
    pub bind_address: Option<String>,
    /// Address and port of the health server.
    pub healthz_bind_address: Option<String>,
    /// Address and port of the metrics server.
    pub metrics_bind_address: Option<String>,
    /// Whether a server that cannot bind its address ends the agent.
    pub bind_address_hard_fail: Option<bool>,
    /// Go's profiler; nothing here.
    pub enable_profiling: Option<bool>,
    /// Metrics that a version of kube-proxy hides; nothing here.
    pub show_hidden_metrics_for_version: Option<String>,
    /// Which proxy; only nftables is known here.
    pub mode: Option<String>,
    /// Settings of the iptables mode; nothing here.
    #[serde(deserialize_with = "or_default")]
    pub iptables: IpTables,
    /// Settings of the ipvs mode; nothing here.
    #[serde(deserialize_with = "or_default")]
    pub ipvs: Ipvs,
    /// Settings of the nftables mode.
    #[serde(deserialize_with = "or_default")]
    pub nftables: NfTables,
    /// Settings for Windows; nothing here.
    #[serde(deserialize_with = "or_default")]
    pub winkernel: Winkernel,
    /// How connections of pods are told from others.
    pub detect_local_mode: Option<String>,
    /// What some of these modes need.
    #[serde(deserialize_with = "or_default")]
    pub detect_local: DetectLocal,
    /// Networks of the pods in the cluster, one a family, separated by a comma.
    #[serde(rename = "clusterCIDR")]
    pub cluster_cidr: Option<String>,
    /// `primary`, or networks of the addresses that answer node ports.
    pub node_port_addresses: Option<Vec<String>>,
    /// What the kernel's out-of-memory killer makes of this process, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Limits and timeouts of connection tracking.
    #[serde(deserialize_with = "or_default")]
    pub conntrack: Conntrack,
    /// How often kube-proxy looks at all objects again; nothing here.
    pub config_sync_period: Option<Duration>,
    /// Ports of a mode that is gone; nothing here.
    pub port_range: Option<String>,
    /// For Windows; nothing here.
    pub windows_run_as_service: Option<bool>,
    /// Of earlier versions, whose files live on in clusters; nothing here.
    pub resource_container: Option<String>,
    /// Of earlier versions; nothing here.
    pub udp_idle_timeout: Option<Duration>,
}

/// `clientConnection`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientConnection {
    /// A kubeconfig file; without one, the credentials of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// What to accept; JSON here.
    pub accept_content_types: Option<String>,
    /// What to send; JSON here.
    pub content_type: Option<String>,
    /// Requests a second; nothing here, where there are a handful in all.
    pub qps: Option<f32>,
    /// Requests at once; nothing here.
    pub burst: Option<i32>,
}

/// `logging` (`k8s.io/component-base`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Logging {
    /// `text` or `json`.
    pub format: Option<String>,
    /// How often buffered lines are written: a duration or nanoseconds; nothing here, where none is buffered.
    pub flush_frequency: Option<Text>,
    /// klog's verbosity.
    pub verbosity: Option<u32>,
    /// Verbosity of single files; nothing here.
    pub vmodule: Option<Vec<VModuleItem>>,
    /// Buffers; nothing here.
    #[serde(deserialize_with = "or_default")]
    pub options: LoggingOptions,
}

/// An entry of `logging.vmodule`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct VModuleItem {
    /// Names of source files.
    pub file_pattern: Option<String>,
    /// Their verbosity.
    pub verbosity: Option<u32>,
}

/// `logging.options`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct LoggingOptions {
    /// Of the text format.
    #[serde(deserialize_with = "or_default")]
    pub text: OutputOptions,
    /// Of the JSON format.
    #[serde(deserialize_with = "or_default")]
    pub json: OutputOptions,
}

/// `logging.options.text` and `logging.options.json`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputOptions {
    /// Whether what is no error goes to standard output.
    pub split_stream: Option<bool>,
    /// Size of the buffer for it, a quantity.
    pub info_buffer_size: Option<Text>,
}

/// `iptables`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "as in `nftables`, and without meaning here")]
pub struct IpTables {
    pub masquerade_bit: Option<i32>,
    pub masquerade_all: Option<bool>,
    pub localhost_node_ports: Option<bool>,
    #[serde(rename = "snatNodeInternalIP")]
    pub snat_node_internal_ip: Option<bool>,
    pub sync_period: Option<Duration>,
    pub min_sync_period: Option<Duration>,
}

/// `ipvs`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "without meaning here")]
pub struct Ipvs {
    pub sync_period: Option<Duration>,
    pub min_sync_period: Option<Duration>,
    pub scheduler: Option<String>,
    #[serde(rename = "excludeCIDRs")]
    pub exclude_cidrs: Option<Vec<String>>,
    #[serde(rename = "strictARP")]
    pub strict_arp: Option<bool>,
    pub tcp_timeout: Option<Duration>,
    pub tcp_fin_timeout: Option<Duration>,
    pub udp_timeout: Option<Duration>,
}

/// `nftables`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct NfTables {
    /// Bit of the packet mark that asks for masquerading, 0 to 31.
    pub masquerade_bit: Option<i32>,
    /// Masquerade all traffic to ClusterIPs.
    pub masquerade_all: Option<bool>,
    /// A queued change older than twice this makes the agent unhealthy.
    pub sync_period: Option<Duration>,
    /// Least time between two reconciles.
    pub min_sync_period: Option<Duration>,
}

/// `conntrack`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Conntrack {
    /// Connections to track for each CPU; 0 leaves the limit alone.
    pub max_per_core: Option<i32>,
    /// Of earlier versions; nothing here.
    pub max: Option<i32>,
    /// At least so many connections, however few CPUs there are.
    pub min: Option<i32>,
    /// Idle time of an established TCP connection; 0 leaves it alone.
    pub tcp_established_timeout: Option<Duration>,
    /// Idle time of a TCP connection in `CLOSE_WAIT`; 0 leaves it alone.
    pub tcp_close_wait_timeout: Option<Duration>,
    /// Whether TCP packets outside the window count as valid.
    pub tcp_be_liberal: Option<bool>,
    /// Idle time of a UDP flow without reply; 0 leaves it alone.
    pub udp_timeout: Option<Duration>,
    /// Idle time of a UDP flow with replies; 0 leaves it alone.
    pub udp_stream_timeout: Option<Duration>,
}

/// `detectLocal`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct DetectLocal {
    /// Bridge of this node's pods.
    pub bridge_interface: Option<String>,
    /// Beginning of the names of pods' interfaces.
    pub interface_name_prefix: Option<String>,
}

/// `winkernel`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "without meaning here")]
pub struct Winkernel {
    pub network_name: Option<String>,
    pub source_vip: Option<String>,
    #[serde(rename = "enableDSR")]
    pub enable_dsr: Option<bool>,
    pub root_hns_endpoint_name: Option<String>,
    pub forward_health_check_vip: Option<bool>,
}

/// Text, which may also be written as a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Scalar {
            Number(i64),
            Text(String),
        }
        Ok(match Scalar::deserialize(deserializer)? {
            Scalar::Number(number) => Self(number.to_string()),
            Scalar::Text(text) => Self(text),
        })
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.parse::<i64>() {
            Ok(number) => serializer.serialize_i64(number),
            Err(_) => serializer.serialize_str(&self.0),
        }
    }
}

/// Null is the same as nothing, as for Go.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
