//! The kinds of objects that the test API server keeps.

use serde_json::Value;

/// A kind of object, by its name in URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// `services` of `v1`.
    Services,
    /// `endpointslices` of `discovery.k8s.io/v1`.
    EndpointSlices,
    /// `nodes` of `v1`.
    Nodes,
    /// `servicecidrs` of `networking.k8s.io/v1`.
    ServiceCidrs,
    /// `pods` of `v1`.
    Pods,
    /// `namespaces` of `v1`.
    Namespaces,
    /// `daemonsets` of `apps/v1`.
    DaemonSets,
}

impl Resource {
    /// All resources.
    pub const ALL: [Self; 7] = [
        Self::Services,
        Self::EndpointSlices,
        Self::Nodes,
        Self::ServiceCidrs,
        Self::Pods,
        Self::Namespaces,
        Self::DaemonSets,
    ];

    /// The resources that a node's agent reads.
    pub const OF_AGENTS: [Self; 4] = [Self::Services, Self::EndpointSlices, Self::Nodes, Self::ServiceCidrs];

    /// The resource of an object, by its `apiVersion` and `kind`.
    pub fn of(object: &Value) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|resource| object["apiVersion"] == resource.version() && object["kind"] == resource.kind())
    }

    /// Its name in URLs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::EndpointSlices => "endpointslices",
            Self::Nodes => "nodes",
            Self::ServiceCidrs => "servicecidrs",
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
            Self::DaemonSets => "daemonsets",
        }
    }

    /// `kind` of its objects.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Services => "Service",
            Self::EndpointSlices => "EndpointSlice",
            Self::Nodes => "Node",
            Self::ServiceCidrs => "ServiceCIDR",
            Self::Pods => "Pod",
            Self::Namespaces => "Namespace",
            Self::DaemonSets => "DaemonSet",
        }
    }

    /// `apiVersion` of its objects: the group, if it has one, and the version.
    pub fn version(self) -> &'static str {
        match self {
            Self::Services | Self::Nodes | Self::Pods | Self::Namespaces => "v1",
            Self::DaemonSets => "apps/v1",
            Self::EndpointSlices => "discovery.k8s.io/v1",
            Self::ServiceCidrs => "networking.k8s.io/v1",
        }
    }

    /// Whether its objects are in namespaces.
    pub fn is_namespaced(self) -> bool {
        matches!(self, Self::Services | Self::EndpointSlices | Self::Pods | Self::DaemonSets)
    }

    /// Fields that a field selector may name, as the API server's `SelectableFields`.
    pub(super) fn selectable_fields(self) -> &'static [&'static str] {
        match self {
            Self::Services => &["metadata.name", "metadata.namespace", "spec.clusterIP", "spec.type"],
            Self::EndpointSlices | Self::Pods | Self::DaemonSets => &["metadata.name", "metadata.namespace"],
            Self::Nodes => &["metadata.name", "spec.unschedulable"],
            Self::ServiceCidrs | Self::Namespaces => &["metadata.name"],
        }
    }
}
