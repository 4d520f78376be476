//! `loadBalancerSourceRanges`: which sources may use a load balancer's address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

use crate::{frontends::FrontendKind, model::Service, ruleset::Family};

/// Whether the ranges guard a frontend: they guard only load balancer addresses, even those without endpoints.
pub fn guard(kind: FrontendKind) -> bool {
    kind == FrontendKind::LoadBalancer
}

/// First and last address of a range, both included.
pub type AddressRange = (IpAddr, IpAddr);

/// The ranges of a family that may use the Service's load balancer addresses, disjoint and sorted;
/// `None` without a restriction: no range of the family is given, or a range contains the whole family.
///
/// If one of the node's own addresses is in a range, the Service's load balancer addresses are allowed
/// sources too: packets that the node sends to such an address may also have it as their source.
pub fn allowed_sources(service: &Service, family: Family, node: &[IpAddr]) -> Option<Vec<AddressRange>> {
    let of_family = |network: &&IpNetwork| Family::of(network.ip()) == family;
    let ranges: Vec<&IpNetwork> = service.source_ranges.iter().filter(of_family).collect();
    if ranges.is_empty() || ranges.iter().any(|range| range.prefix() == 0) {
        return None;
    }
    let mut allowed: Vec<AddressRange> = ranges.iter().map(|r| (r.network(), r.broadcast())).collect();
    if node.iter().any(|address| ranges.iter().any(|range| range.contains(*address))) {
        let own = service.load_balancer_ips.iter().filter(|address| Family::of(**address) == family);
        allowed.extend(own.map(|address| (*address, *address)));
    }
    Some(disjoint(allowed))
}

/// Sorts networks and leaves out those inside other networks: the kernel accepts no overlapping elements. Adjacent
/// networks stay separate, so that one can be added or removed without the other.
pub fn outermost(mut networks: Vec<AddressRange>) -> Vec<AddressRange> {
    networks.sort_unstable_by_key(|(first, last)| (*first, std::cmp::Reverse(*last)));
    networks.dedup_by(|inner, outer| inner.1 <= outer.1);
    networks
}

/// Sorts ranges and merges those that overlap or are adjacent: the kernel accepts no overlapping elements.
pub fn disjoint(mut ranges: Vec<AddressRange>) -> Vec<AddressRange> {
    ranges.sort_unstable();
    let mut merged: Vec<AddressRange> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if successor(*end).is_none_or(|next| first <= next) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn successor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|next| Ipv4Addr::from(next).into()),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|next| Ipv6Addr::from(next).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> AddressRange {
        let network: IpNetwork = text.parse().unwrap();
        (network.network(), network.broadcast())
    }

    #[test]
    fn overlapping_and_touching_ranges_become_one() {
        let ranges = ["192.0.2.128/25", "192.0.2.0/25", "192.0.2.7/32", "198.51.100.0/24"].map(range);
        assert_eq!(disjoint(ranges.into()), [range("192.0.2.0/24"), range("198.51.100.0/24")]);
    }

    #[test]
    fn the_last_address_of_all_ends_a_range() {
        let ranges = ["255.255.255.255/32", "255.255.255.0/24", "0.0.0.0/8"].map(range);
        assert_eq!(disjoint(ranges.into()), [range("0.0.0.0/8"), range("255.255.255.0/24")]);
    }
}
