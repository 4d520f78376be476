//! Which Service answers an address and port.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use portolan_rules::{
    model::{Service, ServicePort},
    selection::node_port_addresses::NodePortAddresses,
    simulate::Packet,
};

use crate::cluster::Cluster;

/// What kind of frontend a packet is addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ClusterIp,
    LoadBalancer,
    ExternalIp,
    NodePort,
}

/// A Service's frontend.
#[derive(Clone, Copy, Debug)]
pub struct Frontend<'a> {
    pub service: &'a Service,
    pub port: &'a ServicePort,
    pub kind: Kind,
}

/// The frontend that a packet is addressed to. An address of the node that is also a ClusterIP counts as a ClusterIP.
pub fn of<'a>(cluster: &'a Cluster, packet: &Packet) -> Option<Frontend<'a>> {
    at_address(cluster, packet).or_else(|| {
        (!is_cluster_ip(cluster, packet.destination)).then(|| at_node_port(cluster, packet)).flatten()
    })
}

/// Whether a Service has this ClusterIP.
pub fn is_cluster_ip(cluster: &Cluster, address: IpAddr) -> bool {
    cluster.services.iter().any(|service| service.cluster_ips.contains(&address))
}

/// Whether an address cannot be an endpoint: it is a Service's ClusterIP, or the API server may assign it to one.
pub fn is_of_services(cluster: &Cluster, address: IpAddr) -> bool {
    is_cluster_ip(cluster, address) || cluster.service_cidrs.iter().any(|network| network.contains(address))
}

/// The frontend that has the packet's destination address, protocol and port. A ClusterIP belongs to its Service
/// alone, on every port. Otherwise a load balancer's address, which a controller wrote, wins over an externalIP.
fn at_address<'a>(cluster: &'a Cluster, packet: &Packet) -> Option<Frontend<'a>> {
    let at = |kind| {
        oldest(cluster, packet, |service, port| {
            let listed = match kind {
                Kind::ClusterIp => &service.cluster_ips,
                Kind::LoadBalancer => &service.load_balancer_ips,
                Kind::ExternalIp | Kind::NodePort => &service.external_ips,
            };
            let is_meant = port.port == packet.destination_port && listed.contains(&packet.destination);
            is_meant.then_some(Frontend { service, port, kind })
        })
    };
    if is_cluster_ip(cluster, packet.destination) {
        return at(Kind::ClusterIp);
    }
    at(Kind::LoadBalancer).or_else(|| at(Kind::ExternalIp))
}

/// The node port that a packet to one of the node's addresses is addressed to.
fn at_node_port<'a>(cluster: &'a Cluster, packet: &Packet) -> Option<Frontend<'a>> {
    if !answers_node_ports(cluster, packet.destination) {
        return None;
    }
    oldest(cluster, packet, |service, port| {
        let same = port.node_port == Some(packet.destination_port);
        same.then_some(Frontend { service, port, kind: Kind::NodePort })
    })
}

/// Of several Services with the same frontend, the oldest owns it, and of equally old ones the one whose name comes
/// first. Of several ports of one Service, the first owns it. A Service has frontends only in the families of its
/// ClusterIPs.
fn oldest<'a>(
    cluster: &'a Cluster,
    packet: &Packet,
    frontend: impl Fn(&'a Service, &'a ServicePort) -> Option<Frontend<'a>>,
) -> Option<Frontend<'a>> {
    let mut services: Vec<&Service> = cluster.services.iter().collect();
    services.sort_by_key(|service| (service.created.is_none(), service.created, &service.name));
    let same_family = |address: &IpAddr| address.is_ipv4() == packet.destination.is_ipv4();
    services
        .into_iter()
        .filter(|service| service.cluster_ips.iter().any(same_family))
        .flat_map(|service| service.ports.iter().map(move |port| (service, port)))
        .filter(|(_, port)| port.protocol.number() == packet.protocol)
        .find_map(|(service, port)| frontend(service, port))
}

/// `--nodeport-addresses`: the first address of each family of the Node object (`primary`), all addresses of the host
/// (`all`), or its addresses in the listed networks. A list of networks alone leaves a family without networks open:
/// all addresses of the host. Never loopback.
fn answers_node_ports(cluster: &Cluster, address: IpAddr) -> bool {
    let node = &cluster.node.addresses;
    let is_of_host = cluster.host.contains(&address);
    let NodePortAddresses { primary, all, localhost, networks, .. } = &cluster.node_port_addresses;
    let mut of_family = networks.iter().filter(|network| network.is_ipv4() == address.is_ipv4()).peekable();
    let is_open = !networks.is_empty() && of_family.peek().is_none() && !(*primary || *all || *localhost);
    let is_listed = *all || is_open || of_family.any(|network| network.contains(address));
    let is_primary = match node.iter().find(|primary| primary.is_ipv4() == address.is_ipv4()) {
        // The primary address is not known.
        None => node.is_empty() && is_of_host,
        first => first == Some(&address),
    };
    !address.is_loopback() && (is_of_host && is_listed || *primary && is_primary)
}

/// Whether `loadBalancerSourceRanges` admit a source. Ranges of the other family restrict nothing.
pub fn admits(cluster: &Cluster, service: &Service, source: IpAddr) -> bool {
    let ranges: Vec<&IpNetwork> =
        service.source_ranges.iter().filter(|range| range.is_ipv4() == source.is_ipv4()).collect();
    let admitted = |address: IpAddr| ranges.iter().any(|range| range.contains(address));
    ranges.is_empty()
        || admitted(source)
        // If the node is admitted, so are the packets that it sends with the load balancer's address as their source.
        || service.load_balancer_ips.contains(&source)
            && cluster.node_ips().into_iter().any(admitted)
}
