//! The addresses of a Service: cluster IPs, external IPs, load balancer IPs, source ranges.

use std::{fmt, net::IpAddr};

use ipnetwork::IpNetwork;

use super::object::{LoadBalancerIngress, Service, ServiceSpec};
use crate::api::{
    address::{family, not_an_address, parse_cidr, parse_ip, parse_usable},
    context::{Context, FieldError, ObjectId, Result, read, read_element, read_list, read_or_default},
    field::{Field, quote},
};

/// `clusterIP` of a headless Service (`ClusterIPNone`).
const HEADLESS: &str = "None";

/// Parses a `ClusterIP`, which must be an address that the API accepts.
fn cluster_ip(text: &str, path: impl fmt::Display) -> Result<IpAddr> {
    parse_usable(text).map_err(|message| FieldError::new(path, message))
}

/// Reads the entries of a list of texts. A blank entry is dropped silently; an entry that `parse`
/// refuses is dropped with a warning that gives the reason.
pub(super) fn lenient<T: PartialEq>(
    list: &Field<Vec<Field<Box<str>>>>,
    path: &str,
    object: &ObjectId,
    context: &mut Context,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>> {
    let list = read_list(list, path)?;
    let mut all = Vec::with_capacity(list.len());
    for (i, field) in list.iter().enumerate() {
        let parsed = match field.read() {
            Ok(None) => continue,
            Ok(Some(text)) if text.trim().is_empty() => continue,
            Ok(Some(text)) => parse(text),
            Err(message) => Err(message),
        };
        match parsed {
            Ok(value) if !all.contains(&value) => all.push(value),
            Ok(_) => {}
            Err(message) => {
                context.warn(object, format_args!("{path}[{i}]"), format_args!("{message}, ignored"));
            }
        }
    }
    Ok(all)
}

/// A range of `loadBalancerSourceRanges`.
pub(super) fn source_range(text: &str) -> Result<IpNetwork, String> {
    parse_cidr(text.trim()).ok_or_else(|| format!("{} is not a CIDR", quote(text)))
}

impl ServiceSpec {
    pub(super) fn is_headless(&self) -> bool {
        let first = self.cluster_ips.get().and_then(|ips| ips.first()?.get());
        [self.cluster_ip.get(), first].into_iter().flatten().any(|ip| **ip == *HEADLESS)
    }

    /// `clusterIPs`, at most one per family; empty if none is allocated. As in the API server, `clusterIP`
    /// alone means a list with one address, and without `ipFamilies`, the families are those of the addresses.
    pub(super) fn cluster_ips(&self) -> Result<Vec<IpAddr>> {
        let single = read(&self.cluster_ip, "spec.clusterIP")?.filter(|ip| !ip.is_empty());
        let list = read_list(&self.cluster_ips, "spec.clusterIPs")?;
        let mut ips: Vec<IpAddr> = Vec::with_capacity(list.len().max(1));
        for (i, field) in list.iter().enumerate() {
            let path = format_args!("spec.clusterIPs[{i}]");
            let text = read_element(field, path)?;
            if text.is_empty() {
                continue;
            }
            let ip = cluster_ip(text, path)?;
            if ips.iter().any(|other| family(*other) == family(ip)) {
                return Err(FieldError::new(path, format_args!("{ip} is a second {} address", family(ip))));
            }
            ips.push(ip);
        }
        if let Some(text) = single {
            let ip = cluster_ip(text, "spec.clusterIP")?;
            match ips.first() {
                None => ips.push(ip),
                Some(first) if *first != ip => {
                    let message = format_args!("is {first}, but spec.clusterIP is {ip}");
                    return Err(FieldError::new("spec.clusterIPs[0]", message));
                }
                Some(_) => {}
            }
        }
        self.check_families(&ips)?;
        Ok(ips)
    }

    /// Position i of `ipFamilies` is the family of position i of `clusterIPs`.
    fn check_families(&self, ips: &[IpAddr]) -> Result<()> {
        for (i, field) in read_list(&self.ip_families, "spec.ipFamilies")?.iter().enumerate() {
            let path = format_args!("spec.ipFamilies[{i}]");
            let text = &**read_element(field, path)?;
            if text != "IPv4" && text != "IPv6" {
                return Err(FieldError::new(path, format_args!("{} is not one of IPv4, IPv6", quote(text))));
            }
            if let Some(ip) = ips.get(i).filter(|ip| family(**ip) != text) {
                return Err(FieldError::new(path, format_args!("is {text}, but its ClusterIP is {ip}")));
            }
        }
        Ok(())
    }
}

impl Service {
    /// Whether a load balancer has given an address or a name.
    pub(super) fn has_load_balancer(&self) -> bool {
        let balancer = self.status.get().and_then(|status| status.load_balancer.get());
        balancer.and_then(|balancer| balancer.ingress.get()).is_some_and(|ingress| !ingress.is_empty())
    }

    /// IPs that the node answers for a load balancer. With `ipMode: Proxy` the load balancer wants
    /// to see the traffic itself, so the node leaves the address alone (KEP-1860).
    pub(super) fn load_balancer_ips(&self, object: &ObjectId, context: &mut Context) -> Result<Vec<IpAddr>> {
        let status = read_or_default(&self.status, "status")?;
        let balancer = read_or_default(&status.load_balancer, "status.loadBalancer")?;
        let mut ips = Vec::new();
        for (i, field) in read_list(&balancer.ingress, "status.loadBalancer.ingress")?.iter().enumerate() {
            let ingress = read_element(field, format_args!("status.loadBalancer.ingress[{i}]"))?;
            if let Some(ip) = ingress.ip(i, object, context).filter(|ip| !ips.contains(ip)) {
                ips.push(ip);
            }
        }
        Ok(ips)
    }
}

impl LoadBalancerIngress {
    fn ip(&self, i: usize, object: &ObjectId, context: &mut Context) -> Option<IpAddr> {
        let mut warn = |field: &str, message: String| {
            let path = format_args!("status.loadBalancer.ingress[{i}].{field}");
            context.warn(object, path, format_args!("{message}, ignored"));
            None
        };
        let text = match self.ip.read() {
            Ok(text) => text.filter(|text| !text.trim().is_empty())?,
            Err(message) => return warn("ip", message),
        };
        match self.ip_mode.read() {
            Ok(mode) => match mode.map_or("", |mode| mode) {
                "VIP" | "" => {}
                "Proxy" => return None,
                mode => return warn("ipMode", format!("{} is not one of VIP, Proxy", quote(mode))),
            },
            Err(message) => return warn("ipMode", message),
        }
        match parse_ip(text) {
            Some(ip) => Some(ip),
            None => warn("ip", not_an_address(text)),
        }
    }
}
