//! `v1` `Service`.

mod addresses;
mod convert;
mod lacks;
mod object;
mod ports;
mod selection;
#[cfg(test)]
mod tests;

pub use self::{
    lacks::{Lacks, WantedFamilies},
    object::{
        ClientIpConfig, LoadBalancerIngress, LoadBalancerStatus, PortOrName, Service, ServicePort,
        ServiceSpec, ServiceStatus, SessionAffinityConfig,
    },
    selection::{Selection, TargetPort},
};
