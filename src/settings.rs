//! The command line's facts of the node, checked.

mod run;

use std::{net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;
use portolan_rules::{
    compile::{Config, PodDetector},
    model::Node,
    node_ports::{NodePortAddresses, NodePortAddressesError},
    ruleset::Family,
};

use crate::{cli::NodeArgs, host};

pub use self::run::{ApiSettings, RunSettings, SyncSettings};

/// How connections of pods are told from all others (`--detect-local-mode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    /// By the networks of `--cluster-cidr`; without one, not at all.
    ClusterCidr(Vec<IpNetwork>),
    /// By the Node object's `spec.podCIDRs`.
    NodeCidr,
    /// By the bridge that they come in through.
    Bridge(Arc<str>),
    /// By the beginning of the name of the interface that they come in through.
    InterfacePrefix(Arc<str>),
}

impl DetectLocal {
    /// What that means for the rules of this node.
    pub fn detector(&self, node: &Node) -> PodDetector {
        let networks = match self {
            Self::ClusterCidr(networks) => networks.clone(),
            Self::NodeCidr => one_a_family(&node.pod_cidrs),
            Self::Bridge(name) => return PodDetector::Interface { name: name.clone(), prefix: false },
            Self::InterfacePrefix(name) => {
                return PodDetector::Interface { name: name.clone(), prefix: true };
            }
        };
        if networks.is_empty() { PodDetector::None } else { PodDetector::Networks(networks) }
    }
}

/// Checked settings of one run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of this node.
    pub node_name: Arc<str>,
    /// Which addresses answer node ports.
    pub node_port_addresses: NodePortAddresses,
    /// How pods are told from the rest; decides [`Config::pods`] once the node is known.
    pub detect_local: DetectLocal,
    /// Networks of ClusterIPs besides those of ServiceCIDR objects.
    pub service_cidrs: Vec<IpNetwork>,
    /// Services with this value of the label `service.kubernetes.io/service-proxy-name` are served, and no others;
    /// without it, those without the label (`--service-proxy-name`).
    pub proxy_name: Option<Box<str>>,
    /// What the rules depend on.
    pub config: Config,
}

/// A flag whose value is not valid.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A network that is none.
    #[error("{flag}: {value:?} is not a network such as 10.128.0.0/14")]
    Network {
        /// The flag.
        flag: &'static str,
        /// The entry.
        value: String,
    },
    /// More than one network of a family, or more than two at all.
    #[error("--cluster-cidr: at most one network of each family, not {0:?}")]
    ClusterCidrs(String),
    /// An entry that is neither a network nor `primary`.
    #[error("--nodeport-addresses: {0}")]
    NodePortAddresses(#[from] NodePortAddressesError),
    /// The flag is there but empty, or the host has no name.
    #[error("--hostname-override: the node has no name: {0}")]
    NodeName(String),
    /// A mode that does not exist.
    #[error(
        "--detect-local-mode: {0:?} is none of ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix"
    )]
    DetectLocalMode(String),
    /// An interface name that cannot be one.
    #[error("{flag}: {value:?} is not the name of an interface: 1 to 15 characters, no blank, no slash")]
    Interface {
        /// The flag.
        flag: &'static str,
        /// The value.
        value: String,
    },
    /// A bit that the mark does not have.
    #[error("--masquerade-bit: {0:?} is not a number from 0 to 31")]
    MasqueradeBit(String),
}

impl Settings {
    /// Checks the facts that the command line gives, and asks the host for what it leaves out.
    pub fn new(args: &NodeArgs) -> Result<Self, SettingsError> {
        let masquerade_bit = args.masquerade_bit.parse().ok().filter(|bit| *bit <= 31);
        let masquerade_bit =
            masquerade_bit.ok_or_else(|| SettingsError::MasqueradeBit(args.masquerade_bit.clone()))?;
        Ok(Self {
            node_name: node_name(args)?,
            node_port_addresses: args.nodeport_addresses.parse()?,
            detect_local: detect_local(args)?,
            service_cidrs: networks("--service-cluster-ip-range", &args.service_cluster_ip_range)?,
            proxy_name: None,
            config: Config { masquerade_all: args.masquerade_all, masquerade_bit, ..Config::default() },
        })
    }
}

fn detect_local(args: &NodeArgs) -> Result<DetectLocal, SettingsError> {
    // Checked in every mode: a typo must not wait for the mode to change.
    let cluster_cidrs = cluster_cidrs(&args.cluster_cidr)?;
    match args.detect_local_mode.as_str() {
        "" | "ClusterCIDR" => Ok(DetectLocal::ClusterCidr(cluster_cidrs)),
        "NodeCIDR" => Ok(DetectLocal::NodeCidr),
        "BridgeInterface" => {
            interface("--pod-bridge-interface", &args.pod_bridge_interface).map(DetectLocal::Bridge)
        }
        "InterfaceNamePrefix" => interface("--pod-interface-name-prefix", &args.pod_interface_name_prefix)
            .map(DetectLocal::InterfacePrefix),
        other => Err(SettingsError::DetectLocalMode(other.to_owned())),
    }
}

/// A name that an interface can have (`dev_valid_name` in the kernel), or its beginning.
fn interface(flag: &'static str, name: &str) -> Result<Arc<str>, SettingsError> {
    let is_valid = (1..=15).contains(&name.len())
        && !name.contains(|c: char| c == '/' || c == '*' || c == '"' || c.is_whitespace());
    if is_valid { Ok(name.into()) } else { Err(SettingsError::Interface { flag, value: name.to_owned() }) }
}

/// The first network of each family.
fn one_a_family(networks: &[IpNetwork]) -> Vec<IpNetwork> {
    let first = |family| networks.iter().find(|network| Family::of(network.ip()) == family).copied();
    Family::ALL.into_iter().filter_map(first).map(masked).collect()
}

/// `--hostname-override`, else `$NODE_NAME`, else the host's name; as kube-proxy, trimmed and lower case.
fn node_name(args: &NodeArgs) -> Result<Arc<str>, SettingsError> {
    let given = args.hostname_override.clone().or_else(|| std::env::var("NODE_NAME").ok());
    let name = given.filter(|name| !name.trim().is_empty()).map_or_else(host::name, Ok);
    let name = name.map_err(|error| SettingsError::NodeName(error.to_string()))?.trim().to_lowercase();
    if name.is_empty() { Err(SettingsError::NodeName("it is empty".into())) } else { Ok(name.into()) }
}

fn cluster_cidrs(list: &str) -> Result<Vec<IpNetwork>, SettingsError> {
    let networks = networks("--cluster-cidr", list)?;
    if one_a_family(&networks).len() == networks.len() {
        Ok(networks)
    } else {
        Err(SettingsError::ClusterCidrs(list.to_owned()))
    }
}

fn networks(flag: &'static str, list: &str) -> Result<Vec<IpNetwork>, SettingsError> {
    let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let network = |entry: &str| {
        let parsed = entry.contains('/').then(|| entry.parse().ok()).flatten();
        parsed.map(masked).ok_or_else(|| SettingsError::Network { flag, value: entry.to_owned() })
    };
    entries.map(network).collect()
}

/// The network with its host bits cleared: rules and their dump must show the same.
fn masked(network: IpNetwork) -> IpNetwork {
    let address: IpAddr = network.network();
    IpNetwork::new(address, network.prefix()).unwrap_or(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(cluster_cidr: &str) -> NodeArgs {
        NodeArgs {
            hostname_override: Some(" Node-A ".into()),
            cluster_cidr: cluster_cidr.into(),
            nodeport_addresses: "primary".into(),
            detect_local_mode: "ClusterCIDR".into(),
            pod_bridge_interface: "br0".into(),
            pod_interface_name_prefix: "cali/".into(),
            service_cluster_ip_range: "10.96.0.1/12".into(),
            masquerade_bit: "14".into(),
            masquerade_all: false,
        }
    }

    #[test]
    fn names_and_networks_are_normalised() {
        let settings = Settings::new(&args("10.128.0.1/14, fd00::/56")).unwrap();
        assert_eq!(&*settings.node_name, "node-a");
        let networks = ["10.128.0.0/14", "fd00::/56"].map(|network| network.parse().unwrap());
        assert_eq!(settings.detect_local, DetectLocal::ClusterCidr(networks.into()));
        assert_eq!(settings.service_cidrs, ["10.96.0.0/12".parse().unwrap()]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |list| Settings::new(&args(list)).unwrap_err().to_string();
        assert_eq!(error("10.0.0.1"), r#"--cluster-cidr: "10.0.0.1" is not a network such as 10.128.0.0/14"#);
        assert_eq!(
            error("10.0.0.0/8,172.16.0.0/12"),
            r#"--cluster-cidr: at most one network of each family, not "10.0.0.0/8,172.16.0.0/12""#
        );
    }

    #[test]
    fn pods_are_told_by_what_the_mode_names() {
        let node = Node { pod_cidrs: vec!["10.1.2.3/24".parse().unwrap()], ..Node::default() };
        let mode = |mode: &str| {
            let args = NodeArgs { detect_local_mode: mode.into(), ..args("") };
            Settings::new(&args).map(|settings| settings.detect_local.detector(&node))
        };
        assert_eq!(mode("ClusterCIDR").unwrap(), PodDetector::None);
        assert_eq!(mode("NodeCIDR").unwrap(), PodDetector::Networks(vec!["10.1.2.0/24".parse().unwrap()]));
        let bridge = PodDetector::Interface { name: "br0".into(), prefix: false };
        assert_eq!(mode("BridgeInterface").unwrap(), bridge);
        assert_eq!(
            mode("InterfaceNamePrefix").unwrap_err().to_string(),
            r#"--pod-interface-name-prefix: "cali/" is not the name of an interface: 1 to 15 characters, no blank, no slash"#
        );
        assert_eq!(
            mode("Cluster").unwrap_err().to_string(),
            r#"--detect-local-mode: "Cluster" is none of ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix"#
        );
    }

    #[test]
    fn the_masquerade_bit_is_one_of_the_mark() {
        let bit = |bit: &str| Settings::new(&NodeArgs { masquerade_bit: bit.into(), ..args("") });
        assert_eq!(bit("31").unwrap().config.masquerade_bit, 31);
        assert_eq!(
            bit("32").unwrap_err().to_string(),
            r#"--masquerade-bit: "32" is not a number from 0 to 31"#
        );
    }
}
