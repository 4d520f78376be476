//! `spec.ports` of a Service.

use std::sync::Arc;

use portolan_rules::model::{self, ServiceType};

use super::{
    convert::has_node_ports,
    object::{PortOrName, ServicePort, ServiceSpec},
    selection::TargetPort,
};
use crate::api::{
    context::{Context, FieldError, ObjectId, Result, read, read_element, read_list, required},
    field::quote,
    port::{port_name, port_number, protocol},
};

impl ServiceSpec {
    /// The ports, which must be distinct by the API's rules.
    pub(super) fn ports(
        &self,
        r#type: ServiceType,
        object: &ObjectId,
        context: &mut Context,
    ) -> Result<Vec<model::ServicePort>> {
        let given = read_list(&self.ports, "spec.ports")?;
        if given.is_empty() {
            return Err(FieldError::new("spec.ports", "is empty; a Service has at least one port"));
        }
        let mut ports: Vec<model::ServicePort> = Vec::with_capacity(given.len());
        for (i, field) in given.iter().enumerate() {
            let port = read_element(field, format_args!("spec.ports[{i}]"))?;
            let port = port.to_model(i, r#type, object, context)?;
            let path = |field: &str| format!("spec.ports[{i}].{field}");
            if port.name.is_empty() && given.len() > 1 {
                return Err(FieldError::new(path("name"), "is missing; with several ports each has a name"));
            }
            for (j, other) in ports.iter().enumerate() {
                if other.name == port.name {
                    let message = format!("{} is the name of ports[{j}] too", quote(&port.name));
                    return Err(FieldError::new(path("name"), message));
                }
                if other.protocol != port.protocol {
                    continue;
                }
                if other.port == port.port {
                    let message = format!("{} {} is the port of ports[{j}] too", port.protocol, port.port);
                    return Err(FieldError::new(path("port"), message));
                }
                if port.node_port.is_some() && other.node_port == port.node_port {
                    return Err(FieldError::new(
                        path("nodePort"),
                        format!("is the nodePort of ports[{j}] too"),
                    ));
                }
            }
            ports.push(port);
        }
        Ok(ports)
    }

    /// `targetPort` of each port; `port` where it is absent, zero or empty.
    pub(super) fn target_ports(&self) -> Result<Vec<TargetPort>> {
        let given = read_list(&self.ports, "spec.ports")?;
        let mut targets = Vec::with_capacity(given.len());
        for (i, field) in given.iter().enumerate() {
            let port = read_element(field, format_args!("spec.ports[{i}]"))?;
            let path = format_args!("spec.ports[{i}].targetPort");
            targets.push(match read(&port.target_port, path)? {
                Some(PortOrName::Name(name)) if !name.is_empty() => TargetPort::Name(Arc::from(&**name)),
                Some(PortOrName::Number(number)) if *number != 0 => {
                    TargetPort::Number(port_number(*number, path)?)
                }
                _ => {
                    let path = format_args!("spec.ports[{i}].port");
                    TargetPort::Number(port_number(read(&port.port, path)?.copied().unwrap_or(0), path)?)
                }
            });
        }
        Ok(targets)
    }
}

impl ServicePort {
    fn to_model(
        &self,
        i: usize,
        r#type: ServiceType,
        object: &ObjectId,
        context: &mut Context,
    ) -> Result<model::ServicePort> {
        let path = |field: &'static str| format!("spec.ports[{i}].{field}");
        let name = port_name(&self.name, format_args!("spec.ports[{i}].name"))?;
        let number = required(&self.port, format_args!("spec.ports[{i}].port"))?;
        let port = port_number(*number, format_args!("spec.ports[{i}].port"))?;
        let protocol = protocol(&self.protocol, format_args!("spec.ports[{i}].protocol"))?;
        let node_port = match read(&self.node_port, format_args!("spec.ports[{i}].nodePort"))? {
            None | Some(0) => None,
            Some(&number) => {
                let node_port = port_number(number, format_args!("spec.ports[{i}].nodePort"))?;
                if has_node_ports(r#type) {
                    Some(node_port)
                } else {
                    let message = "is ignored: only Services of type NodePort or LoadBalancer have one";
                    context.warn(object, path("nodePort"), message);
                    None
                }
            }
        };
        Ok(model::ServicePort { name: context.intern(name), protocol, port, node_port })
    }
}
