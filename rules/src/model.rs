//! What the cluster says, reduced to what a service proxy needs: Services, `EndpointSlices`, the node.
//!
//! These types hold no defaults to be applied and no unparsed text: whoever builds them (the
//! manifest reader, the cluster watch) has already applied the API's defaults and dropped, with a
//! message, what cannot be parsed.

mod endpoint_slice;
mod name;
mod node;
mod service;

pub use self::{
    endpoint_slice::{Endpoint, EndpointPort, EndpointSlice, HintTargets, Hints},
    name::ObjectName,
    node::Node,
    service::{LoadBalancing, Protocol, Service, ServicePort, TrafficPolicy},
};
