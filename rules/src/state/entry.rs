//! One Service, as the state holds it.

use std::{net::IpAddr, sync::Arc};

use smallvec::SmallVec;

use crate::{
    frontends::NearAddresses,
    model::{EndpointSlice, ObjectName, Service},
};

/// A Service with the slices that carry its endpoints; either may be missing.
#[derive(Clone, Debug, Default)]
pub struct ServiceState {
    /// The Service, if it exists and is one that the proxy handles.
    pub service: Option<Arc<Service>>,
    /// Its slices, in order of their names.
    pub slices: SmallVec<[Arc<EndpointSlice>; 1]>,
    /// The addresses near ClusterIPs that it and its slices name. Hardly any Service has some.
    pub(super) near: Option<Box<NearAddresses>>,
    /// Whether it must be compiled again.
    pub(super) dirty: bool,
    /// Whether the Service was there when changes were last taken.
    pub(super) is_known: bool,
}

impl ServiceState {
    pub(super) fn is_empty(&self) -> bool {
        self.service.is_none() && self.slices.is_empty()
    }

    /// Notes that its changes were taken.
    pub(super) fn taken(&mut self) {
        self.dirty = false;
        self.is_known = self.service.is_some();
    }

    /// The other Service whose ClusterIP this address is, if this Service lists it as a load balancer address or
    /// externalIP. This Service is not served there.
    pub fn cluster_ip_of(&self, address: IpAddr) -> Option<&ObjectName> {
        self.near.as_ref()?.frontends.get(&address)
    }

    /// The addresses of its endpoints that cannot be endpoints, in order, each with the Service whose ClusterIP it is;
    /// `None` if it is in a ServiceCIDR only.
    pub fn left_out(&self) -> impl Iterator<Item = (IpAddr, Option<&ObjectName>)> {
        let near = self.near.iter().flat_map(|near| &near.endpoints);
        near.map(|(address, owner)| (*address, owner.as_ref()))
    }

    /// Whether this address of an endpoint cannot be an endpoint.
    pub fn leaves_out(&self, address: IpAddr) -> bool {
        self.near.as_ref().is_some_and(|near| near.endpoints.contains_key(&address))
    }

    /// Its slice of this name.
    pub fn slice(&self, name: &str) -> Option<&EndpointSlice> {
        self.find(name).ok().map(|at| &*self.slices[at])
    }

    /// Where the slice of this name is, or belongs.
    pub(super) fn find(&self, name: &str) -> Result<usize, usize> {
        self.slices.binary_search_by(|slice| (*slice.name.name).cmp(name))
    }
}
