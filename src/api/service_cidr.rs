//! `networking.k8s.io/v1` `ServiceCIDR`.

use ipnetwork::IpNetwork;

use super::{
    address::parse_cidr,
    context::{Context, FieldError, ObjectId, Result, read, read_element, read_list},
    field::{Field, objects, quote},
    metadata::Metadata,
};

objects! {
    /// A `ServiceCIDR`: ranges that `ClusterIPs` are allocated from.
    pub struct ServiceCidr {
        /// `metadata`.
        pub metadata: Field<Metadata>,
        /// `spec`.
        pub spec: Field<ServiceCidrSpec>,
    }

    /// `spec` of a [`ServiceCidr`].
    pub struct ServiceCidrSpec {
        /// `cidrs`, one or two.
        pub cidrs: Field<Vec<Field<Box<str>>>>,
    }
}

impl ServiceCidr {
    /// The ranges; readiness of the object is not consulted, as in kube-proxy.
    ///
    /// # Errors
    /// The first field that makes the object unusable.
    pub fn to_model(&self, _object: &ObjectId, _context: &mut Context) -> Result<Vec<IpNetwork>> {
        let Some(spec) = read(&self.spec, "spec")? else { return Ok(Vec::new()) };
        read_list(&spec.cidrs, "spec.cidrs")?
            .iter()
            .enumerate()
            .map(|(i, field)| {
                let path = format_args!("spec.cidrs[{i}]");
                let text = read_element(field, path)?;
                parse_cidr(text)
                    .ok_or_else(|| FieldError::new(path, format_args!("{} is not a CIDR", quote(text))))
            })
            .collect()
    }
}
