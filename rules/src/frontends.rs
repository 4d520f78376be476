//! Frontends: the addresses and ports that a Service answers.

mod claims;
mod cluster_ips;
mod key;

use std::net::IpAddr;

use foldhash::{HashSet, HashSetExt};

use crate::{
    model::{Service, ServicePort},
    ruleset::Family,
};

pub use self::key::{FrontendKey, FrontendKind};
pub(crate) use self::{
    claims::{Claim, Claimed, Claims, Rank, sort_by_rank},
    cluster_ips::{ClusterIps, NearAddresses},
};

/// All frontends of one ServicePort in one family, each once; none in a family without a ClusterIP.
pub fn frontends_of(
    service: &Service,
    port: &ServicePort,
    family: Family,
) -> Vec<(FrontendKey, FrontendKind)> {
    let of_family = |address: &&IpAddr| Family::of(**address) == family;
    let Some(cluster_ip) = service.cluster_ips.iter().find(of_family) else { return Vec::new() };
    let at = |address: &IpAddr| FrontendKey::Address(*address, port.protocol, port.port);

    let mut all = vec![(at(cluster_ip), FrontendKind::ClusterIp)];
    let load_balancer = service.load_balancer_ips.iter().filter(of_family);
    all.extend(load_balancer.map(|address| (at(address), FrontendKind::LoadBalancer)));
    let external = service.external_ips.iter().filter(of_family);
    all.extend(external.map(|address| (at(address), FrontendKind::ExternalIp)));
    // One address may be listed twice, or be both a load balancer's and an externalIP.
    if all.len() > 1 {
        let mut known = HashSet::with_capacity(all.len());
        all.retain(|(key, _)| known.insert(*key));
    }
    if let Some(node_port) = port.node_port {
        all.push((FrontendKey::NodePort(family, port.protocol, node_port), FrontendKind::NodePort));
    }
    all
}
