//! The agent's state, as reported to commands on its node.

use std::{collections::BTreeSet, io, net::IpAddr};

use portolan_rules::plane::PodDetector;
use serde::{Deserialize, Serialize};

use super::query::Snapshot;

/// The agent, and what the rules depend on besides the objects. Written before the objects.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentState {
    /// `portolan.io/v1alpha1`.
    pub api_version: String,
    /// `AgentState`.
    pub kind: String,
    /// Version of the agent.
    pub version: String,
    /// Process id of the agent, in its own PID namespace.
    pub pid: u32,
    /// Network namespace of the agent: device and inode.
    pub network_namespace: String,
    /// Name of the node.
    pub node: String,
    /// Time of the report, RFC 3339.
    pub now: String,
    /// When the kernel was last made equal to the objects, RFC 3339; absent before the first time.
    pub synced: Option<String>,
    /// For how many seconds the oldest change that is not in the kernel has waited.
    pub waiting_seconds: Option<f64>,
    /// Why the node is not ready, one sentence per reason.
    pub unready: Vec<String>,
    /// Seconds since the last news of objects of each kind; empty with manifests.
    pub ages: Vec<(String, Option<f64>)>,
    /// Name of the tables.
    pub table: String,
    /// The address families that are served.
    pub families: Vec<String>,
    /// Networks of Pods.
    pub pod_networks: Vec<String>,
    /// Interface of Pods; a name that ends with `*` is a prefix.
    pub pod_interface: Option<String>,
    /// `--masquerade-all`.
    pub masquerade_all: bool,
    /// `nftables.masqueradeBit`.
    pub masquerade_bit: u8,
    /// `--endpoint-counters`.
    pub endpoint_counters: bool,
    /// The addresses that answer node ports.
    pub node_port_addresses: Vec<IpAddr>,
    /// The addresses of the node.
    pub node_ips: Vec<IpAddr>,
    /// Total number of Services; the objects that follow may contain only some of them.
    pub services: usize,
    /// The Services, as `namespace/name`, whose changes are not in the kernel yet.
    pub waiting: BTreeSet<String>,
    /// The Services that the kernel refuses, each with the kernel's error.
    pub quarantined: Vec<(String, String)>,
}

impl AgentState {
    /// API version of the report.
    pub const API_VERSION: &str = "portolan.io/v1alpha1";
    /// Kind of the report.
    pub const KIND: &str = "AgentState";

    /// Creates the state from a snapshot; fields that the snapshot does not cover keep their defaults.
    pub fn of(snapshot: &Snapshot) -> Self {
        let config = &snapshot.config;
        let (pod_networks, pod_interface) = match &config.pods {
            PodDetector::None => (Vec::new(), None),
            PodDetector::Networks(networks) => (networks.iter().map(ToString::to_string).collect(), None),
            PodDetector::Interface { name, prefix } => {
                (Vec::new(), Some(format!("{name}{}", if *prefix { "*" } else { "" })))
            }
        };
        Self {
            api_version: Self::API_VERSION.to_owned(),
            kind: Self::KIND.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            network_namespace: network_namespace().unwrap_or_default(),
            node: snapshot.node.name.to_string(),
            table: config.table.to_string(),
            families: config.families.iter().map(ToString::to_string).collect(),
            pod_networks,
            pod_interface,
            masquerade_all: config.masquerade_all,
            masquerade_bit: config.masquerade_bit,
            endpoint_counters: config.endpoint_counters,
            node_port_addresses: snapshot.node_port_addresses.clone(),
            node_ips: snapshot.node_ips.clone(),
            services: snapshot.total,
            waiting: snapshot.waiting.iter().map(ToString::to_string).collect(),
            quarantined: snapshot.quarantined.iter().map(|(n, why)| (n.to_string(), why.clone())).collect(),
            ..Self::default()
        }
    }
}

/// The network namespace of this process: device and inode.
pub fn network_namespace() -> io::Result<String> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata("/proc/self/ns/net")?;
    Ok(format!("{}:{}", metadata.dev(), metadata.ino()))
}
