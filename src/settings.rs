//! The command line's facts of the node, checked.

use std::{net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;
use portolan_rules::{
    compile::{Config, PodDetector},
    node_ports::{NodePortAddresses, NodePortAddressesError},
    ruleset::Family,
};

use crate::{cli::NodeArgs, host};

/// Checked settings of one run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of this node.
    pub node_name: Arc<str>,
    /// Which addresses answer node ports.
    pub node_port_addresses: NodePortAddresses,
    /// What the rules depend on.
    pub config: Config,
}

/// A flag whose value is not valid.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A network that is none.
    #[error("--cluster-cidr: {0:?} is not a network such as 10.128.0.0/14")]
    ClusterCidr(String),
    /// More than one network of a family, or more than two at all.
    #[error("--cluster-cidr: at most one network of each family, not {0:?}")]
    ClusterCidrs(String),
    /// An entry that is neither a network nor `primary`.
    #[error("--nodeport-addresses: {0}")]
    NodePortAddresses(#[from] NodePortAddressesError),
    /// The flag is there but empty, or the host has no name.
    #[error("--hostname-override: the node has no name: {0}")]
    NodeName(String),
}

impl Settings {
    /// Checks the facts that the command line gives, and asks the host for what it leaves out.
    pub fn new(args: &NodeArgs) -> Result<Self, SettingsError> {
        Ok(Self {
            node_name: node_name(args)?,
            node_port_addresses: args.nodeport_addresses.parse()?,
            config: Config {
                pods: pod_detector(cluster_cidrs(&args.cluster_cidr)?),
                masquerade_all: args.masquerade_all,
                ..Config::default()
            },
        })
    }
}

/// `--hostname-override`, else `$NODE_NAME`, else the host's name; as kube-proxy, trimmed and lower case.
fn node_name(args: &NodeArgs) -> Result<Arc<str>, SettingsError> {
    let given = args.hostname_override.clone().or_else(|| std::env::var("NODE_NAME").ok());
    let name = given.filter(|name| !name.trim().is_empty()).map_or_else(host::name, Ok);
    let name = name.map_err(|error| SettingsError::NodeName(error.to_string()))?.trim().to_lowercase();
    if name.is_empty() { Err(SettingsError::NodeName("it is empty".into())) } else { Ok(name.into()) }
}

/// Without a network there is no way to tell pods from the rest.
fn pod_detector(networks: Vec<IpNetwork>) -> PodDetector {
    if networks.is_empty() { PodDetector::None } else { PodDetector::Networks(networks) }
}

fn cluster_cidrs(list: &str) -> Result<Vec<IpNetwork>, SettingsError> {
    let mut networks: Vec<IpNetwork> = Vec::new();
    for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let network: Option<IpNetwork> = entry.contains('/').then(|| entry.parse().ok()).flatten();
        let network = network.ok_or_else(|| SettingsError::ClusterCidr(entry.to_owned()))?;
        let family = Family::of(network.ip());
        if networks.iter().any(|other| Family::of(other.ip()) == family) {
            return Err(SettingsError::ClusterCidrs(list.to_owned()));
        }
        networks.push(masked(network));
    }
    Ok(networks)
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
            masquerade_all: false,
        }
    }

    #[test]
    fn names_and_networks_are_normalised() {
        let settings = Settings::new(&args("10.128.0.1/14, fd00::/56")).unwrap();
        assert_eq!(&*settings.node_name, "node-a");
        let networks = ["10.128.0.0/14", "fd00::/56"].map(|network| network.parse().unwrap());
        assert_eq!(settings.config.pods, PodDetector::Networks(networks.into()));
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
}
