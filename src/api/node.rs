//! `v1` `Node`.

#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc};

use portolan_rules::model;

use super::{
    address::{not_an_address, parse_cidr, parse_ip},
    context::{Context, ObjectId, Result, read, read_element, read_list},
    field::{Field, objects, quote},
    metadata::{Label, Metadata},
};

/// Taint that the cluster autoscaler gives to a node before it removes it.
const TO_BE_DELETED_TAINT: &str = "ToBeDeletedByClusterAutoscaler";

objects! {
    /// A Node.
    pub struct Node {
        /// `metadata`.
        pub metadata: Field<Metadata>,
        /// `spec`.
        pub spec: Field<NodeSpec>,
        /// `status`.
        pub status: Field<NodeStatus>,
    }

    /// `spec` of a [`Node`].
    pub struct NodeSpec {
        /// `podCIDR`, the first of `podCIDRs`.
        #[serde(rename = "podCIDR")]
        pub pod_cidr: Field<Box<str>>,
        /// `podCIDRs`.
        #[serde(rename = "podCIDRs")]
        pub pod_cidrs: Field<Vec<Field<Box<str>>>>,
        /// `taints`.
        pub taints: Field<Vec<Field<Taint>>>,
    }

    /// One entry of `spec.taints` of a [`Node`].
    pub struct Taint {
        /// `key`.
        pub key: Field<Box<str>>,
    }

    /// `status` of a [`Node`].
    pub struct NodeStatus {
        /// `addresses`.
        pub addresses: Field<Vec<Field<NodeAddress>>>,
    }

    /// One entry of `status.addresses` of a [`Node`].
    pub struct NodeAddress {
        /// `type`: `InternalIP`, `ExternalIP` or a kind of name.
        pub r#type: Field<Box<str>>,
        /// `address`.
        pub address: Field<Box<str>>,
    }
}

impl Node {
    /// Whether load balancers may send new traffic to the node: it is not being deleted (`deletionTimestamp`),
    /// and has no taint `ToBeDeletedByClusterAutoscaler` of any effect (KEP-3836).
    pub fn is_eligible(&self) -> bool {
        let is_deleted = self.metadata.get().is_some_and(|metadata| !metadata.deletion_timestamp.is_absent());
        !is_deleted && !self.taints().any(|key| key == TO_BE_DELETED_TAINT)
    }

    /// The keys of the node's taints.
    pub fn taints(&self) -> impl Iterator<Item = &str> {
        let taints = self.spec.get().and_then(|spec| spec.taints.get()).map_or(&[][..], Vec::as_slice);
        taints.iter().filter_map(|taint| taint.get()?.key.get()).map(|key| &**key)
    }

    /// The model's node.
    ///
    /// # Errors
    /// The first field that makes the object unusable.
    pub fn to_model(&self, object: &ObjectId, context: &mut Context) -> Result<model::Node> {
        let metadata = Metadata::read(&self.metadata)?;
        let zone = metadata.label(Label::Zone).filter(|zone| !zone.is_empty()).map(Arc::from);
        let (addresses, external_addresses) = self.addresses(object, context)?;
        let name = Arc::clone(&object.name.name);
        let pod_cidrs = self.pod_cidrs(object, context)?;
        Ok(model::Node { name, addresses, external_addresses, zone, pod_cidrs })
    }

    /// All addresses, internal ones before external ones, each in the given order; and the addresses that are only
    /// external.
    fn addresses(&self, object: &ObjectId, context: &mut Context) -> Result<(Vec<IpAddr>, Vec<IpAddr>)> {
        let Some(status) = read(&self.status, "status")? else { return Ok(Default::default()) };
        let (mut internal, mut external) = (Vec::new(), Vec::new());
        for (i, field) in read_list(&status.addresses, "status.addresses")?.iter().enumerate() {
            let entry = read_element(field, format_args!("status.addresses[{i}]"))?;
            let all =
                match read(&entry.r#type, format_args!("status.addresses[{i}].type"))?.map(|text| &**text) {
                    Some("InternalIP") => &mut internal,
                    Some("ExternalIP") => &mut external,
                    _ => continue,
                };
            let path = format_args!("status.addresses[{i}].address");
            let text = read(&entry.address, path)?.map_or("", |text| text);
            match parse_ip(text) {
                Some(ip) => all.push(ip),
                None => {
                    context.warn(object, path, format_args!("{}, ignored", not_an_address(text)));
                }
            }
        }
        let mut addresses: Vec<IpAddr> = Vec::with_capacity(internal.len() + external.len());
        for ip in internal.iter().chain(&external) {
            if !addresses.contains(ip) {
                addresses.push(*ip);
            }
        }
        let only_external = addresses.iter().filter(|ip| !internal.contains(ip)).copied().collect();
        Ok((addresses, only_external))
    }

    fn pod_cidrs(&self, object: &ObjectId, context: &mut Context) -> Result<Vec<ipnetwork::IpNetwork>> {
        let Some(spec) = read(&self.spec, "spec")? else { return Ok(Vec::new()) };
        let list = read_list(&spec.pod_cidrs, "spec.podCIDRs")?;
        let mut given: Vec<(String, &str)> = Vec::new();
        for (i, field) in list.iter().enumerate() {
            let path = format!("spec.podCIDRs[{i}]");
            let text = read_element(field, &path)?;
            given.push((path, text));
        }
        if given.is_empty() {
            let single = read(&spec.pod_cidr, "spec.podCIDR")?.filter(|text| !text.is_empty());
            given.extend(single.map(|text| ("spec.podCIDR".to_owned(), &**text)));
        }
        let mut cidrs = Vec::new();
        for (path, text) in given {
            match parse_cidr(text) {
                Some(cidr) => cidrs.push(cidr),
                None => context.warn(object, path, format_args!("{} is not a CIDR, ignored", quote(text))),
            }
        }
        Ok(cidrs)
    }
}
