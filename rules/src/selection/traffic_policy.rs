//! `internalTrafficPolicy` and `externalTrafficPolicy`: which endpoints a frontend leads to, by where they run.
//!
//! Only this module evaluates `Local`. The consequences are in [`crate::plane`]: the class of a frontend, and the slots
//! of its endpoints.

use crate::{
    frontends::FrontendKind,
    model::{Endpoint, Node, Service, TrafficPolicy},
};

/// Which endpoints a frontend leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointScope {
    /// Policy `Cluster`: every endpoint.
    Cluster,
    /// `internalTrafficPolicy: Local`: the endpoints on this node, for every client.
    Local,
    /// `externalTrafficPolicy: Local`: the endpoints on this node for clients outside of the cluster, but every
    /// endpoint for pods and for this node, as if they had used the ClusterIP.
    LocalFromOutside,
}

impl EndpointScope {
    /// The scope of a Service's frontends of a kind: the internal policy holds for ClusterIPs, the external one for all
    /// other frontends.
    pub fn of(kind: FrontendKind, service: &Service) -> Self {
        match (kind, service.internal_policy, service.external_policy) {
            (FrontendKind::ClusterIp, TrafficPolicy::Local, _) => Self::Local,
            (FrontendKind::ClusterIp, TrafficPolicy::Cluster, _) | (_, _, TrafficPolicy::Cluster) => {
                Self::Cluster
            }
            (_, _, TrafficPolicy::Local) => Self::LocalFromOutside,
        }
    }

    /// Whether it leads some clients to the endpoints that policy `Cluster` selects.
    pub fn uses_cluster(self) -> bool {
        self != Self::Local
    }

    /// Whether it leads some clients to the endpoints that policy `Local` selects.
    pub fn uses_local(self) -> bool {
        self != Self::Cluster
    }
}

/// Whether one of a Service's policies is `Local`.
pub fn may_use_local(service: &Service) -> bool {
    [service.internal_policy, service.external_policy].contains(&TrafficPolicy::Local)
}

/// Whether an endpoint is known to run on this node: these are what policy `Local` selects from.
pub fn is_local(endpoint: &Endpoint, node: &Node) -> bool {
    endpoint.node.as_ref().is_some_and(|name| *name == node.name)
}

/// Whether an endpoint is known to run on another node.
pub fn is_remote(endpoint: &Endpoint, node: &Node) -> bool {
    endpoint.node.as_ref().is_some_and(|name| *name != node.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectName;

    #[test]
    fn each_policy_holds_for_its_own_frontends() {
        use FrontendKind::{ClusterIp, ExternalIp, LoadBalancer, NodePort};
        use TrafficPolicy::{Cluster, Local};
        let service = |internal_policy, external_policy| {
            let service = Service::cluster_ip(ObjectName::new("default", "web"), Vec::new(), Vec::new());
            Service { internal_policy, external_policy, ..service }
        };
        for internal in [Cluster, Local] {
            for external in [Cluster, Local] {
                let service = service(internal, external);
                let inside = EndpointScope::of(ClusterIp, &service);
                assert_eq!(
                    (inside.uses_cluster(), inside.uses_local()),
                    (internal == Cluster, internal == Local)
                );
                for kind in [ExternalIp, LoadBalancer, NodePort] {
                    let outside = EndpointScope::of(kind, &service);
                    assert_eq!((outside.uses_cluster(), outside.uses_local()), (true, external == Local));
                }
                assert_eq!(may_use_local(&service), (internal, external) != (Cluster, Cluster));
            }
        }
    }
}
