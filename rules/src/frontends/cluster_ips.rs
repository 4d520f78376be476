//! Which addresses are ClusterIPs, and which Services list the ClusterIP of another Service.
//!
//! The API server assigns ClusterIPs, each to one Service only. Users and controllers write load balancer addresses,
//! externalIPs, and the endpoints of slices that they create. So a ClusterIP belongs to its Service with all ports,
//! even those that the Service does not have: another Service that lists the address is not served there
//! (CVE-2020-8554; kube-proxy serves it, at any port that is free or was written last). An endpoint's address cannot be
//! a ClusterIP either, or an address that the API server may assign to a Service: a packet is translated only once, so
//! it would leave by the default route.
//!
//! Load balancer addresses and externalIPs are valid endpoints, as they are for kube-proxy: they are routed, and the
//! node or device that announces them translates the packet. Many are also addresses of nodes (k3s), and so of pods in
//! the host's network.
//!
//! Hardly any endpoint has an address near a ClusterIP, and only such endpoints are noted here. An address is near if
//! it is in a ServiceCIDR, or in a block around a ClusterIP that is in no known ServiceCIDR. After a new block, which
//! is rare, all endpoints are examined; the cost of any other change is in proportion to the change.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use foldhash::{HashMap, HashSet};
use smallvec::SmallVec;

use super::claims::{Claim, Claims, Rank};
use crate::model::{Endpoint, EndpointSlice, ObjectName, Service};

/// Addresses near ClusterIPs that a Service lists or has endpoints at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NearAddresses {
    /// All of them.
    all: BTreeSet<IpAddr>,
    /// Of these, the load balancer addresses and externalIPs that are the ClusterIP of another Service, with its name.
    pub frontends: BTreeMap<IpAddr, ObjectName>,
    /// Of these, the addresses of endpoints that are a ClusterIP, with the name of its Service, or that are only in a
    /// ServiceCIDR (`None`).
    pub endpoints: BTreeMap<IpAddr, Option<ObjectName>>,
}

impl NearAddresses {
    /// Whether the difference between the two does not matter to the Service.
    pub fn is_same(before: Option<&Self>, after: Option<&Self>) -> bool {
        let matters = |near: &&Self| !near.frontends.is_empty() || !near.endpoints.is_empty();
        let before = before.filter(matters).map(|near| (&near.frontends, &near.endpoints));
        before == after.filter(matters).map(|near| (&near.frontends, &near.endpoints))
    }
}

/// The ClusterIPs of all Services, and the Services that name addresses near them.
#[derive(Clone, Debug, Default)]
pub struct ClusterIps {
    owners: Claims<IpAddr>,
    /// The ServiceCIDRs as ranges, first and last address, disjoint and sorted.
    networks: Vec<(IpAddr, IpAddr)>,
    /// Blocks around ClusterIPs that are in no ServiceCIDR. They are never removed: there are few.
    blocks: HashSet<IpAddr>,
    /// The Services that name an address near ClusterIPs.
    named: HashMap<IpAddr, BTreeSet<ObjectName>>,
}

impl ClusterIps {
    /// Notes that a Service changed. Returns the addresses that changed owner.
    pub fn replace(
        &mut self,
        before: Option<&Arc<Service>>,
        after: Option<&Arc<Service>>,
    ) -> SmallVec<[IpAddr; 2]> {
        let rank = |service: Option<&Arc<Service>>| service.cloned().map(Rank::of);
        let (before, after) = (rank(before), rank(after));
        let ips = |rank: &Rank| rank.service().cluster_ips.clone();
        let (old, new) =
            (before.as_ref().map(ips).unwrap_or_default(), after.as_ref().map(ips).unwrap_or_default());
        let stays = |address| before == after && old.contains(address) && new.contains(address);
        let mut changed = SmallVec::new();
        if let Some(before) = &before {
            for address in old.iter().filter(|address| !stays(address)) {
                if self.owners.owner(address) == Some(before.name()) {
                    changed.push(*address);
                }
                self.owners.release(address, before);
            }
        }
        if let Some(after) = &after {
            for address in &new {
                let claim = self.owners.claim(*address, after);
                if !stays(address) && !matches!(claim, Claim::HeldBy(_)) {
                    changed.push(*address);
                }
            }
        }
        changed
    }

    /// Notes which blocks these ClusterIPs are in; returns whether any block is new.
    pub fn surround<'a>(&mut self, cluster_ips: impl IntoIterator<Item = &'a IpAddr>) -> bool {
        let mut is_new = false;
        for address in cluster_ips {
            is_new |= !self.is_in_network(*address) && self.blocks.insert(block(*address));
        }
        is_new
    }

    /// Sets the ServiceCIDRs: disjoint ranges, sorted.
    pub fn set_networks(&mut self, networks: Vec<(IpAddr, IpAddr)>) {
        self.networks = networks;
        let all: Vec<IpAddr> = self.owners.keys().copied().collect();
        self.surround(&all);
    }

    /// Whether there are ServiceCIDRs of an address's family, and none of them contains the address.
    pub fn is_outside_networks(&self, address: IpAddr) -> bool {
        let is_of_family = |(first, _): &(IpAddr, IpAddr)| first.is_ipv4() == address.is_ipv4();
        self.networks.iter().any(is_of_family) && !self.is_in_network(address)
    }

    /// The Services that name an address.
    pub fn named(&self, address: &IpAddr) -> Vec<ObjectName> {
        self.named.get(address).into_iter().flatten().cloned().collect()
    }

    /// Whether a Service lists an address near ClusterIPs.
    pub fn concern_service(&self, service: &Service) -> bool {
        listed(service).any(|address| self.is_near(*address))
    }

    /// Whether one of these endpoints has an address near ClusterIPs.
    pub fn concern_endpoints(&self, endpoints: &[Endpoint]) -> bool {
        endpoints.iter().any(|endpoint| self.is_near(endpoint.address))
    }

    /// The addresses near ClusterIPs that a Service and its slices name; `None` if there are none.
    pub fn near(
        &self,
        service: Option<&Service>,
        slices: &[Arc<EndpointSlice>],
    ) -> Option<Box<NearAddresses>> {
        let mut near = NearAddresses::default();
        if let Some(service) = service {
            for address in listed(service).filter(|address| self.is_near(**address)) {
                near.all.insert(*address);
                let other = self.owners.owner(address).filter(|_| !service.cluster_ips.contains(address));
                near.frontends.extend(other.map(|owner| (*address, owner.clone())));
            }
        }
        for endpoint in slices.iter().flat_map(|slice| &slice.endpoints) {
            let address = endpoint.address;
            if self.is_near(address) {
                near.all.insert(address);
                let owner = self.owners.owner(&address);
                if owner.is_some() || self.is_in_network(address) {
                    near.endpoints.insert(address, owner.cloned());
                }
            }
        }
        (!near.all.is_empty()).then(|| Box::new(near))
    }

    /// Notes the addresses that a Service named before, and those that it names now.
    pub fn note(&mut self, name: &ObjectName, before: Option<&NearAddresses>, after: Option<&NearAddresses>) {
        for address in before.into_iter().flat_map(|near| &near.all) {
            if let Some(names) = self.named.get_mut(address) {
                names.remove(name);
                if names.is_empty() {
                    self.named.remove(address);
                }
            }
        }
        for address in after.into_iter().flat_map(|near| &near.all) {
            self.named.entry(*address).or_default().insert(name.clone());
        }
    }

    fn is_near(&self, address: IpAddr) -> bool {
        self.is_in_network(address) || self.blocks.contains(&block(address))
    }

    fn is_in_network(&self, address: IpAddr) -> bool {
        let after = self.networks.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|i| self.networks.get(i)).is_some_and(|(_, last)| address <= *last)
    }
}

/// The addresses that users and controllers write into a Service.
fn listed(service: &Service) -> impl Iterator<Item = &IpAddr> {
    service.load_balancer_ips.iter().chain(&service.external_ips)
}

/// The block of addresses that an address is in: a /20 of IPv4, a /108 of IPv6. ClusterIPs fill few blocks, and pods
/// and nodes are in other blocks.
fn block(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address) >> 12 << 12).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 20 << 20).into(),
    }
}
