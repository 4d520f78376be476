//! Addresses and ports that stand in for those that a cluster would assign.

use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    frontends::FrontendKey,
    model::{Service, ServicePort},
};

/// The addresses and node ports that were made up for manifests that lack them. No object of the input has any of
/// them, so that an address alone shows whether it is a stand-in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandIns {
    /// `ClusterIPs`, addresses of load balancers, and addresses of Pods.
    pub addresses: BTreeSet<IpAddr>,
    /// Node ports, and node ports of health checks.
    pub node_ports: BTreeSet<u16>,
}

impl StandIns {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.node_ports.is_empty()
    }

    /// What follows an address or a node port in words if it is a stand-in.
    pub const fn mark(is_stand_in: bool) -> &'static str {
        if is_stand_in { " (stand-in)" } else { "" }
    }

    /// Whether the address or node port of a frontend is a stand-in.
    pub fn has_frontend(&self, key: &FrontendKey) -> bool {
        match key {
            FrontendKey::Address(address, ..) => self.addresses.contains(address),
            FrontendKey::NodePort(_, _, port) => self.node_ports.contains(port),
        }
    }

    /// What was made up for a Service, in words; `None` if nothing was made up.
    pub fn of_service(&self, service: &Service) -> Option<String> {
        let mut parts: Vec<String> = Vec::new();
        let lists =
            [("ClusterIP", &service.cluster_ips), ("load balancer address", &service.load_balancer_ips)];
        for (name, addresses) in lists {
            let own = addresses.iter().filter(|address| self.addresses.contains(address));
            parts.extend(own.map(|address| format!("{name} {address}")));
        }
        let port = |ServicePort { port, protocol, node_port, .. }: &ServicePort| {
            let node_port = node_port.filter(|node_port| self.node_ports.contains(node_port))?;
            Some(format!("node port {node_port} of port {port}/{protocol}"))
        };
        parts.extend(service.ports.iter().filter_map(port));
        let health = service.health_check_node_port.filter(|port| self.node_ports.contains(port));
        parts.extend(health.map(|port| format!("healthCheckNodePort {port}")));
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
