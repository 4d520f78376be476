//! What the rules of a node depend on.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnetwork::IpNetwork;
use portolan_rules::{
    model::Node,
    plane::{Config, PodDetector},
    ruleset::{Family, Name},
    selection::node_port_addresses::{NodePortAddresses, NotANetwork},
};
use rustix::system::uname;

use crate::{
    api::{parse_cidr, parse_ip},
    config::{
        Error, Options, Origin,
        options::{
            BIND_ADDRESS, CLUSTER_CIDR, DETECT_LOCAL_MODE, ENDPOINT_COUNTERS, HOSTNAME_OVERRIDE,
            MASQUERADE_ALL, MASQUERADE_BIT, NODEPORT_ADDRESSES, POD_BRIDGE_INTERFACE,
            POD_INTERFACE_NAME_PREFIX, Row, SERVICE_CLUSTER_IP_RANGE, SERVICE_PROXY_NAME, TABLE_NAME,
        },
    },
};

/// kube-proxy's nftables tables; another agent must not share them.
pub const KUBE_PROXY_TABLE: &str = "kube-proxy";

/// The directory of the agents' sockets. It belongs to root alone.
pub const SOCKET_DIRECTORY: &str = "/run/portolan";

/// The default socket of the agent whose tables have this name.
pub fn socket_path(table: &str) -> PathBuf {
    Path::new(SOCKET_DIRECTORY).join(format!("{table}.sock"))
}

/// How connections of Pods are recognised (`--detect-local-mode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    /// By the networks of `--cluster-cidr`; without any, connections of Pods are not recognised.
    ClusterCidr(Vec<IpNetwork>),
    /// By the Node object's `spec.podCIDRs`.
    NodeCidr,
    /// By the bridge that they come in through.
    Bridge(Arc<str>),
    /// By the beginning of the name of the interface that they come in through.
    InterfacePrefix(Arc<str>),
}

impl DetectLocal {
    /// Returns how the rules of this node recognise Pods. `None` if that takes `spec.podCIDRs` of the Node object, and
    /// the Node has none.
    pub fn detector(&self, node: &Node) -> Option<PodDetector> {
        match self {
            Self::ClusterCidr(networks) if networks.is_empty() => Some(PodDetector::None),
            Self::ClusterCidr(networks) => Some(PodDetector::Networks(networks.clone())),
            Self::NodeCidr if node.pod_cidrs.is_empty() => None,
            Self::NodeCidr => Some(PodDetector::Networks(one_a_family(&node.pod_cidrs))),
            Self::Bridge(name) => Some(PodDetector::Interface { name: name.clone(), prefix: false }),
            Self::InterfacePrefix(name) => {
                // A name of full length is not the beginning of a longer one.
                let prefix = name.len() < LONGEST_INTERFACE;
                Some(PodDetector::Interface { name: name.clone(), prefix })
            }
        }
    }
}

/// The most characters of an interface's name (`IFNAMSIZ` less the zero at the end).
const LONGEST_INTERFACE: usize = 15;

/// Checked settings of one run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of this node.
    pub node_name: Arc<str>,
    /// Which addresses answer node ports.
    pub node_port_addresses: NodePortAddresses,
    /// How connections of Pods are recognised; decides [`Config::pods`] once the node is known.
    pub detect_local: DetectLocal,
    /// Networks of ClusterIPs besides those of ServiceCIDR objects.
    pub service_cidrs: Vec<IpNetwork>,
    /// Only Services with this value of the label `service.kubernetes.io/service-proxy-name` are served; if `None`,
    /// only Services without the label (`--service-proxy-name`).
    pub proxy_name: Option<Box<str>>,
    /// What the rules depend on.
    pub config: Config,
}

impl Settings {
    /// Checks the options of every command that compiles rules.
    pub fn new(flags: &Options) -> Result<Self, Error> {
        Self::check(&flags.complete(), &Origin::default())
    }

    /// Checks complete options.
    pub(super) fn check(all: &Options, origin: &Origin) -> Result<Self, Error> {
        let config = Config {
            table: table_name(all.text(&TABLE_NAME))?,
            masquerade_all: all.is_on(&MASQUERADE_ALL),
            endpoint_counters: all.is_on(&ENDPOINT_COUNTERS),
            masquerade_bit: all.number(&MASQUERADE_BIT),
            ..Config::default()
        };
        // Leading zeros are accepted, as for networks in objects.
        let entries = all
            .list(&NODEPORT_ADDRESSES)
            .map(|entry| parse_cidr(entry).map_or_else(|| entry.to_owned(), |network| network.to_string()));
        let entries = entries.collect::<Vec<_>>().join(",");
        let mut node_port_addresses: NodePortAddresses =
            entries.parse().map_err(|error: NotANetwork| refuse(origin, &NODEPORT_ADDRESSES, error))?;
        node_port_addresses.bind_address = bind_address(all, origin)?;
        Ok(Self {
            node_name: node_name(all, origin)?,
            node_port_addresses,
            detect_local: detect_local(all, origin)?,
            service_cidrs: networks(all, origin, &SERVICE_CLUSTER_IP_RANGE)?,
            proxy_name: proxy_name(all, origin)?,
            config,
        })
    }

    /// Returns a warning if the settings need something that the Node object does not have.
    pub fn lacks(&self, node: &Node) -> Option<String> {
        let name = &self.node_name;
        self.detect_local.detector(node).is_none().then(|| {
            format!(
                "--detect-local-mode NodeCIDR: there is no Node {name} with spec.podCIDRs: no connection to a \
                 ClusterIP is masqueraded"
            )
        })
    }
}

fn detect_local(all: &Options, origin: &Origin) -> Result<DetectLocal, Error> {
    // Checked in every mode, so that a typo is found before the mode changes.
    let cluster_cidrs = networks(all, origin, &CLUSTER_CIDR)?;
    if one_a_family(&cluster_cidrs).len() != cluster_cidrs.len() {
        let problem = format!("at most one network of each family, not {:?}", all.text(&CLUSTER_CIDR));
        return Err(refuse(origin, &CLUSTER_CIDR, problem));
    }
    match all.text(&DETECT_LOCAL_MODE) {
        "ClusterCIDR" => Ok(DetectLocal::ClusterCidr(cluster_cidrs)),
        "NodeCIDR" => Ok(DetectLocal::NodeCidr),
        "BridgeInterface" => interface(all, origin, &POD_BRIDGE_INTERFACE).map(DetectLocal::Bridge),
        "InterfaceNamePrefix" => {
            interface(all, origin, &POD_INTERFACE_NAME_PREFIX).map(DetectLocal::InterfacePrefix)
        }
        other => {
            let modes = "ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix";
            Err(invalid(origin, &DETECT_LOCAL_MODE, other, modes))
        }
    }
}

/// Returns a problem with an option.
pub(super) fn refuse(origin: &Origin, row: &Row, problem: impl fmt::Display) -> Error {
    Error::new(origin.place(row), problem)
}

/// Returns the problem that a word is invalid for an option.
pub(super) fn invalid(origin: &Origin, row: &Row, word: &str, known: &str) -> Error {
    refuse(origin, row, format!("{word:?} is invalid, must be {known}"))
}

/// Whether a text has the form of a label: at most `longest` letters, digits and `others`, with a letter or digit at
/// the beginning and at the end.
pub(super) fn is_label(text: &str, longest: usize, others: &str) -> bool {
    (1..=longest).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

/// Reads a name that an interface can have (`dev_valid_name` in the kernel), or the beginning of such a name.
fn interface(all: &Options, origin: &Origin, row: &Row) -> Result<Arc<str>, Error> {
    let name = all.text(row);
    let is_valid = (1..=LONGEST_INTERFACE).contains(&name.len())
        && !name.contains(|c: char| c == '/' || c == '*' || c == '"' || c.is_whitespace());
    let problem =
        || format!("{name:?} is not the name of an interface: 1 to 15 characters, no blank, no slash");
    if is_valid { Ok(name.into()) } else { Err(refuse(origin, row, problem())) }
}

/// `bindAddress`, unless it stands for all addresses.
fn bind_address(all: &Options, origin: &Origin) -> Result<Option<IpAddr>, Error> {
    let text = all.text(&BIND_ADDRESS);
    let problem = || refuse(origin, &BIND_ADDRESS, format!("{text:?} is not an IP address"));
    let address = parse_ip(text).ok_or_else(problem)?;
    Ok((!address.is_unspecified()).then_some(address))
}

/// Checks the name of tables: nft must also accept the name as an operator types it.
pub fn table_name(name: &str) -> Result<Name, Error> {
    let is_valid = name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let problem = match name {
        KUBE_PROXY_TABLE => "kube-proxy is the name of kube-proxy's own tables".to_owned(),
        name if is_valid => return Ok(name.into()),
        name => {
            format!("{name:?} is not a name for a table: a letter, then letters, digits, - and _, 63 in all")
        }
    };
    Err(refuse(&Origin::default(), &TABLE_NAME, problem))
}

/// Reads a value that a label can have.
fn proxy_name(all: &Options, origin: &Origin) -> Result<Option<Box<str>>, Error> {
    match all.text(&SERVICE_PROXY_NAME) {
        "" => Ok(None),
        name if is_label(name, 63, "-_.") => Ok(Some(name.into())),
        name => {
            let problem = format!(
                "{name:?} is not the value of a label: letters, digits, -, _ and . between letters or digits, 63 in all"
            );
            Err(refuse(origin, &SERVICE_PROXY_NAME, problem))
        }
    }
}

/// The first network of each family.
fn one_a_family(networks: &[IpNetwork]) -> Vec<IpNetwork> {
    let first = |family| networks.iter().find(|network| Family::of(network.ip()) == family).copied();
    Family::ALL.into_iter().filter_map(first).map(masked).collect()
}

/// The given name, else `$NODE_NAME`, else the host's name; trimmed and in lower case, as for kube-proxy.
fn node_name(all: &Options, origin: &Origin) -> Result<Arc<str>, Error> {
    let error = |problem| refuse(origin, &HOSTNAME_OVERRIDE, format!("the node has no name: {problem}"));
    let given = all.get(&HOSTNAME_OVERRIDE).and_then(|name| name.as_str()).filter(|name| !name.is_empty());
    let environment = || std::env::var("NODE_NAME").ok().filter(|name| !name.trim().is_empty());
    let host = || {
        let name = uname().nodename().to_owned();
        name.into_string().map_err(|_| error("the host's name is not text".to_owned()))
    };
    let name = given.map(str::to_owned).or_else(environment).map_or_else(host, Ok)?.trim().to_lowercase();
    if name.is_empty() { Err(error("it is empty".to_owned())) } else { Ok(name.into()) }
}

/// Networks, separated by commas.
fn networks(all: &Options, origin: &Origin, row: &Row) -> Result<Vec<IpNetwork>, Error> {
    let network = |entry: &str| {
        let problem = || refuse(origin, row, format!("{entry:?} is not a network such as 10.128.0.0/14"));
        parse_cidr(entry).ok_or_else(problem)
    };
    let entries = all.text(row).split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(network).collect()
}

/// The network with its host bits cleared: rules and their dump must show the same.
fn masked(network: IpNetwork) -> IpNetwork {
    let address: IpAddr = network.network();
    IpNetwork::new(address, network.prefix()).unwrap_or(network)
}
