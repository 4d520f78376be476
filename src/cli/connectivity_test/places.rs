//! Where the test connects from and to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use portolan_rules::{
    explanation::View,
    frontends::{FrontendKey, FrontendKind, frontends_of},
    model::{Node, ObjectName, Protocol, Service},
    ruleset::Family,
    selection::node_port_addresses::NodePortAddresses,
    state::ServiceState,
};

use super::{super::explain, probe};
use crate::config::settings::Settings;

/// A place to connect from.
pub struct Source {
    /// The name that its server answers with.
    pub name: String,
    /// The node that the source is on, if its endpoint names one.
    pub node: Option<Arc<str>>,
    /// The address of the server that is asked to connect; `None` for this process.
    server: Option<SocketAddr>,
    /// Whether the source is an endpoint of the Service, so that its connections can reach itself.
    pub is_endpoint: bool,
}

/// A frontend to connect to.
pub struct Frontend {
    pub kind: FrontendKind,
    pub protocol: Protocol,
    pub address: SocketAddr,
    /// The node of a node port, unless it is the node whose view is used.
    other_node: Option<Arc<str>>,
}

/// All frontends and all sources.
pub struct Places {
    pub frontends: Vec<Frontend>,
    pub sources: Vec<Source>,
}

impl Source {
    /// Whether this source connects to the frontend. The node ports of other nodes are tried only from this process and
    /// from their own nodes, so that the number of connections does not grow with the square of the number of nodes.
    pub fn tries(&self, frontend: &Frontend) -> bool {
        self.server.is_none() || frontend.other_node.is_none() || frontend.other_node == self.node
    }

    /// Connects once. Returns the name of the server that answered, or why none answered.
    pub fn connect(&self, protocol: Protocol, to: SocketAddr) -> Result<String, String> {
        match self.server {
            Some(server) => probe::connect_from(server, protocol, to),
            None => probe::connect(protocol, to),
        }
    }
}

impl Places {
    /// Finds the frontends of the Service, and the sources: this process, the Service's endpoints and the endpoints of
    /// `others`.
    pub fn find(view: &View<'_>, service: &str, others: &[String]) -> Result<Self, String> {
        let (service, entry) = find(view, service)?;
        let addresses: Vec<IpAddr> = Family::ALL
            .into_iter()
            .flat_map(|family| view.compiler.node_port_addresses(family))
            .filter(|address| !address.is_unspecified())
            .collect();
        let frontends: Vec<Frontend> =
            Family::ALL.into_iter().flat_map(|family| frontends(service, family, &addresses, None)).collect();
        if frontends.is_empty() {
            return Err(format!("Service {} has no port of TCP or UDP", service.name));
        }
        let mut sources =
            vec![Source { name: "here".to_owned(), node: None, server: None, is_endpoint: false }];
        sources.extend(servers(entry, true)?);
        for other in others {
            sources.extend(servers(find(view, other)?.1, false)?);
        }
        if sources.len() == 1 {
            return Err(format!("Service {} has no ready endpoint on a port of TCP", service.name));
        }
        Ok(Self { frontends, sources })
    }

    /// Adds the node ports of all other nodes. Their addresses are the addresses of the servers in the nodes' host
    /// networks, as far as the settings let these addresses answer node ports.
    pub fn add_node_ports_of_others(
        &mut self,
        view: &View<'_>,
        service: &str,
        nodes: &str,
        settings: &Settings,
    ) -> Result<(), String> {
        let mut addresses: BTreeMap<&Arc<str>, BTreeSet<IpAddr>> = BTreeMap::new();
        for endpoint in find(view, nodes)?.1.slices.iter().flat_map(|slice| &slice.endpoints) {
            if let Some(node) = endpoint.node.as_ref().filter(|node| ***node != *settings.node_name) {
                addresses.entry(node).or_default().insert(endpoint.address);
            }
        }
        let (service, _) = find(view, service)?;
        // The address to bind to belongs to this node.
        let setting = NodePortAddresses { bind_address: None, ..settings.node_port_addresses.clone() };
        for (name, addresses) in addresses {
            let addresses: Vec<IpAddr> = addresses.into_iter().collect();
            let node = Node { name: Arc::clone(name), addresses: addresses.clone(), ..Node::default() };
            let answering: Vec<IpAddr> = setting.select(&node, &addresses).into_iter().collect();
            for family in Family::ALL {
                let frontends = frontends(service, family, &answering, Some(name)).into_iter();
                self.frontends.extend(frontends.filter(|frontend| frontend.kind == FrontendKind::NodePort));
            }
        }
        Ok(())
    }
}

fn find<'a>(view: &'a View<'_>, name: &str) -> Result<(&'a Service, &'a ServiceState), String> {
    let Some((namespace, short)) = name.split_once('/') else {
        return Err(format!("{name:?} is not NAMESPACE/NAME of a Service"));
    };
    let name = ObjectName::new(namespace, short);
    let found = view.state.services().find(|(service, _)| service.name == name);
    found.ok_or_else(|| explain::no_service(view, &name))
}

/// Returns the frontends of one family, except those of SCTP, which cannot be tried. The node ports come last; they are
/// at the addresses `node`.
fn frontends(
    service: &Service,
    family: Family,
    node: &[IpAddr],
    other_node: Option<&Arc<str>>,
) -> Vec<Frontend> {
    let ports = service.ports.iter().filter(|port| port.protocol != Protocol::Sctp);
    let mut frontends = Vec::new();
    for (key, kind) in ports.flat_map(|port| frontends_of(service, port, family)) {
        let (addresses, protocol, port) = match key {
            FrontendKey::Address(address, protocol, port) => (vec![address], protocol, port),
            FrontendKey::NodePort(_, protocol, port) => (node.to_vec(), protocol, port),
        };
        for address in addresses.into_iter().filter(|address| Family::of(*address) == family) {
            frontends.push(Frontend {
                kind,
                protocol,
                address: (address, port).into(),
                other_node: other_node.cloned(),
            });
        }
    }
    frontends.sort_by_key(|frontend| frontend.kind == FrontendKind::NodePort);
    frontends
}

/// Returns the servers that are the endpoints of a Service, each once: a server with two addresses has one name.
fn servers(entry: &ServiceState, is_endpoint: bool) -> Result<Vec<Source>, String> {
    let mut servers = BTreeMap::new();
    for slice in &entry.slices {
        let Some(port) = slice.ports.iter().find(|port| port.protocol == Protocol::Tcp) else { continue };
        for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready) {
            let server = SocketAddr::new(endpoint.address, port.port);
            let name = probe::connect(Protocol::Tcp, server)
                .map_err(|problem| format!("endpoint {server} is no server of the test: {problem}"))?;
            servers.entry(name).or_insert_with(|| (server, endpoint.node.clone()));
        }
    }
    let source = |(name, (server, node))| Source { name, node, server: Some(server), is_endpoint };
    Ok(servers.into_iter().map(source).collect())
}
