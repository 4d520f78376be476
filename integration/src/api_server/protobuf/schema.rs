//! The fields of the objects that are stored here, from Kubernetes' `generated.proto` files, including those that a
//! proxy receives but does not read.

use super::{
    super::Resource,
    Kind::{self, Boolean, Integer, Json, Message, NumberOrText, Text, Texts, Time},
};

/// The fields of a message.
pub(in crate::api_server) type Schema = &'static [Field];

/// A field of a message.
#[derive(Debug)]
pub(in crate::api_server) struct Field {
    pub number: u32,
    /// Its name in JSON.
    pub name: &'static str,
    pub kind: Kind,
    /// Whether the field is encoded even if it is empty, as fields that are not pointers in Go are.
    pub is_always: bool,
    pub is_repeated: bool,
}

/// A field that is always encoded.
const fn must(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, is_always: true, is_repeated: false }
}

/// A field that may be absent.
const fn may(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, is_always: false, is_repeated: false }
}

/// A repeated field.
const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, is_always: false, is_repeated: true }
}

/// The fields of a resource's objects.
pub(in crate::api_server) const fn of(resource: Resource) -> Schema {
    match resource {
        Resource::Services => SERVICE,
        Resource::EndpointSlices => ENDPOINT_SLICE,
        Resource::Nodes => NODE,
        Resource::ServiceCidrs => SERVICE_CIDR,
        Resource::Pods | Resource::Namespaces | Resource::DaemonSets => &[],
    }
}

/// meta/v1 `ListMeta`.
pub(in crate::api_server) const LIST_META: Schema = &[
    must(1, "selfLink", Text),
    must(2, "resourceVersion", Text),
    must(3, "continue", Text),
    may(4, "remainingItemCount", Integer),
];

/// meta/v1 `Status`.
pub(in crate::api_server) const STATUS: Schema = &[
    must(1, "metadata", Message(LIST_META)),
    must(2, "status", Text),
    must(3, "message", Text),
    must(4, "reason", Text),
    may(
        5,
        "details",
        Message(&[
            must(1, "name", Text),
            must(2, "group", Text),
            must(3, "kind", Text),
            many(
                4,
                "causes",
                Message(&[must(1, "reason", Text), must(2, "message", Text), must(3, "field", Text)]),
            ),
            must(5, "retryAfterSeconds", Integer),
            must(6, "uid", Text),
        ]),
    ),
    must(6, "code", Integer),
];

/// meta/v1 `ObjectMeta`.
const OBJECT_META: Schema = &[
    must(1, "name", Text),
    must(2, "generateName", Text),
    must(3, "namespace", Text),
    must(4, "selfLink", Text),
    must(5, "uid", Text),
    must(6, "resourceVersion", Text),
    must(7, "generation", Integer),
    must(8, "creationTimestamp", Time),
    may(9, "deletionTimestamp", Time),
    may(10, "deletionGracePeriodSeconds", Integer),
    may(11, "labels", Texts),
    may(12, "annotations", Texts),
    many(
        13,
        "ownerReferences",
        Message(&[
            must(1, "kind", Text),
            must(3, "name", Text),
            must(4, "uid", Text),
            must(5, "apiVersion", Text),
            may(6, "controller", Boolean),
            may(7, "blockOwnerDeletion", Boolean),
        ]),
    ),
    many(14, "finalizers", Text),
    many(
        17,
        "managedFields",
        Message(&[
            must(1, "manager", Text),
            must(2, "operation", Text),
            must(3, "apiVersion", Text),
            may(4, "time", Time),
            must(6, "fieldsType", Text),
            may(7, "fieldsV1", Json),
            must(8, "subresource", Text),
        ]),
    ),
];

/// core/v1 `Service`.
const SERVICE: Schema = &[
    must(1, "metadata", Message(OBJECT_META)),
    must(2, "spec", Message(SERVICE_SPEC)),
    must(3, "status", Message(&[must(1, "loadBalancer", Message(&[many(1, "ingress", Message(INGRESS))]))])),
];

const SERVICE_SPEC: Schema = &[
    many(
        1,
        "ports",
        Message(&[
            must(1, "name", Text),
            must(2, "protocol", Text),
            must(3, "port", Integer),
            must(4, "targetPort", NumberOrText),
            must(5, "nodePort", Integer),
            may(6, "appProtocol", Text),
        ]),
    ),
    may(2, "selector", Texts),
    must(3, "clusterIP", Text),
    must(4, "type", Text),
    many(5, "externalIPs", Text),
    must(7, "sessionAffinity", Text),
    must(8, "loadBalancerIP", Text),
    many(9, "loadBalancerSourceRanges", Text),
    must(10, "externalName", Text),
    must(11, "externalTrafficPolicy", Text),
    must(12, "healthCheckNodePort", Integer),
    must(13, "publishNotReadyAddresses", Boolean),
    may(
        14,
        "sessionAffinityConfig",
        Message(&[may(1, "clientIP", Message(&[may(1, "timeoutSeconds", Integer)]))]),
    ),
    may(17, "ipFamilyPolicy", Text),
    many(18, "clusterIPs", Text),
    many(19, "ipFamilies", Text),
    may(20, "allocateLoadBalancerNodePorts", Boolean),
    may(21, "loadBalancerClass", Text),
    may(22, "internalTrafficPolicy", Text),
    may(23, "trafficDistribution", Text),
];

/// core/v1 `LoadBalancerIngress`.
const INGRESS: Schema = &[must(1, "ip", Text), must(2, "hostname", Text), may(3, "ipMode", Text)];

/// discovery.k8s.io/v1 `EndpointSlice`.
const ENDPOINT_SLICE: Schema = &[
    must(1, "metadata", Message(OBJECT_META)),
    many(2, "endpoints", Message(ENDPOINT)),
    many(
        3,
        "ports",
        Message(&[
            may(1, "name", Text),
            may(2, "protocol", Text),
            may(3, "port", Integer),
            may(4, "appProtocol", Text),
        ]),
    ),
    must(4, "addressType", Text),
];

const ENDPOINT: Schema = &[
    many(1, "addresses", Text),
    must(
        2,
        "conditions",
        Message(&[may(1, "ready", Boolean), may(2, "serving", Boolean), may(3, "terminating", Boolean)]),
    ),
    may(3, "hostname", Text),
    may(4, "targetRef", Message(OBJECT_REFERENCE)),
    may(6, "nodeName", Text),
    may(7, "zone", Text),
    may(8, "hints", Message(&[many(1, "forZones", Message(NAME)), many(2, "forNodes", Message(NAME))])),
];

/// core/v1 `ObjectReference`.
const OBJECT_REFERENCE: Schema = &[
    must(1, "kind", Text),
    must(2, "namespace", Text),
    must(3, "name", Text),
    must(4, "uid", Text),
    must(5, "apiVersion", Text),
    must(6, "resourceVersion", Text),
    must(7, "fieldPath", Text),
];

/// discovery.k8s.io/v1 `ForZone` and `ForNode`.
const NAME: Schema = &[must(1, "name", Text)];

/// core/v1 `Node`, as far as the lab uses it.
const NODE: Schema = &[
    must(1, "metadata", Message(OBJECT_META)),
    must(
        2,
        "spec",
        Message(&[
            must(1, "podCIDR", Text),
            must(3, "providerID", Text),
            must(4, "unschedulable", Boolean),
            many(
                5,
                "taints",
                Message(&[must(1, "key", Text), must(2, "value", Text), must(3, "effect", Text)]),
            ),
            many(7, "podCIDRs", Text),
        ]),
    ),
    must(
        3,
        "status",
        Message(&[many(5, "addresses", Message(&[must(1, "type", Text), must(2, "address", Text)]))]),
    ),
];

/// networking.k8s.io/v1 `ServiceCIDR`.
const SERVICE_CIDR: Schema = &[
    must(1, "metadata", Message(OBJECT_META)),
    must(2, "spec", Message(&[many(1, "cidrs", Text)])),
    must(3, "status", Message(&[])),
];
