//! The addresses of this node that answer node ports.

use std::{collections::BTreeSet, net::IpAddr};

use super::Compiler;
use crate::{plane::SetName, ruleset::Family};

impl Compiler {
    /// Sets the addresses of this node that answer node ports. Takes effect with the next update.
    pub fn set_node_addresses(&mut self, wanted: &BTreeSet<IpAddr>) {
        let current = self.tracker.addresses(SetName::NodeAddresses);
        let served: BTreeSet<_> =
            wanted.iter().filter(|address| self.config.serves(**address)).copied().collect();
        for address in served.iter().filter(|address| !current.contains(address)) {
            self.tracker.retain_address(SetName::NodeAddresses, *address);
            self.touch_node_address(*address, true);
        }
        for address in current.iter().filter(|address| !served.contains(address)) {
            self.tracker.release_address(SetName::NodeAddresses, *address);
            self.touch_node_address(*address, false);
        }
    }

    /// The addresses of this node that answer node ports, of one family.
    pub fn node_port_addresses(&self, family: Family) -> BTreeSet<IpAddr> {
        let all = self.tracker.addresses(SetName::NodeAddresses);
        all.into_iter().filter(|address| Family::of(*address) == family).collect()
    }

    /// Whether node ports are answered at an address of this node.
    pub fn has_node_port_address(&self, address: IpAddr) -> bool {
        self.tracker.has_address(SetName::NodeAddresses, address)
    }
}
