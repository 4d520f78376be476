//! The values that a Service lacks, and that the API server or a load balancer controller would have given it.

use portolan_rules::{model::ServiceType, ruleset::Family};

use super::{
    convert::has_node_ports,
    object::{Service, ServiceSpec},
};
use crate::api::{field::Field, metadata::Metadata};

/// The values that a Service lacks in the form in which people write it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// The families that the Service wants, if it has no `ClusterIP` in one of them.
    pub cluster_ips: Option<WantedFamilies>,
    /// `nodePort` of the ports that have none.
    pub node_ports: bool,
    /// `healthCheckNodePort`.
    pub health_check_node_port: bool,
    /// `status.loadBalancer`.
    pub load_balancer: bool,
}

/// The families in which a Service wants `ClusterIPs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedFamilies {
    /// `ipFamilies`; if empty, the cluster's first.
    pub families: Vec<Family>,
    /// Whether it wants both (`ipFamilyPolicy`).
    pub dual_stack: bool,
}

impl Lacks {
    /// Whether nothing is lacking.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Service {
    /// The values that the Service lacks. `status.loadBalancer` counts as lacking only in an object that was never in
    /// a cluster: in a cluster, it may be pending.
    pub fn lacks(&self) -> Lacks {
        let Some(spec) = self.spec.get() else { return Lacks::default() };
        let Ok(Some(r#type)) = spec.service_type() else { return Lacks::default() };
        let ips = spec.cluster_ips().unwrap_or_default();
        let is_load_balancer = r#type == ServiceType::LoadBalancer;
        let is_local = spec.external_traffic_policy.get().is_some_and(|policy| **policy == *"Local");
        let has_node_ports = has_node_ports(r#type)
            && !(is_load_balancer && spec.allocate_load_balancer_node_ports.get() == Some(&false));
        let status = self.status.get().and_then(|status| status.load_balancer.get());
        let is_pending = status.is_some() && !ips.is_empty()
            || self.metadata.get().is_some_and(Metadata::is_from_a_cluster);
        Lacks {
            cluster_ips: spec.wanted_families(ips.len()),
            node_ports: has_node_ports && spec.lacks_node_port(),
            health_check_node_port: is_load_balancer
                && is_local
                && spec.health_check_node_port.get().is_none_or(|number| *number == 0),
            load_balancer: is_load_balancer && !self.has_load_balancer() && !is_pending,
        }
    }
}

impl ServiceSpec {
    fn lacks_node_port(&self) -> bool {
        let mut ports = self.ports.get().into_iter().flatten().filter_map(Field::get);
        ports.any(|port| port.node_port.get().is_none_or(|number| *number == 0))
    }

    /// The families that the Service wants, if it has `ClusterIPs` in fewer families.
    fn wanted_families(&self, given: usize) -> Option<WantedFamilies> {
        let policy = self.ip_family_policy.get().map_or("", |policy| policy);
        let dual_stack = match policy {
            "RequireDualStack" => true,
            // A Service in a cluster has all families that the cluster can give.
            "PreferDualStack" => given == 0,
            _ => false,
        };
        let families =
            self.ip_families.get().into_iter().flatten().filter_map(|family| match &**family.get()? {
                "IPv4" => Some(Family::Ip),
                "IPv6" => Some(Family::Ip6),
                _ => None,
            });
        let families: Vec<Family> = families.collect();
        let wanted = if dual_stack { 2 } else { families.len().max(1) };
        (given == 0 || dual_stack && given < wanted).then_some(WantedFamilies { families, dual_stack })
    }
}
