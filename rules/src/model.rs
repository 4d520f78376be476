//! The objects of the cluster, reduced to what a service proxy needs: Services, `EndpointSlices`, the node.
//!
//! Values of these types are complete and parsed. The manifest reader and the cluster watch apply the API's
//! defaults, and drop what cannot be parsed, with a message, before they build them.

mod endpoint_slice;
mod name;
mod node;
mod service;

pub use self::{
    endpoint_slice::{Endpoint, EndpointPort, EndpointSlice, HintTargets, Hints},
    name::ObjectName,
    node::Node,
    service::{LoadBalancing, Protocol, Service, ServicePort, ServiceType, TrafficPolicy},
};
