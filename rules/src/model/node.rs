//! The node that the proxy runs on.

use std::{net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// What the proxy must know about its own node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Node {
    /// Name, compared with an endpoint's `nodeName`.
    pub name: Arc<str>,
    /// `status.addresses` of the Node object, `InternalIP` before `ExternalIP`; empty if there is no Node object.
    pub addresses: Vec<IpAddr>,
    /// The `addresses` that are an `ExternalIP` and not an `InternalIP`.
    pub external_addresses: Vec<IpAddr>,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<IpNetwork>,
}
