//! The endpoints that the slices of a Service list, before and after a change.

use std::net::{IpAddr, SocketAddr};

use crate::{
    model::{Endpoint, EndpointSlice, ServicePort},
    ruleset::Family,
    selection::{SlicesByPort, merge_some},
    state::{FormerSlices, ServiceState},
};

/// Addresses to search for among many others.
struct Addresses {
    /// The addresses, sorted.
    sorted: Vec<IpAddr>,
    /// For each last byte, whether one of the addresses has it: this rules out nearly all other addresses.
    last_bytes: [bool; 256],
}

impl Addresses {
    fn new(mut addresses: Vec<IpAddr>) -> Self {
        addresses.sort_unstable();
        let mut last_bytes = [false; 256];
        for address in &addresses {
            last_bytes[last_byte(*address)] = true;
        }
        Self { sorted: addresses, last_bytes }
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.sorted.binary_search(&address).is_ok()
    }

    /// Whether any address of a slice is among them.
    fn contain_any(&self, slice: &EndpointSlice) -> bool {
        let mut addresses = slice.endpoints.iter().map(|endpoint| endpoint.address);
        addresses.any(|address| self.last_bytes[last_byte(address)] && self.contains(address))
    }
}

fn last_byte(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(address) => address.octets()[3].into(),
        IpAddr::V6(address) => address.octets()[15].into(),
    }
}

/// The slices of a Service that list some of these addresses, before and after a change.
pub struct Slices<'a> {
    addresses: Addresses,
    before: SlicesByPort<'a>,
    after: SlicesByPort<'a>,
}

impl<'a> Slices<'a> {
    /// The slices that changed, and the other slices that list one of these addresses.
    pub fn with(addresses: Vec<IpAddr>, entry: &'a ServiceState, former: &'a FormerSlices) -> Self {
        let addresses = Addresses::new(addresses);
        let (changed, others): (Vec<&EndpointSlice>, Vec<_>) = entry
            .slices
            .iter()
            .map(|slice| &**slice)
            .partition(|slice| former.contains_key(&slice.name.name));
        let others: Vec<&EndpointSlice> =
            others.into_iter().filter(|slice| addresses.contain_any(slice)).collect();
        let ordered = |changed: Vec<&'a EndpointSlice>| {
            let mut slices = [changed, others.clone()].concat();
            slices.sort_unstable_by(|a, b| a.name.name.cmp(&b.name.name));
            SlicesByPort::new(slices)
        };
        let before = ordered(former.values().flatten().map(|slice| &**slice).collect());
        let after = ordered(changed);
        Self { addresses, before, after }
    }

    /// The endpoints of one port and family at these addresses, before and after the change, each merged.
    pub fn merged(&self, port: &ServicePort, family: Family) -> [Vec<(SocketAddr, &Endpoint)>; 2] {
        let is_meant = |address| self.addresses.contains(address);
        [&self.before, &self.after].map(|slices| merge_some(slices, port, family, is_meant))
    }
}

/// The addresses whose entries in these slices changed, each once; `None` if there are more than `most`.
pub fn changed_addresses(entry: &ServiceState, former: &FormerSlices, most: usize) -> Option<Vec<IpAddr>> {
    let mut changed = Vec::new();
    for (name, before) in former {
        let after = entry.slice(name);
        let [before_endpoints, after_endpoints] =
            [before.as_deref(), after].map(|slice| slice.map_or(&[][..], |slice| &slice.endpoints));
        if before.as_deref().zip(after).is_some_and(|(before, after)| before.ports != after.ports) {
            differing(before_endpoints, &[], &mut changed);
            differing(&[], after_endpoints, &mut changed);
        } else {
            differing(before_endpoints, after_endpoints, &mut changed);
        }
        if changed.len() > most {
            return None;
        }
    }
    changed.sort_unstable();
    changed.dedup();
    Some(changed)
}

/// Adds the addresses whose entries differ between two lists of endpoints.
fn differing(before: &[Endpoint], after: &[Endpoint], addresses: &mut Vec<IpAddr>) {
    // Usually all endpoints but one are where they were.
    let same = before.iter().zip(after).take_while(|(before, after)| before == after).count();
    let (before, after) = (&before[same..], &after[same..]);
    let same =
        before.iter().rev().zip(after.iter().rev()).take_while(|(before, after)| before == after).count();
    let (before, after) = (&before[..before.len() - same], &after[..after.len() - same]);

    let before = before.iter().map(|endpoint| (endpoint.address, false, endpoint));
    let mut all: Vec<_> =
        before.chain(after.iter().map(|endpoint| (endpoint.address, true, endpoint))).collect();
    // Stable: several entries of one address stay in order.
    all.sort_by_key(|(address, is_after, _)| (*address, *is_after));
    for of_address in all.chunk_by(|a, b| a.0 == b.0) {
        let (before, after) = of_address.split_at(of_address.partition_point(|(_, is_after, _)| !is_after));
        if !before.iter().map(|entry| entry.2).eq(after.iter().map(|entry| entry.2)) {
            addresses.push(of_address[0].0);
        }
    }
}
