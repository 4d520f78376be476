//! The Kubernetes API objects that a service proxy reads, and their conversion to the model.
//!
//! The types are lean on purpose: they hold the fields that matter here, skip all others while
//! reading (`managedFields` above all), and need a fifth of the memory of generated ones. Reading
//! never fails for a value of a wrong type, see [`Field`]; the `to_model` conversions apply the API server's
//! defaults, report what cannot be used by object and field, and give the types of
//! [`portolan_rules::model`].

mod address;
mod annotations;
mod context;
#[cfg(test)]
mod edit;
mod endpoint_slice;
mod field;
mod metadata;
mod node;
mod pod;
mod port;
mod service;
mod service_cidr;

pub use self::{
    address::{Address, family, parse_cidr, parse_ip, special},
    annotations::{Annotations, LAST_CHANGE_TRIGGER, LOAD_BALANCING, MAX_WEIGHT, WEIGHTS},
    context::{Context, FieldError, Kind, ObjectId, Problem},
    endpoint_slice::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, HintTarget},
    field::{Field, First, Labels, Parse},
    metadata::{Metadata, NameRule, PROXY_NAME_LABEL},
    node::{Node, NodeAddress, NodeSpec, NodeStatus, Taint},
    pod::{Container, ContainerPort, Pod, PodCondition, PodFacts, PodIp, PodPort, PodSpec, PodStatus},
    service::{
        ClientIpConfig, LoadBalancerIngress, LoadBalancerStatus, PortOrName, Selection, Service, ServicePort,
        ServiceSpec, ServiceStatus, SessionAffinityConfig, TargetPort,
    },
    service_cidr::{ServiceCidr, ServiceCidrSpec},
};
