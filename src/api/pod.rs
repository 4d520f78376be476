//! `v1` `Pod`, as far as it can be an endpoint.

#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc};

use portolan_rules::model::Protocol;

use super::{
    address::parse_usable,
    context::{Context, ObjectId, Result, read, read_element, read_list, read_or_default, required},
    field::{Field, objects},
    metadata::Metadata,
    port::{port_number, protocol},
};

objects! {
    /// A Pod.
    pub struct Pod {
        /// `metadata`.
        pub metadata: Field<Metadata>,
        /// `spec`.
        pub spec: Field<PodSpec>,
        /// `status`.
        pub status: Field<PodStatus>,
    }

    /// `spec` of a [`Pod`].
    pub struct PodSpec {
        /// `nodeName`.
        pub node_name: Field<Box<str>>,
        /// `hostNetwork`.
        pub host_network: Field<bool>,
        /// `containers`.
        pub containers: Field<Vec<Field<Container>>>,
        /// `initContainers`.
        pub init_containers: Field<Vec<Field<Container>>>,
    }

    /// A container of a [`Pod`].
    pub struct Container {
        /// `restartPolicy`; `Always` makes an init container a sidecar (KEP-753).
        pub restart_policy: Field<Box<str>>,
        /// `ports`.
        pub ports: Field<Vec<Field<ContainerPort>>>,
    }

    /// One entry of `ports` of a [`Container`].
    pub struct ContainerPort {
        /// `name`.
        pub name: Field<Box<str>>,
        /// `protocol`; `TCP` if absent.
        pub protocol: Field<Box<str>>,
        /// `containerPort`.
        pub container_port: Field<i64>,
    }

    /// `status` of a [`Pod`].
    pub struct PodStatus {
        /// `phase`.
        pub phase: Field<Box<str>>,
        /// `conditions`.
        pub conditions: Field<Vec<Field<PodCondition>>>,
        /// `podIP`, the first of `podIPs`.
        #[serde(rename = "podIP")]
        pub pod_ip: Field<Box<str>>,
        /// `podIPs`, at most one per family.
        #[serde(rename = "podIPs")]
        pub pod_ips: Field<Vec<Field<PodIp>>>,
        /// `hostIP`.
        #[serde(rename = "hostIP")]
        pub host_ip: Field<Box<str>>,
        /// `hostIPs`.
        #[serde(rename = "hostIPs")]
        pub host_ips: Field<Vec<Field<PodIp>>>,
    }

    /// One entry of `status.conditions` of a [`Pod`].
    pub struct PodCondition {
        /// `type`.
        pub r#type: Field<Box<str>>,
        /// `status`: `True`, `False` or `Unknown`.
        pub status: Field<Box<str>>,
        /// `reason`, a word.
        pub reason: Field<Box<str>>,
        /// `message`, for people.
        pub message: Field<Box<str>>,
    }

    /// One entry of `status.podIPs` or `status.hostIPs` of a [`Pod`].
    pub struct PodIp {
        /// `ip`.
        pub ip: Field<Box<str>>,
    }
}

/// The facts about a Pod that matter for endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each stands for a different field of the API")]
pub struct PodFacts {
    /// `metadata.labels`.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// `status.podIPs`; empty if the Pod has none or has ended (phase `Succeeded` or `Failed`).
    pub addresses: Vec<IpAddr>,
    /// Whether it takes requests: condition `Ready`. A manifest written by hand seldom has conditions; without
    /// them, a Pod with an address is ready unless it has a phase other than `Running`.
    pub ready: bool,
    /// The reason and the message of the condition `Ready`, if it is not `True`.
    pub condition: Option<Box<str>>,
    /// Whether it is being deleted (`metadata.deletionTimestamp`).
    pub terminating: bool,
    /// `spec.nodeName`.
    pub node: Option<Arc<str>>,
    /// Named ports of containers and sidecars.
    pub ports: Vec<PodPort>,
    /// Whether it has its node's addresses (`spec.hostNetwork`).
    pub is_on_host: bool,
    /// Whether it has no addresses because it was never in a cluster: it has no `status`.
    pub is_unborn: bool,
}

/// A named container port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPort {
    /// `name`.
    pub name: Arc<str>,
    /// `protocol`.
    pub protocol: Protocol,
    /// `containerPort`.
    pub port: u16,
}

impl Pod {
    /// The facts about this Pod.
    ///
    /// # Errors
    /// The first field that makes the object unusable.
    pub fn to_model(&self, object: &ObjectId, context: &mut Context) -> Result<PodFacts> {
        let metadata = read_or_default(&self.metadata, "metadata")?;
        let spec = read_or_default(&self.spec, "spec")?;
        let status = read_or_default(&self.status, "status")?;
        metadata.check_labels()?;
        let mut labels = Vec::new();
        for (name, value) in metadata.labels.get().map_or(&[][..], |labels| &labels.0) {
            labels.push((context.intern(name), context.intern(value.get().map_or("", |text| text))));
        }
        let phase = read(&status.phase, "status.phase")?.map_or("", |text| text);
        let mut addresses = Vec::new();
        let is_on_host = *read_or_default(&spec.host_network, "spec.hostNetwork")?;
        if phase != "Succeeded" && phase != "Failed" {
            let paths = ["status.podIPs", "status.podIP"];
            addresses = self::addresses(&status.pod_ips, &status.pod_ip, paths, object, context)?;
            if addresses.is_empty() && is_on_host {
                // The Pod shares the addresses of its node.
                let paths = ["status.hostIPs", "status.hostIP"];
                addresses = self::addresses(&status.host_ips, &status.host_ip, paths, object, context)?;
            }
        }
        let on_node = read(&spec.node_name, "spec.nodeName")?.filter(|name| !name.is_empty());
        let (ready, condition) = status.readiness(phase)?;
        Ok(PodFacts {
            labels,
            addresses,
            ready,
            condition,
            terminating: !metadata.deletion_timestamp.is_absent(),
            node: on_node.map(|name| context.intern(name)),
            ports: spec.named_ports(context)?,
            is_on_host,
            is_unborn: *status == PodStatus::default() && !metadata.is_from_a_cluster(),
        })
    }
}

impl PodStatus {
    /// Whether the Pod is ready; and reason and message of the condition `Ready`, if it is present and not `True`.
    fn readiness(&self, phase: &str) -> Result<(bool, Option<Box<str>>)> {
        let conditions = read_list(&self.conditions, "status.conditions")?;
        for (i, field) in conditions.iter().enumerate() {
            let condition = read_element(field, format_args!("status.conditions[{i}]"))?;
            if condition.r#type.get().is_none_or(|name| **name != *"Ready") {
                continue;
            }
            let status = read(&condition.status, format_args!("status.conditions[{i}].status"))?;
            let status = status.map_or("", |status| status);
            if status == "True" {
                return Ok((true, None));
            }
            let text = |field: &Field<Box<str>>| field.get().filter(|text| !text.is_empty()).cloned();
            let why = match (text(&condition.reason), text(&condition.message)) {
                (Some(reason), Some(message)) => format!("{reason}: {message}").into(),
                (Some(either), None) | (None, Some(either)) => either,
                (None, None) => format!("condition Ready is {status}").into(),
            };
            return Ok((false, Some(why)));
        }
        Ok((conditions.is_empty() && matches!(phase, "Running" | ""), None))
    }
}

/// The list, or the single address if the list is empty; invalid addresses are ignored with a warning.
fn addresses(
    list: &Field<Vec<Field<PodIp>>>,
    single: &Field<Box<str>>,
    paths: [&str; 2],
    object: &ObjectId,
    context: &mut Context,
) -> Result<Vec<IpAddr>> {
    let mut given: Vec<(String, &str)> = Vec::new();
    for (i, field) in read_list(list, paths[0])?.iter().enumerate() {
        let entry = read_element(field, format_args!("{}[{i}]", paths[0]))?;
        let path = format!("{}[{i}].ip", paths[0]);
        let text = read(&entry.ip, &path)?.map_or("", |text| text);
        given.push((path, text));
    }
    if given.is_empty() {
        let single = read(single, paths[1])?.filter(|text| !text.is_empty());
        given.extend(single.map(|text| (paths[1].to_owned(), &**text)));
    }
    let mut all = Vec::with_capacity(given.len());
    for (path, text) in given {
        match parse_usable(text) {
            Ok(ip) if all.contains(&ip) => {}
            Ok(ip) => all.push(ip),
            Err(refused) => context.warn(object, path, format_args!("{refused}, ignored")),
        }
    }
    Ok(all)
}

impl PodSpec {
    /// Named ports in the order in which the endpoint slice controller looks for them: containers, then
    /// init containers that keep running.
    fn named_ports(&self, context: &mut Context) -> Result<Vec<PodPort>> {
        let mut ports = Vec::new();
        let groups = [
            ("spec.containers", &self.containers, false),
            ("spec.initContainers", &self.init_containers, true),
        ];
        for (path, containers, only_sidecars) in groups {
            for (i, field) in read_list(containers, path)?.iter().enumerate() {
                let container = read_element(field, format_args!("{path}[{i}]"))?;
                let restarts = container.restart_policy.get().is_some_and(|policy| **policy == *"Always");
                if !only_sidecars || restarts {
                    container.named_ports(&format!("{path}[{i}]"), &mut ports, context)?;
                }
            }
        }
        Ok(ports)
    }
}

impl Container {
    fn named_ports(&self, path: &str, ports: &mut Vec<PodPort>, context: &mut Context) -> Result<()> {
        for (i, field) in read_list(&self.ports, format_args!("{path}.ports"))?.iter().enumerate() {
            let port = read_element(field, format_args!("{path}.ports[{i}]"))?;
            let name = read(&port.name, format_args!("{path}.ports[{i}].name"))?.map_or("", |text| text);
            let protocol = protocol(&port.protocol, format_args!("{path}.ports[{i}].protocol"))?;
            let number_path = format_args!("{path}.ports[{i}].containerPort");
            let number = port_number(*required(&port.container_port, number_path)?, number_path)?;
            if !name.is_empty() {
                ports.push(PodPort { name: context.intern(name), protocol, port: number });
            }
        }
        Ok(())
    }
}
