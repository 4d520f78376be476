//! What flags and configuration file say, checked.

mod problem;
mod run;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf, sync::Arc};

use ipnetwork::IpNetwork;
use portolan_rules::{
    compile::{Config, PodDetector},
    model::Node,
    node_ports::{NodePortAddresses, NodePortAddressesError},
    ruleset::{Family, Name},
};

use crate::{
    api::{parse_cidr, parse_ip},
    config::{
        DEFAULT_MASQUERADE_BIT, KubeProxyConfiguration, Origin,
        arguments::{ManifestArgs, NodeArgs},
    },
    source::{
        host,
        manifest::{MAX_FILE_SIZE, Source},
    },
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
    /// What that means for the rules of this node. `None` if that takes a Node object that says `spec.podCIDRs`,
    /// and this one does not: then nobody knows.
    pub fn detector(&self, node: &Node) -> Option<PodDetector> {
        match self {
            Self::ClusterCidr(networks) if networks.is_empty() => Some(PodDetector::None),
            Self::ClusterCidr(networks) => Some(PodDetector::Networks(networks.clone())),
            Self::NodeCidr if node.pod_cidrs.is_empty() => None,
            Self::NodeCidr => Some(PodDetector::Networks(one_a_family(&node.pod_cidrs))),
            Self::Bridge(name) => Some(PodDetector::Interface { name: name.clone(), prefix: false }),
            Self::InterfacePrefix(name) => {
                // Nothing can follow as many characters as a name can have.
                let prefix = name.len() < LONGEST_INTERFACE;
                Some(PodDetector::Interface { name: name.clone(), prefix })
            }
        }
    }
}

/// Characters of an interface's name at most (`IFNAMSIZ` less the zero at the end).
const LONGEST_INTERFACE: usize = 15;

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
            endpoint_counters: args.endpoint_counters == Some(true),
            masquerade_bit: masquerade_bit(origin, "nftables.masqueradeBit", all.nftables.masquerade_bit)?,
            ..Config::default()
        };
        let entries = all.node_port_addresses.as_deref().unwrap_or_default();
        // As lenient about zeros as for networks in objects.
        let entries = entries.iter().map(|entry| {
            parse_cidr(entry.trim()).map_or_else(|| entry.clone(), |network| network.to_string())
        });
        Ok(Self {
            node_name: node_name(all, origin, args)?,
            node_port_addresses: entries.collect::<Vec<_>>().join(",").parse().map_err(
                |error: NodePortAddressesError| SettingsError::new(origin.name("nodePortAddresses"), error),
            )?,
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

    /// What a manifest does not say, though the settings need it: one line, or nothing.
    pub fn lacks(&self, node: &Node) -> Option<String> {
        let name = &self.node_name;
        self.detect_local.detector(node).is_none().then(|| {
            format!(
                "--detect-local-mode NodeCIDR: there is no Node {name} with spec.podCIDRs: no connection to a \
                 ClusterIP is masqueraded"
            )
        })
    }

    /// The manifests at these paths, of which this node serves what is its own.
    pub fn manifests(&self, paths: &[PathBuf], args: ManifestArgs) -> Source {
        Source::new(paths.iter().cloned(), &self.node_name)
            .with_proxy_name(self.proxy_name.clone())
            .allow_empty(args.allow_empty)
            .with_max_file_size(args.max_file_size.unwrap_or(MAX_FILE_SIZE))
    }

    /// The addresses that answer node ports, from what the Node object says and from the addresses of the host's
    /// interfaces.
    pub fn node_port_addresses(&self, node: &Node, host: &[IpAddr]) -> BTreeSet<IpAddr> {
        self.with_primary(self.node_port_addresses.select(node, host))
    }

    /// Where health checks of Services are answered; the unspecified address for all of a family.
    pub fn health_check_addresses(&self, node: &Node, host: &[IpAddr]) -> BTreeSet<IpAddr> {
        self.with_primary(self.node_port_addresses.health_check_addresses(node, host))
    }

    fn with_primary(&self, mut addresses: BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
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
    let is_valid = (1..=LONGEST_INTERFACE).contains(&name.len())
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
    let address = parse_ip(text)
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
fn node_name(
    all: &KubeProxyConfiguration,
    origin: &Origin,
    args: &NodeArgs,
) -> Result<Arc<str>, SettingsError> {
    // The flag beats the file.
    let origin = if args.hostname_override.is_some() { &Origin::Flags } else { origin };
    let error = |problem| SettingsError::new(origin.name("hostnameOverride"), Problem::NodeName(problem));
    let given = all.hostname_override.clone().filter(|name| !name.is_empty());
    let environment = || std::env::var("NODE_NAME").ok().filter(|name| !name.trim().is_empty());
    let name = given.or_else(environment).map_or_else(host::name, Ok);
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
        parse_cidr(entry).ok_or_else(|| SettingsError::new(place, Problem::Network(entry.to_owned())))
    };
    entries.map(network).collect()
}

/// The network with its host bits cleared: rules and their dump must show the same.
fn masked(network: IpNetwork) -> IpNetwork {
    let address: IpAddr = network.network();
    IpNetwork::new(address, network.prefix()).unwrap_or(network)
}
