//! `EndpointSlices`: the endpoints of a Service.

use std::{net::IpAddr, ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{ObjectName, Protocol};

/// A `discovery.k8s.io/v1` `EndpointSlice` of one address family.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub name: ObjectName,
    /// The Service it belongs to, in the same namespace (label `kubernetes.io/service-name`).
    pub service: Arc<str>,
    /// `ports`; an entry without a number (the API's "all ports") is left out.
    pub ports: Vec<EndpointPort>,
    /// `endpoints`, without entries that have no address.
    pub endpoints: Vec<Endpoint>,
}

/// One entry of an `EndpointSlice`'s `ports`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct EndpointPort {
    /// Name of the Service port that this entry resolves.
    pub name: Arc<str>,
    /// `protocol`.
    pub protocol: Protocol,
    /// `port`: the number on the pod.
    pub port: u16,
}

/// One entry of an `EndpointSlice`'s `endpoints`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Endpoint {
    /// `addresses[0]`; further addresses have no meaning.
    pub address: IpAddr,
    /// `conditions.ready`, true if unset.
    pub ready: bool,
    /// `conditions.serving`, true if unset.
    pub serving: bool,
    /// `conditions.terminating`, false if unset.
    pub terminating: bool,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// Share of new connections relative to the other endpoints (annotation `portolan.io/weights` of the
    /// slice), 1 without the annotation; 0 drains it.
    pub weight: u16,
    /// `hints`.
    pub hints: Hints,
}

impl Endpoint {
    /// Returns a ready endpoint with defaults for all other fields.
    pub fn ready(address: IpAddr) -> Self {
        Self {
            address,
            ready: true,
            serving: true,
            terminating: false,
            node: None,
            weight: 1,
            hints: Hints::default(),
        }
    }
}

/// Topology hints of an endpoint. Boxed, since there are very many endpoints and most have no hints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Hints(Option<Box<HintTargets>>);

/// The zones and nodes that topology hints name (`hints.forZones`, `hints.forNodes`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct HintTargets {
    /// Zones whose nodes should use the endpoint.
    pub zones: Vec<Arc<str>>,
    /// Nodes that should use the endpoint.
    pub nodes: Vec<Arc<str>>,
}

impl Hints {
    /// Hints to these zones and nodes.
    pub fn new(zones: Vec<Arc<str>>, nodes: Vec<Arc<str>>) -> Self {
        let any = !zones.is_empty() || !nodes.is_empty();
        Self(any.then(|| Box::new(HintTargets { zones, nodes })))
    }
}

impl Deref for Hints {
    type Target = HintTargets;

    fn deref(&self) -> &HintTargets {
        static NONE: HintTargets = HintTargets { zones: Vec::new(), nodes: Vec::new() };
        self.0.as_deref().unwrap_or(&NONE)
    }
}
