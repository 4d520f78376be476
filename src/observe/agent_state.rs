//! What an agent says of itself.

use std::{collections::BTreeSet, io, net::IpAddr};

use portolan_rules::plane::PodDetector;
use serde::{Deserialize, Serialize};

use super::query::Snapshot;

/// The agent, and what the rules depend on beside the objects: what stands before these.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentState {
    /// `portolan.io/v1alpha1`.
    pub api_version: String,
    /// `AgentState`.
    pub kind: String,
    /// Version of the agent.
    pub version: String,
    /// Id of its process, as it sees it itself.
    pub pid: u32,
    /// Its network namespace: device and inode.
    pub network_namespace: String,
    /// Name of the node.
    pub node: String,
    /// The moment, RFC 3339.
    pub now: String,
    /// When the kernel was last made equal to the objects, RFC 3339; absent before the first time.
    pub synced: Option<String>,
    /// Since how many seconds a change waits that is not in the kernel.
    pub waiting_seconds: Option<f64>,
    /// Why the node is not ready, a sentence each.
    pub unready: Vec<String>,
    /// For how many seconds nothing was heard of objects of a kind; without manifests.
    pub ages: Vec<(String, Option<f64>)>,
    /// Name of the tables.
    pub table: String,
    /// The families that are served.
    pub families: Vec<String>,
    /// Networks of Pods.
    pub pod_networks: Vec<String>,
    /// Interface of Pods, or with `*` at the end the beginning of its name.
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
    /// Number of all Services, which may not all follow.
    pub services: usize,
    /// The Services, as `namespace/name`, that are not in the kernel as they are here.
    pub waiting: BTreeSet<String>,
    /// The Services that the kernel refuses, each with its words.
    pub quarantined: Vec<(String, String)>,
}

impl AgentState {
    /// Version of the text.
    pub const API_VERSION: &str = "portolan.io/v1alpha1";
    /// Its kind.
    pub const KIND: &str = "AgentState";

    /// What the snapshot says; the rest is the default.
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
