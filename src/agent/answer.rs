//! Answers queries about what the agent holds.

use std::{collections::BTreeSet, iter, net::IpAddr, sync::Arc};

use portolan_rules::{
    frontends::frontends_of,
    model::{ObjectName, Service},
    ruleset::Family,
    state::ServiceState,
};

use super::core::Agent;
use crate::{
    kernel::nftables::Tables,
    observe::query::{Query, Snapshot, Wanted},
};

impl<T: Tables> Agent<T> {
    /// Answers a query. Copies only pointers.
    pub fn answer(&self, query: Query) {
        // The sender of the query may have stopped waiting.
        let _ = query.reply.send(self.snapshot(&query.wanted));
    }

    /// Returns what the agent holds about these Services.
    fn snapshot(&self, wanted: &Wanted) -> Snapshot {
        let found = self.state.entries().filter(|(name, entry)| is_wanted(wanted, name, entry));
        let entries: Vec<&ServiceState> = if *wanted == Wanted::All {
            found.map(|(_, entry)| entry).collect()
        } else {
            let with_others = found.flat_map(|(name, _)| iter::once(name).chain(self.others(name)));
            let names: BTreeSet<&ObjectName> = with_others.collect();
            names.into_iter().filter_map(|name| self.state.entry(name)).collect()
        };
        let entries = || entries.iter();
        let node_port_addresses =
            Family::ALL.into_iter().flat_map(|family| self.compiler.node_port_addresses(family));
        let node = self.state.node();
        let node_ips =
            if node.addresses.is_empty() { &self.host_addresses.addresses } else { &node.addresses };
        Snapshot {
            node: node.clone(),
            config: self.compiler.config().clone(),
            node_port_addresses: node_port_addresses.collect(),
            node_ips: node_ips.clone(),
            service_cidrs: self.service_cidrs.clone(),
            services: entries().filter_map(|entry| entry.service.clone()).collect(),
            slices: entries().flat_map(|entry| entry.slices.iter().cloned()).collect(),
            total: self.compiler.service_count(),
            waiting: self.state.dirty().iter().cloned().collect(),
            quarantined: self.quarantine(),
        }
    }

    /// Returns the other Services that affect the frontends and endpoints of this Service.
    fn others(&self, name: &ObjectName) -> Vec<&ObjectName> {
        let Some(entry) = self.state.entry(name) else { return Vec::new() };
        let Some(service) = &entry.service else { return Vec::new() };
        let ports = service.ports.iter().flat_map(|port| Family::ALL.map(|family| (port, family)));
        let keys = ports.flat_map(|(port, family)| frontends_of(service, port, family));
        let mut others: Vec<&ObjectName> = keys.filter_map(|(key, _)| self.compiler.owner_of(&key)).collect();
        others.extend(addresses(service).filter_map(|address| entry.cluster_ip_of(*address)));
        others.extend(entry.left_out().filter_map(|(_, owner)| owner));
        others
    }
}

/// The addresses of a Service's frontends.
fn addresses(service: &Arc<Service>) -> impl Iterator<Item = &IpAddr> {
    service.cluster_ips.iter().chain(&service.load_balancer_ips).chain(&service.external_ips)
}

fn is_wanted(wanted: &Wanted, name: &ObjectName, entry: &ServiceState) -> bool {
    match wanted {
        Wanted::All => true,
        Wanted::Namespace(namespace) => *name.namespace == **namespace,
        Wanted::Service(one) => name == one,
        Wanted::Frontend(to) => entry.service.as_ref().is_some_and(|service| {
            addresses(service).any(|address| *address == to.ip())
                || service.ports.iter().any(|port| port.node_port == Some(to.port()))
        }),
    }
}
