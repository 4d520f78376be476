//! Why an endpoint or a frontend is not used: every reason has a stable code, a sentence and a hint.

use std::{fmt, net::IpAddr, ops::RangeInclusive, sync::Arc};

use crate::{
    model::{ObjectName, Protocol},
    ruleset::Family,
};

crate::named! {
    /// How bad a finding is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Severity {
        /// Not a problem, but worth knowing.
        Info = "info",
        /// Part of a Service does not work, or may not.
        Warning = "warning",
        /// A Service, or one of its frontends, does not answer.
        Error = "error",
    }
}

/// Why something of a Service is not used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The endpoint is not ready.
    NotReady {
        /// The Pod's condition in words, where it is known.
        condition: Option<Arc<str>>,
    },
    /// The endpoint terminates, and others are ready.
    Terminating,
    /// The endpoint terminates and no longer serves.
    NotServing,
    /// The weight of the endpoint is 0.
    Drained,
    /// Topology hints name other zones than this node's.
    OtherZone {
        /// The zones that the hints name.
        zones: Vec<Arc<str>>,
    },
    /// Topology hints name other nodes.
    OtherNodeHinted {
        /// The nodes that the hints name.
        nodes: Vec<Arc<str>>,
    },
    /// The traffic policy is `Local` and the endpoint is on another node.
    NotOnThisNode {
        /// Its node, where it is known.
        node: Option<Arc<str>>,
    },
    /// The endpoint's address is that of a Service.
    ServiceAddress {
        /// The Service; `None` if the address is only in a ServiceCIDR.
        owner: Option<ObjectName>,
    },
    /// No slice has a port with the name of the Service's port.
    NoSuchPort {
        /// The names that the slices have for that protocol.
        names: Vec<Arc<str>>,
    },
    /// The slices have the port, but no endpoint of the family.
    NoEndpointOfFamily {
        /// The family.
        family: Family,
    },
    /// The Service has no slice with endpoints, and no selector that matches a Pod.
    NoEndpoints,
    /// The selector matches no Pod.
    SelectorMatchesNothing {
        /// The selector, as `app=web,tier=front`.
        selector: Arc<str>,
        /// What nearly matches, in words.
        nearest: Option<Arc<str>>,
    },
    /// No container of the Pods has a port with the name in `targetPort`.
    NoContainerPort {
        /// `targetPort`.
        target: Arc<str>,
        /// The names that the containers' ports have.
        names: Vec<Arc<str>>,
    },
    /// Another Service has the frontend.
    HeldBy {
        /// The Service that has it.
        owner: ObjectName,
    },
    /// An earlier port of the same Service has the frontend.
    RepeatedPort,
    /// The address is the ClusterIP of another Service.
    OthersClusterIp {
        /// The address.
        address: IpAddr,
        /// The Service.
        owner: ObjectName,
    },
    /// The load balancer has assigned no address.
    NoLoadBalancerAddress,
    /// The kernel refused to take the Service.
    Quarantined,
    /// The policy is `Local` and this node has no endpoint: connections from outside are dropped.
    DroppedHere {
        /// Whether it is the policy of the ClusterIP.
        internal: bool,
    },
    /// `externalTrafficPolicy: Local` without a port at which a load balancer can ask whether this node has endpoints.
    NoHealthCheckNodePort,
    /// `loadBalancerSourceRanges` has ranges of one family, and the load balancer an address of the other.
    SourceRangesOfOneFamily {
        /// The address that no source may use.
        address: IpAddr,
    },
    /// Some endpoints have topology hints and others have none, so that all hints are ignored.
    IncompleteHints {
        /// How many ready endpoints have none.
        missing: usize,
    },
    /// The slices have a port of this name, but not for the protocol of the Service's port.
    ProtocolDiffers {
        /// The protocol that the Service has.
        protocol: Protocol,
    },
    /// A node port of a manifest is outside of the default range of API servers.
    NodePortOutOfRange {
        /// The node port.
        port: u16,
    },
    /// A ClusterIP is in none of the ServiceCIDRs.
    ClusterIpOutOfRange {
        /// The address.
        address: IpAddr,
    },
    /// A field of the object is unknown or has an invalid value, and is ignored.
    IgnoredField {
        /// What is wrong with it.
        message: Arc<str>,
    },
    /// The object is invalid as a whole.
    UnusableObject {
        /// The field, and what is wrong with it.
        message: Arc<str>,
    },
}

/// Node ports that API servers allow by default (`--service-node-port-range`).
pub(super) const NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;

impl Reason {
    /// An example of each reason, for the documentation's table; a test checks that none is missing.
    pub fn examples() -> Vec<Self> {
        let name = ObjectName::new("shop", "older");
        let address = IpAddr::from([192, 0, 2, 1]);
        vec![
            Self::NotReady { condition: None },
            Self::Terminating,
            Self::NotServing,
            Self::Drained,
            Self::OtherZone { zones: vec!["zone-b".into()] },
            Self::OtherNodeHinted { nodes: vec!["node-2".into()] },
            Self::NotOnThisNode { node: Some("node-2".into()) },
            Self::ServiceAddress { owner: Some(name.clone()) },
            Self::NoSuchPort { names: vec!["https".into()] },
            Self::NoEndpointOfFamily { family: Family::Ip6 },
            Self::NoEndpoints,
            Self::SelectorMatchesNothing { selector: "app=web".into(), nearest: None },
            Self::NoContainerPort { target: "http".into(), names: vec!["web".into()] },
            Self::HeldBy { owner: name.clone() },
            Self::RepeatedPort,
            Self::OthersClusterIp { address, owner: name },
            Self::NoLoadBalancerAddress,
            Self::Quarantined,
            Self::DroppedHere { internal: false },
            Self::NoHealthCheckNodePort,
            Self::SourceRangesOfOneFamily { address },
            Self::IncompleteHints { missing: 1 },
            Self::ProtocolDiffers { protocol: Protocol::Udp },
            Self::NodePortOutOfRange { port: 8080 },
            Self::ClusterIpOutOfRange { address },
            Self::IgnoredField {
                message: "is not a field of a port, ignored; did you mean targetPort?".into(),
            },
            Self::UnusableObject { message: "spec.clusterIP \"10.96.0.300\" is not an IP address".into() },
        ]
    }
}

/// What each reason has besides its sentence: code, severity, field and hint.
macro_rules! rows {
    ($($reason:pat => $code:literal, $severity:ident, $field:literal, $hint:literal;)*) => {
        impl Reason {
            /// Its code, which stays the same from version to version.
            pub const fn code(&self) -> &'static str {
                match self { $($reason => $code,)* }
            }

            /// How bad it is if it is the cause of what a client sees.
            pub const fn severity(&self) -> Severity {
                match self { $($reason => Severity::$severity,)* }
            }

            /// The API field that decides it.
            pub const fn field(&self) -> &'static str {
                match self { $($reason => $field,)* }
            }

            /// What to do about it.
            pub const fn hint(&self) -> &'static str {
                match self { $($reason => $hint,)* }
            }
        }
    };
}

rows! {
    Self::NotReady { .. } => "not-ready", Warning, "endpoints[].conditions.ready",
        "look at the Pod's readiness probe and its log";
    Self::Terminating => "terminating", Info, "endpoints[].conditions.terminating",
        "nothing to do: the Pod is being deleted";
    Self::NotServing => "not-serving", Info, "endpoints[].conditions.serving",
        "nothing to do: the Pod is being deleted";
    Self::Drained => "drained", Info, "metadata.annotations[portolan.io/weights]",
        "raise its weight in the annotation portolan.io/weights";
    Self::OtherZone { .. } => "other-zone", Info, "endpoints[].hints.forZones",
        "expected with topology-aware routing; remove spec.trafficDistribution to use every zone";
    Self::OtherNodeHinted { .. } => "other-node-hinted", Info, "endpoints[].hints.forNodes",
        "expected with trafficDistribution PreferSameNode; this node has an endpoint of its own";
    Self::NotOnThisNode { .. } => "not-on-this-node", Warning, "endpoints[].nodeName",
        "set the policy to Cluster, or run a Pod on every node that clients connect to";
    Self::ServiceAddress { .. } => "service-address", Error, "endpoints[].addresses",
        "list Pods' addresses, not a Service's";
    Self::NoSuchPort { .. } => "no-such-port", Error, "spec.ports[].name",
        "give the port of the slice and the port of the Service the same name";
    Self::NoEndpointOfFamily { .. } => "no-endpoint-of-family", Error, "spec.ipFamilies",
        "give the Pods addresses of this family, or remove it from spec.ipFamilies";
    Self::NoEndpoints => "no-endpoints", Error, "spec.selector",
        "add a selector, or an EndpointSlice with the label kubernetes.io/service-name";
    Self::SelectorMatchesNothing { .. } => "selector-matches-nothing", Error, "spec.selector",
        "compare spec.selector with the labels of the Pods";
    Self::NoContainerPort { .. } => "no-container-port", Error, "spec.ports[].targetPort",
        "give a container's port the name in spec.ports[].targetPort, or use its number there";
    Self::HeldBy { .. } => "frontend-held-by", Error, "spec.ports[]",
        "give one of the Services another address or port";
    Self::RepeatedPort => "repeated-port", Error, "spec.ports[]",
        "give each port of the Service a different number";
    Self::OthersClusterIp { .. } => "others-cluster-ip", Error, "spec.externalIPs",
        "remove the address from the Service";
    Self::NoLoadBalancerAddress => "no-load-balancer-address", Warning, "status.loadBalancer.ingress",
        "check whether a load balancer controller runs, and read its Events";
    Self::Quarantined => "quarantined", Error, "metadata.name",
        "see the agent's log for the kernel's error";
    Self::DroppedHere { internal: false } => "dropped-here", Info, "spec.externalTrafficPolicy",
        "send clients to nodes with an endpoint, or set the policy to Cluster";
    Self::DroppedHere { internal: true } => "dropped-here", Warning, "spec.internalTrafficPolicy",
        "send clients to nodes with an endpoint, or set the policy to Cluster";
    Self::NoHealthCheckNodePort => "no-health-check-node-port", Warning, "spec.healthCheckNodePort",
        "let the API server allocate spec.healthCheckNodePort";
    Self::SourceRangesOfOneFamily { .. } => "source-ranges-of-one-family", Warning, "spec.loadBalancerSourceRanges",
        "add ranges of the other family";
    Self::IncompleteHints { .. } => "incomplete-hints", Warning, "endpoints[].hints.forZones",
        "wait for the endpoint slice controller; hints are ignored until every endpoint has some";
    Self::ProtocolDiffers { .. } => "protocol-differs", Error, "spec.ports[].protocol",
        "give the port the protocol that the Pods serve";
    Self::NodePortOutOfRange { .. } => "node-port-out-of-range", Warning, "spec.ports[].nodePort",
        "choose one from 30000 to 32767, unless the API server has another --service-node-port-range";
    Self::ClusterIpOutOfRange { .. } => "cluster-ip-out-of-range", Warning, "spec.clusterIPs",
        "choose an address in a ServiceCIDR, or leave the choice to the API server";
    Self::IgnoredField { .. } => "ignored-field", Warning, "spec",
        "correct the manifest: as written, this field has no effect";
    Self::UnusableObject { .. } => "unusable-object", Error, "spec",
        "correct the manifest: the whole Service is left out";
}

/// The sentence.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[Arc<str>]| match names {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        match self {
            Self::NotReady { condition: None } => f.write_str("not ready"),
            Self::NotReady { condition: Some(condition) } => write!(f, "not ready: {condition}"),
            Self::Terminating => f.write_str("terminating, and other endpoints are ready"),
            Self::NotServing => f.write_str("terminating, and no longer serving"),
            Self::Drained => f.write_str("its weight is 0"),
            Self::OtherZone { zones } => write!(f, "hinted to zone {}, not to this node's", list(zones)),
            Self::OtherNodeHinted { nodes } => write!(f, "hinted to node {}, not to this one", list(nodes)),
            Self::NotOnThisNode { node: Some(node) } => write!(f, "on node {node}, and the policy is Local"),
            Self::NotOnThisNode { node: None } => f.write_str("its node is not known, and the policy is Local"),
            Self::ServiceAddress { owner: Some(owner) } => write!(f, "the endpoint's address is the ClusterIP of {owner}"),
            Self::ServiceAddress { owner: None } => f.write_str("the endpoint's address is in a ServiceCIDR"),
            Self::NoSuchPort { names } => {
                let shown: Vec<Arc<str>> =
                    names.iter().map(|name| if name.is_empty() { "(unnamed)".into() } else { name.clone() }).collect();
                write!(f, "no EndpointSlice has a port of this name; they have: {}", list(&shown))
            }
            Self::ProtocolDiffers { protocol } => {
                write!(f, "the EndpointSlices have a port of this name, but not for {protocol}")
            }
            Self::NodePortOutOfRange { port } => {
                let (from, to) = (NODE_PORTS.start(), NODE_PORTS.end());
                write!(f, "node port {port} is outside the default range of API servers, {from} to {to}")
            }
            Self::ClusterIpOutOfRange { address } => write!(f, "ClusterIP {address} is not in a ServiceCIDR"),
            Self::IgnoredField { message } | Self::UnusableObject { message } => f.write_str(message),
            Self::NoEndpointOfFamily { family: Family::Ip } => f.write_str("no Pod has an IPv4 address"),
            Self::NoEndpointOfFamily { family: Family::Ip6 } => f.write_str("no Pod has an IPv6 address"),
            Self::NoEndpoints => f.write_str("the Service has no EndpointSlice and no selector that matches a Pod"),
            Self::SelectorMatchesNothing { selector, nearest } => {
                write!(f, "selector {selector} matches no Pod")?;
                nearest.as_ref().map_or(Ok(()), |nearest| write!(f, "; {nearest}"))
            }
            Self::NoContainerPort { target, names } => {
                write!(f, "targetPort {target}: no container of the Pods has a port of this name; they have: {}", list(names))
            }
            Self::HeldBy { owner } => write!(f, "Service {owner} has this frontend"),
            Self::RepeatedPort => f.write_str("an earlier port of this Service has this frontend"),
            Self::OthersClusterIp { address, owner } => write!(f, "{address} is the ClusterIP of Service {owner}"),
            Self::NoLoadBalancerAddress => f.write_str("the load balancer has no address yet"),
            Self::Quarantined => f.write_str("the kernel refused this Service, so it is not programmed"),
            Self::DroppedHere { internal } => {
                let from = if *internal { "" } else { " from outside" };
                write!(f, "this node has no endpoint and the policy is Local: connections{from} are dropped here")
            }
            Self::NoHealthCheckNodePort => {
                f.write_str("policy Local without healthCheckNodePort: a load balancer cannot see which nodes have endpoints")
            }
            Self::SourceRangesOfOneFamily { address } => {
                write!(f, "no range has the family of {address}, so this address admits no client")
            }
            Self::IncompleteHints { missing } => {
                let (endpoints, have) = if *missing == 1 { ("endpoint", "has") } else { ("endpoints", "have") };
                write!(f, "{missing} ready {endpoints} {have} no topology hints, so all hints are ignored")
            }
        }
    }
}
