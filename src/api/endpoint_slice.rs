//! `discovery.k8s.io/v1` `EndpointSlice`.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use portolan_rules::model;

use super::{
    address::{Address, family, usable},
    context::{
        Context, FieldError, ObjectId, Result, read, read_element, read_list, read_or_default, required,
    },
    field::{Field, First, objects, quote},
    metadata::{Label, Metadata},
    port::{port_name, port_number, protocol},
};

objects! {
    /// An `EndpointSlice`.
    pub struct EndpointSlice {
        /// `metadata`.
        pub metadata: Field<Metadata>,
        /// `addressType`: `IPv4`, `IPv6` or `FQDN`.
        pub address_type: Field<Box<str>>,
        /// `ports`.
        pub ports: Field<Vec<Field<EndpointPort>>>,
        /// `endpoints`.
        pub endpoints: Field<Vec<Field<Endpoint>>>,
    }

    /// One entry of `ports` of an [`EndpointSlice`] or of a subset of `Endpoints`.
    pub struct EndpointPort {
        /// `name`; empty if absent.
        pub name: Field<Box<str>>,
        /// `protocol`; `TCP` if absent.
        pub protocol: Field<Box<str>>,
        /// `port`; absent or 0 means all ports, which no proxy supports.
        pub port: Field<i64>,
    }

    /// One entry of `endpoints` of an [`EndpointSlice`].
    pub struct Endpoint {
        /// `addresses`; addresses after the first mean nothing.
        pub addresses: Field<First<Address>>,
        /// `conditions`.
        pub conditions: Field<EndpointConditions>,
        /// `nodeName`.
        pub node_name: Field<Box<str>>,
        /// `hints`.
        pub hints: Field<EndpointHints>,
    }

    /// `conditions` of an [`Endpoint`].
    pub struct EndpointConditions {
        /// `ready`; true if absent.
        pub ready: Field<bool>,
        /// `serving`; true if absent.
        pub serving: Field<bool>,
        /// `terminating`; false if absent.
        pub terminating: Field<bool>,
    }

    /// `hints` of an [`Endpoint`].
    pub struct EndpointHints {
        /// `forZones`.
        pub for_zones: Field<Vec<Field<HintTarget>>>,
        /// `forNodes`.
        pub for_nodes: Field<Vec<Field<HintTarget>>>,
    }

    /// A zone or a node in [`EndpointHints`].
    pub struct HintTarget {
        /// `name`.
        pub name: Field<Box<str>>,
    }
}

impl EndpointSlice {
    /// The model's slice; `None` if the slice belongs to no Service, to a headless Service or to another
    /// proxy, or has host names for addresses.
    ///
    /// # Errors
    /// The first field that no API server would have accepted: the object is unusable.
    pub fn to_model(&self, object: &ObjectId, context: &mut Context) -> Result<Option<model::EndpointSlice>> {
        let metadata = Metadata::read(&self.metadata)?;
        if metadata.label(Label::Headless).is_some()
            || context.is_foreign_slice(metadata.label(Label::ProxyName))
        {
            return Ok(None);
        }
        let Some(service) = metadata.label(Label::Service).filter(|service| !service.is_empty()) else {
            let field = format_args!("metadata.labels[{}]", Label::Service);
            context.warn(object, field, "is missing, so the slice belongs to no Service; ignored");
            return Ok(None);
        };
        let address_type = match &**required(&self.address_type, "addressType")? {
            address_type @ ("IPv4" | "IPv6") => address_type,
            "FQDN" => {
                context.warn(object, "addressType", "FQDN is not supported; the slice is ignored");
                return Ok(None);
            }
            other => {
                let message = format!("{} is not one of IPv4, IPv6, FQDN", quote(other));
                return Err(FieldError::new("addressType", message));
            }
        };
        let ports = self.ports(context)?;
        let weights = metadata.annotations().weights(object, context);
        let list = read_list(&self.endpoints, "endpoints")?;
        let mut endpoints = Vec::with_capacity(list.len());
        for (i, field) in list.iter().enumerate() {
            let endpoint = read_element(field, format_args!("endpoints[{i}]"))?;
            let endpoint = endpoint.to_model(i, address_type, object, context)?;
            endpoints.extend(endpoint.map(|e| model::Endpoint { weight: weights.of(e.address), ..e }));
        }
        let service = service.into();
        Ok(Some(model::EndpointSlice { name: object.name.clone(), service, ports, endpoints }))
    }

    fn ports(&self, context: &mut Context) -> Result<Vec<model::EndpointPort>> {
        let mut ports = Vec::new();
        for (i, field) in read_list(&self.ports, "ports")?.iter().enumerate() {
            let path = format!("ports[{i}]");
            ports.extend(read_element(field, &path)?.to_model(&path, context)?);
        }
        Ok(ports)
    }
}

impl EndpointPort {
    /// The model's port; `None` if the port has no number.
    pub(super) fn to_model(&self, path: &str, context: &mut Context) -> Result<Option<model::EndpointPort>> {
        let name = port_name(&self.name, format_args!("{path}.name"))?;
        let protocol = protocol(&self.protocol, format_args!("{path}.protocol"))?;
        let port = match read(&self.port, format_args!("{path}.port"))? {
            None | Some(0) => return Ok(None),
            Some(number) => port_number(*number, format_args!("{path}.port"))?,
        };
        Ok(Some(model::EndpointPort { name: context.intern(name), protocol, port }))
    }
}

impl Endpoint {
    fn to_model(
        &self,
        i: usize,
        address_type: &str,
        object: &ObjectId,
        context: &mut Context,
    ) -> Result<Option<model::Endpoint>> {
        let path = |field: &'static str| format!("endpoints[{i}].{field}");
        let address = match self.address(address_type) {
            Ok(address) => address,
            Err(message) => {
                context.warn(
                    object,
                    path("addresses[0]"),
                    format_args!("{message}; the endpoint is ignored"),
                );
                return Ok(None);
            }
        };
        let conditions = read_or_default(&self.conditions, format_args!("endpoints[{i}].conditions"))?;
        let condition = |field: &Field<bool>, name: &'static str, default: bool| {
            let value = read(field, format_args!("endpoints[{i}].conditions.{name}"))?;
            Ok(value.copied().unwrap_or(default))
        };
        let on_node = read(&self.node_name, format_args!("endpoints[{i}].nodeName"))?;
        let mut hints = model::Hints::default();
        if let Some(given) = read(&self.hints, format_args!("endpoints[{i}].hints"))? {
            let zones = read_list(&given.for_zones, format_args!("endpoints[{i}].hints.forZones"))?;
            let nodes = read_list(&given.for_nodes, format_args!("endpoints[{i}].hints.forNodes"))?;
            let names = |targets: &[Field<HintTarget>], context: &mut Context| {
                let names = targets.iter().filter_map(|target| target.get()?.name.get());
                names.map(|name| context.intern(name)).collect()
            };
            hints = model::Hints::new(names(zones, context), names(nodes, context));
        }
        Ok(Some(model::Endpoint {
            address,
            ready: condition(&conditions.ready, "ready", true)?,
            serving: condition(&conditions.serving, "serving", true)?,
            terminating: condition(&conditions.terminating, "terminating", false)?,
            weight: 1,
            node: on_node.filter(|name| !name.is_empty()).map(|name| context.intern(name)),
            hints,
        }))
    }

    /// The address, which must be of the slice's family and acceptable for an endpoint.
    fn address(&self, address_type: &str) -> Result<IpAddr, String> {
        let first = match self.addresses.read()? {
            Some(First(first)) => first.read()?,
            None => None,
        };
        let ip = first.ok_or("is missing")?.ip()?;
        if family(ip) != address_type {
            return Err(format!("{ip} is not an {address_type} address"));
        }
        usable(ip)
    }
}
