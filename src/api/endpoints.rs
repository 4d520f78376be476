//! `v1` `Endpoints`, which the cluster mirrors into slices for a Service without a selector.

use portolan_rules::model::{self, ObjectName};

use super::{
    address::{Address, family, usable},
    context::{Context, ObjectId, Result, read, read_element, read_list, required},
    endpoint_slice::EndpointPort,
    field::{Field, objects},
    metadata::{Label, Metadata},
    port::port_number,
};

/// Maximum number of addresses of a subset that are mirrored: the default of kube-controller-manager's
/// `--mirroring-max-endpoints-per-subset`.
const MAX_PER_SUBSET: usize = 1000;

objects! {
    /// An `Endpoints` object.
    pub struct Endpoints {
        /// `metadata`.
        pub metadata: Field<Metadata>,
        /// `subsets`.
        pub subsets: Field<Vec<Field<EndpointSubset>>>,
    }

    /// One entry of `subsets` of [`Endpoints`].
    pub struct EndpointSubset {
        /// `addresses`, which are ready.
        pub addresses: Field<Vec<Field<EndpointAddress>>>,
        /// `notReadyAddresses`.
        pub not_ready_addresses: Field<Vec<Field<EndpointAddress>>>,
        /// `ports`, of all of the addresses.
        pub ports: Field<Vec<Field<EndpointPort>>>,
    }

    /// An address of an [`EndpointSubset`].
    pub struct EndpointAddress {
        /// `ip`.
        pub ip: Field<Address>,
        /// `nodeName`.
        pub node_name: Field<Box<str>>,
    }
}

impl Endpoints {
    /// The slices that the cluster's mirroring controller makes of this object: one for each subset and address family.
    /// There are none for an object that asks not to be mirrored, or that is a lock of a leader election.
    ///
    /// # Errors
    /// The first field that no API server would have accepted: the object is unusable.
    pub fn to_model(&self, object: &ObjectId, context: &mut Context) -> Result<Vec<model::EndpointSlice>> {
        let metadata = Metadata::read(&self.metadata)?;
        if metadata.label(Label::SkipMirror) == Some("true") || metadata.annotations().is_leader_lock() {
            return Ok(Vec::new());
        }
        let mut slices = Vec::new();
        for (i, field) in read_list(&self.subsets, "subsets")?.iter().enumerate() {
            let subset = read_element(field, format_args!("subsets[{i}]"))?;
            let ports = subset.ports(i, context)?;
            let endpoints = subset.endpoints(i, object, context)?;
            let (ipv4, ipv6): (Vec<_>, Vec<_>) =
                endpoints.into_iter().partition(|endpoint| endpoint.address.is_ipv4());
            for endpoints in [ipv4, ipv6] {
                let Some(first) = endpoints.first() else { continue };
                // No object can have a name with colons.
                let name = format!("{}:{i}:{}", object.name.name, family(first.address).to_lowercase());
                slices.push(model::EndpointSlice {
                    name: ObjectName::new(&*object.name.namespace, &*name),
                    service: object.name.name.clone(),
                    ports: ports.clone(),
                    endpoints,
                });
            }
        }
        Ok(slices)
    }
}

impl EndpointSubset {
    fn ports(&self, i: usize, context: &mut Context) -> Result<Vec<model::EndpointPort>> {
        let mut ports = Vec::new();
        for (j, field) in read_list(&self.ports, format_args!("subsets[{i}].ports"))?.iter().enumerate() {
            let path = format!("subsets[{i}].ports[{j}]");
            let port = read_element(field, &path)?;
            ports.extend(port.to_model(&path, context)?);
            let path = format!("{path}.port");
            port_number(*required(&port.port, &path)?, &path)?;
        }
        Ok(ports)
    }

    fn endpoints(&self, i: usize, object: &ObjectId, context: &mut Context) -> Result<Vec<model::Endpoint>> {
        let mut endpoints = Vec::new();
        let lists =
            [("addresses", &self.addresses, true), ("notReadyAddresses", &self.not_ready_addresses, false)];
        for (list_name, list, ready) in lists {
            let path = format!("subsets[{i}].{list_name}");
            for (j, field) in read_list(list, &path)?.iter().enumerate() {
                let address = read_element(field, format_args!("{path}[{j}]"))?;
                let node = read(&address.node_name, format_args!("{path}[{j}].nodeName"))?;
                match address.ip() {
                    Ok(ip) => endpoints.push(model::Endpoint {
                        ready,
                        serving: ready,
                        node: node.filter(|name| !name.is_empty()).map(|name| context.intern(name)),
                        ..model::Endpoint::ready(ip)
                    }),
                    Err(message) => {
                        let message = format_args!("{message}; the endpoint is ignored");
                        context.warn(object, format_args!("{path}[{j}].ip"), message);
                    }
                }
            }
        }
        if endpoints.len() > MAX_PER_SUBSET {
            let message =
                format_args!("has more than {MAX_PER_SUBSET} addresses; the cluster mirrors no more");
            context.warn(object, format_args!("subsets[{i}]"), message);
            endpoints.truncate(MAX_PER_SUBSET);
        }
        Ok(endpoints)
    }
}

impl EndpointAddress {
    fn ip(&self) -> Result<std::net::IpAddr, String> {
        usable(self.ip.read()?.ok_or("is missing")?.ip()?)
    }
}
