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
    /// The Service, if it exists and the proxy handles it.
    pub service: Option<Arc<Service>>,
    /// Its slices, in order of their names.
    pub slices: SmallVec<[Arc<EndpointSlice>; 1]>,
    /// The addresses near ClusterIPs that the Service and its slices name. Hardly any Service names such an
    /// address.
    pub(super) near: Option<Box<NearAddresses>>,
    /// Whether the Service must be compiled again.
    pub(super) dirty: bool,
    /// Whether the Service existed when changes were last taken.
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

    /// Returns the other Service that has this address as its ClusterIP, if this Service lists the address as a
    /// load balancer address or externalIP. This Service is then not served at the address.
    pub fn cluster_ip_of(&self, address: IpAddr) -> Option<&ObjectName> {
        self.near.as_ref()?.frontends.get(&address)
    }

    /// The addresses in its slices that cannot be endpoints, in order. Each comes with the Service that has the
    /// address as its ClusterIP, or `None` if the address is only in a ServiceCIDR.
    pub fn left_out(&self) -> impl Iterator<Item = (IpAddr, Option<&ObjectName>)> {
        let near = self.near.iter().flat_map(|near| &near.endpoints);
        near.map(|(address, owner)| (*address, owner.as_ref()))
    }

    /// Whether this address in its slices cannot be an endpoint.
    pub fn leaves_out(&self, address: IpAddr) -> bool {
        self.near.as_ref().is_some_and(|near| near.endpoints.contains_key(&address))
    }

    /// Its slice with this name.
    pub fn slice(&self, name: &str) -> Option<&EndpointSlice> {
        self.find(name).ok().map(|at| &*self.slices[at])
    }

    /// The position of the slice with this name, or the position at which to insert it.
    pub(super) fn find(&self, name: &str) -> Result<usize, usize> {
        self.slices.binary_search_by(|slice| (*slice.name.name).cmp(name))
    }
}
