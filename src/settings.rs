//! What flags and configuration file say, checked.

mod problem;
mod run;

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;
use portolan_rules::{
    compile::{Config, PodDetector},
    model::Node,
    node_ports::{NodePortAddresses, NodePortAddressesError},
    ruleset::{Family, Name},
};

use crate::{
    cli::NodeArgs,
    config::{DEFAULT_MASQUERADE_BIT, KubeProxyConfiguration, Origin},
    host,
};

pub use self::{
    problem::{Problem, SettingsError},
    run::{ApiSettings, ConntrackSettings, LoggingSettings, RunSettings, SyncSettings, Wish},
};

/// kube-proxy's nftables tables; another agent must not share them.
pub const KUBE_PROXY_TABLE: &str = "kube-proxy";

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
    /// Stands for the node's primary address of its family (`bindAddress`).
    pub primary_address: Option<IpAddr>,
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

impl Settings {
    /// Checks the facts that the command line gives, and asks the host for what it leaves out.
    pub fn new(args: &NodeArgs) -> Result<Self, SettingsError> {
        Self::check(&KubeProxyConfiguration::from(args).complete(), &Origin::Flags, args)
    }

    /// Checks a configuration in which defaults are written down. Flags give what it has no field for.
    fn check(all: &KubeProxyConfiguration, origin: &Origin, args: &NodeArgs) -> Result<Self, SettingsError> {
        let config = Config {
            table: table_name(args.table_name.as_deref())?,
            masquerade_all: all.nftables.masquerade_all == Some(true),
            masquerade_bit: masquerade_bit(origin, "nftables.masqueradeBit", all.nftables.masquerade_bit)?,
            ..Config::default()
        };
        let entries = all.node_port_addresses.as_deref().unwrap_or_default();
        Ok(Self {
            node_name: node_name(all.hostname_override.as_deref())?,
            node_port_addresses: entries.join(",").parse().map_err(|error: NodePortAddressesError| {
                SettingsError::new(origin.name("nodePortAddresses"), error)
            })?,
            primary_address: primary_address(all, origin)?,
            detect_local: detect_local(all, origin)?,
            service_cidrs: networks(
                "--service-cluster-ip-range",
                args.service_cluster_ip_range.as_deref().unwrap_or_default(),
            )?,
            proxy_name: proxy_name(args)?,
            config,
        })
    }

    /// The addresses that answer node ports, from what the Node object says and from the addresses of the host's
    /// interfaces.
    pub fn node_port_addresses(&self, node: &Node, host: &[IpAddr]) -> BTreeSet<IpAddr> {
        let mut addresses = self.node_port_addresses.select(node, host);
        if let (NodePortAddresses::Primary, Some(primary)) = (&self.node_port_addresses, self.primary_address)
        {
            addresses.retain(|address| Family::of(*address) != Family::of(primary));
            addresses.insert(primary);
        }
        addresses
    }
}

fn detect_local(all: &KubeProxyConfiguration, origin: &Origin) -> Result<DetectLocal, SettingsError> {
    // Checked in every mode: a typo must not wait for the mode to change.
    let cluster_cidrs =
        cluster_cidrs(&origin.name("clusterCIDR"), all.cluster_cidr.as_deref().unwrap_or(""))?;
    let of =
        |field: &str, name: &Option<String>| interface(&origin.name(field), name.as_deref().unwrap_or(""));
    match all.detect_local_mode.as_deref().unwrap_or("") {
        "" | "ClusterCIDR" => Ok(DetectLocal::ClusterCidr(cluster_cidrs)),
        "NodeCIDR" => Ok(DetectLocal::NodeCidr),
        "BridgeInterface" => {
            of("detectLocal.bridgeInterface", &all.detect_local.bridge_interface).map(DetectLocal::Bridge)
        }
        "InterfaceNamePrefix" => {
            of("detectLocal.interfaceNamePrefix", &all.detect_local.interface_name_prefix)
                .map(DetectLocal::InterfacePrefix)
        }
        other => {
            let modes = "ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix";
            Err(SettingsError::new(origin.name("detectLocalMode"), Problem::NoneOf(other.to_owned(), modes)))
        }
    }
}

/// A name that an interface can have (`dev_valid_name` in the kernel), or its beginning.
fn interface(place: &str, name: &str) -> Result<Arc<str>, SettingsError> {
    let is_valid = (1..=15).contains(&name.len())
        && !name.contains(|c: char| c == '/' || c == '*' || c == '"' || c.is_whitespace());
    if is_valid {
        Ok(name.into())
    } else {
        Err(SettingsError::new(place, Problem::Interface(name.to_owned())))
    }
}

fn masquerade_bit(origin: &Origin, field: &str, bit: Option<i32>) -> Result<u8, SettingsError> {
    let given = bit.unwrap_or(DEFAULT_MASQUERADE_BIT);
    let bit = u8::try_from(given).ok().filter(|bit| *bit <= 31);
    bit.ok_or_else(|| SettingsError::new(origin.name(field), Problem::Range(given.into(), 0, 31)))
}

/// `bindAddress`, unless it stands for all addresses.
fn primary_address(all: &KubeProxyConfiguration, origin: &Origin) -> Result<Option<IpAddr>, SettingsError> {
    let text = all.bind_address.as_deref().unwrap_or("0.0.0.0").trim();
    let address: Option<IpAddr> = text.parse().ok();
    let address = address
        .ok_or_else(|| SettingsError::new(origin.name("bindAddress"), Problem::Address(text.to_owned())))?;
    Ok((!address.is_unspecified()).then_some(address))
}

/// Checks the name of tables: nft must also take it back, as an operator types it.
pub fn table_name(given: Option<&str>) -> Result<Name, SettingsError> {
    let Some(name) = given else { return Ok(Config::default().table) };
    let is_valid = name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let is_taken = name == KUBE_PROXY_TABLE;
    match (is_valid, is_taken) {
        (true, false) => Ok(name.into()),
        (true, true) => Err(SettingsError::new("--table-name", Problem::KubeProxyTable)),
        (false, _) => Err(SettingsError::new("--table-name", Problem::TableName(name.to_owned()))),
    }
}

/// A value that a label can have.
fn proxy_name(args: &NodeArgs) -> Result<Option<Box<str>>, SettingsError> {
    let name = args.service_proxy_name.as_deref().unwrap_or("");
    let ends = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    let is_valid = name.len() <= 63
        && ends
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    match name {
        "" => Ok(None),
        name if is_valid => Ok(Some(name.into())),
        name => Err(SettingsError::new("--service-proxy-name", Problem::LabelValue(name.to_owned()))),
    }
}

/// The first network of each family.
fn one_a_family(networks: &[IpNetwork]) -> Vec<IpNetwork> {
    let first = |family| networks.iter().find(|network| Family::of(network.ip()) == family).copied();
    Family::ALL.into_iter().filter_map(first).map(masked).collect()
}

/// The given name, else `$NODE_NAME`, else the host's name; as kube-proxy, trimmed and lower case.
fn node_name(given: Option<&str>) -> Result<Arc<str>, SettingsError> {
    let given = given.map(str::to_owned).filter(|name| !name.is_empty());
    let named = given.is_some();
    let name = given.or_else(|| std::env::var("NODE_NAME").ok());
    let name = name.filter(|name| named || !name.trim().is_empty()).map_or_else(host::name, Ok);
    let error = |problem| SettingsError::new("--hostname-override", Problem::NodeName(problem));
    let name = name.map_err(|problem| error(problem.to_string()))?.trim().to_lowercase();
    if name.is_empty() { Err(error("it is empty".to_owned())) } else { Ok(name.into()) }
}

fn cluster_cidrs(place: &str, list: &str) -> Result<Vec<IpNetwork>, SettingsError> {
    let networks = networks(place, list)?;
    if one_a_family(&networks).len() == networks.len() {
        Ok(networks)
    } else {
        Err(SettingsError::new(place, Problem::ClusterCidrs(list.to_owned())))
    }
}

fn networks(place: &str, list: &str) -> Result<Vec<IpNetwork>, SettingsError> {
    let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let network = |entry: &str| {
        let parsed = entry.contains('/').then(|| entry.parse().ok()).flatten();
        parsed.map(masked).ok_or_else(|| SettingsError::new(place, Problem::Network(entry.to_owned())))
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
            cluster_cidr: Some(cluster_cidr.into()),
            pod_bridge_interface: Some("br0".into()),
            pod_interface_name_prefix: Some("cali/".into()),
            service_cluster_ip_range: Some("10.96.0.1/12".into()),
            ..NodeArgs::default()
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
            let args = NodeArgs { detect_local_mode: Some(mode.into()), ..args("") };
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
        let bit = |bit| Settings::new(&NodeArgs { masquerade_bit: Some(bit), ..args("") });
        assert_eq!(bit(31).unwrap().config.masquerade_bit, 31);
        assert_eq!(bit(32).unwrap_err().to_string(), "--masquerade-bit: 32 is not a number from 0 to 31");
        assert_eq!(bit(-1).unwrap_err().to_string(), "--masquerade-bit: -1 is not a number from 0 to 31");
    }

    #[test]
    fn tables_have_names_that_nft_reads() {
        let table = |name: &str| Settings::new(&NodeArgs { table_name: Some(name.into()), ..args("") });
        assert_eq!(&*table("portolan-2").unwrap().config.table, "portolan-2");
        assert_eq!(&*Settings::new(&args("")).unwrap().config.table, "portolan");
        for name in ["", "2", "a b", "a\"", "kube-proxy", &"a".repeat(64)] {
            let error = table(name).unwrap_err().to_string();
            assert!(error.starts_with("--table-name: "), "{error}");
        }
    }

    #[test]
    fn the_proxy_name_is_a_label_s_value() {
        let name = |name: &str| {
            let args = NodeArgs { service_proxy_name: Some(name.into()), ..args("") };
            Settings::new(&args).map(|settings| settings.proxy_name)
        };
        assert_eq!(name("").unwrap(), None);
        assert_eq!(name("edge.v2").unwrap().as_deref(), Some("edge.v2"));
        for wrong in ["-a", "a-", "a b", &"a".repeat(64)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_bind_address_stands_for_the_primary_one_of_its_family() {
        let addresses = |list: &[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        let node = Node { addresses: addresses(&["192.0.2.1", "2001:db8::1"]), ..Node::default() };
        let mut all = KubeProxyConfiguration::from(&args("")).complete();
        let mut selected = |bind: &str, networks: &str| {
            all.bind_address = Some(bind.into());
            all.node_port_addresses = Some(vec![networks.into()]);
            let settings = Settings::check(&all, &Origin::Flags, &args("")).unwrap();
            Vec::from_iter(settings.node_port_addresses(&node, &addresses(&["192.0.2.1", "198.51.100.1"])))
        };
        assert_eq!(selected("0.0.0.0", "primary"), addresses(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(selected("198.51.100.1", "primary"), addresses(&["198.51.100.1", "2001:db8::1"]));
        assert_eq!(selected("2001:db8::7", "primary"), addresses(&["192.0.2.1", "2001:db8::7"]));
        assert_eq!(selected("198.51.100.1", "192.0.2.0/24"), addresses(&["192.0.2.1"]));
    }
}
