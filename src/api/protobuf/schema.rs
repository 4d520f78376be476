//! The numbers of the fields that are read, from Kubernetes' `generated.proto` files.

use self::Kind::{Boolean, Integer, Labels, Message, NumberOrText, Text, Texts, Time};

/// Fields of a message that are read; all others are skipped.
pub type Schema = &'static [Field];

/// A field that is read.
#[derive(Debug)]
pub struct Field {
    pub(super) number: u32,
    pub(super) name: &'static str,
    pub(super) is_repeated: bool,
    pub(super) kind: Kind,
}

/// The type of a field.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `string`.
    Text,
    /// `int32` or `int64`.
    Integer,
    /// `bool`.
    Boolean,
    /// A message with these fields.
    Message(Schema),
    /// `map<string, string>`.
    Texts,
    /// The same, but only entries whose key is a [`Label`](crate::api::Label) are read.
    Labels,
    /// `Time`: in JSON a text, RFC 3339.
    Time,
    /// `IntOrString`: in JSON a number or a text.
    NumberOrText,
}

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, is_repeated: false, kind }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, is_repeated: true, kind }
}

/// meta/v1 `ObjectMeta`.
pub const OBJECT_META: Schema = &[
    one(1, "name", Text),
    one(3, "namespace", Text),
    one(6, "resourceVersion", Text),
    one(8, "creationTimestamp", Time),
    one(9, "deletionTimestamp", Time),
    many(11, "labels", Labels),
    many(12, "annotations", Texts),
];

/// meta/v1 `ListMeta`.
pub const LIST_META: Schema = &[one(2, "resourceVersion", Text), one(3, "continue", Text)];

/// meta/v1 `Status`.
pub const STATUS: Schema = &[
    one(2, "status", Text),
    one(3, "message", Text),
    one(4, "reason", Text),
    one(
        5,
        "details",
        Message(&[
            many(
                4,
                "causes",
                Message(&[one(1, "reason", Text), one(2, "message", Text), one(3, "field", Text)]),
            ),
            one(5, "retryAfterSeconds", Integer),
        ]),
    ),
    one(6, "code", Integer),
];

/// core/v1 `Service`.
pub const SERVICE: Schema = &[
    one(1, "metadata", Message(OBJECT_META)),
    one(2, "spec", Message(SERVICE_SPEC)),
    one(3, "status", Message(&[one(1, "loadBalancer", Message(&[many(1, "ingress", Message(INGRESS))]))])),
];

const SERVICE_SPEC: Schema = &[
    many(
        1,
        "ports",
        Message(&[
            one(1, "name", Text),
            one(2, "protocol", Text),
            one(3, "port", Integer),
            one(4, "targetPort", NumberOrText),
            one(5, "nodePort", Integer),
        ]),
    ),
    one(3, "clusterIP", Text),
    one(4, "type", Text),
    many(5, "externalIPs", Text),
    one(7, "sessionAffinity", Text),
    many(9, "loadBalancerSourceRanges", Text),
    one(11, "externalTrafficPolicy", Text),
    one(12, "healthCheckNodePort", Integer),
    one(13, "publishNotReadyAddresses", Boolean),
    one(
        14,
        "sessionAffinityConfig",
        Message(&[one(1, "clientIP", Message(&[one(1, "timeoutSeconds", Integer)]))]),
    ),
    many(18, "clusterIPs", Text),
    many(19, "ipFamilies", Text),
    one(22, "internalTrafficPolicy", Text),
];

/// core/v1 `LoadBalancerIngress`.
const INGRESS: Schema = &[one(1, "ip", Text), one(3, "ipMode", Text)];

/// discovery.k8s.io/v1 `EndpointSlice`.
pub const ENDPOINT_SLICE: Schema = &[
    one(1, "metadata", Message(OBJECT_META)),
    many(2, "endpoints", Message(ENDPOINT)),
    many(3, "ports", Message(&[one(1, "name", Text), one(2, "protocol", Text), one(3, "port", Integer)])),
    one(4, "addressType", Text),
];

const ENDPOINT: Schema = &[
    many(1, "addresses", Text),
    one(
        2,
        "conditions",
        Message(&[one(1, "ready", Boolean), one(2, "serving", Boolean), one(3, "terminating", Boolean)]),
    ),
    one(6, "nodeName", Text),
    one(8, "hints", Message(&[many(1, "forZones", Message(NAME)), many(2, "forNodes", Message(NAME))])),
];

/// discovery.k8s.io/v1 `ForZone` and `ForNode`.
const NAME: Schema = &[one(1, "name", Text)];

/// core/v1 `Node`.
pub const NODE: Schema = &[
    one(1, "metadata", Message(OBJECT_META)),
    one(
        2,
        "spec",
        Message(&[
            one(1, "podCIDR", Text),
            many(5, "taints", Message(&[one(1, "key", Text)])),
            many(7, "podCIDRs", Text),
        ]),
    ),
    one(
        3,
        "status",
        Message(&[many(5, "addresses", Message(&[one(1, "type", Text), one(2, "address", Text)]))]),
    ),
];

/// networking.k8s.io/v1 `ServiceCIDR`.
pub const SERVICE_CIDR: Schema =
    &[one(1, "metadata", Message(OBJECT_META)), one(2, "spec", Message(&[many(1, "cidrs", Text)]))];
