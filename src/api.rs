//! The Kubernetes API objects that a service proxy reads, and their conversion to the model.
//!
//! The types hold only the fields that matter here, and skip all others while reading. Reading never fails because of a
//! value of a wrong type, see [`Field`]: a manifest with ten thousand objects is decoded in one pass, and one bad field
//! must not make the other objects unusable. The `to_model` conversions apply the API server's defaults, report invalid
//! fields by object and path, and return the types of [`portolan_rules::model`].
//!
//! The generated types of `k8s-openapi`, decoded one item at a time, would be less code, but cost too much at a cold
//! start. Measured with 10,000 Services and 10,000 slices of five endpoints as JSON (optimised build, best of seven,
//! milliseconds; a real server always sends `managedFields`):
//!
//! | | without `managedFields` (28 MB) | with (42 MB) |
//! |---|---|---|
//! | these types | 93 | 143 |
//! | `k8s-openapi` | 125 (+34 %) | 300 (+110 %) |
//! | `k8s-openapi` with `serde_path_to_error` | 241 (+159 %) | 582 (+308 %) |

mod address;
mod annotations;
mod context;
#[cfg(test)]
mod edit;
mod endpoint_slice;
mod endpoints;
mod field;
mod metadata;
mod node;
mod pod;
mod port;
pub mod protobuf;
mod service;
mod service_cidr;
mod unknown;
mod workload;
pub mod write;

pub(crate) use self::context::required;
pub use self::{
    address::{parse_cidr, parse_ip},
    context::{Context, FieldError, Kind, ObjectId, Problem},
    endpoint_slice::EndpointSlice,
    endpoints::Endpoints,
    field::Field,
    metadata::{Label, Metadata},
    node::Node,
    pod::{Container, ContainerPort, Pod, PodFacts, PodPort},
    service::{Lacks, Selection, Service, TargetPort, WantedFamilies},
    service_cidr::ServiceCidr,
    workload::{PodCount, PodSet, Workload},
};
