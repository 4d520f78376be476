//! A cluster as a manifest, for people to read and to try.

use std::fmt::{self, Display, Write};

use portolan_rules::{
    model::{Endpoint, EndpointSlice, LoadBalancing, ObjectName, Protocol, Service, TrafficPolicy},
    plane::PodDetector,
    selection::node_port_addresses::NodePortAddresses,
};

use crate::cluster::Cluster;

/// Writes the objects as YAML and the settings as a comment.
pub fn manifest(cluster: &Cluster) -> String {
    let mut text = String::new();
    write(cluster, &mut text).expect("a String takes everything");
    text
}

fn write(cluster: &Cluster, out: &mut String) -> fmt::Result {
    let config = &cluster.config;
    let pods = match &config.pods {
        PodDetector::None => "none".to_owned(),
        PodDetector::Networks(networks) => list(networks),
        PodDetector::Interface { name, prefix: false } => format!("interface {name}"),
        PodDetector::Interface { name, prefix: true } => format!("interfaces {name}*"),
    };
    let NodePortAddresses { primary, all, localhost, networks, .. } = &cluster.node_port_addresses;
    let words = [(primary, "primary"), (all, "all"), (localhost, "localhost")];
    let words = words.into_iter().filter(|(is_there, _)| **is_there).map(|(_, word)| word.to_owned());
    let networks = networks.iter().map(ToString::to_string);
    let node_port_addresses = words.chain(networks).collect::<Vec<_>>().join(",");
    writeln!(out, "# pods: {pods}; node port addresses: {node_port_addresses}")?;
    writeln!(out, "# masquerade all: {}, bit {}", config.masquerade_all, config.masquerade_bit)?;
    writeln!(out, "# addresses of this node's interfaces: {}", list(&cluster.host))?;
    let node = &cluster.node;
    writeln!(out, "apiVersion: v1\nkind: Node\nmetadata:\n  name: {}", node.name)?;
    if let Some(zone) = &node.zone {
        writeln!(out, "  labels: {{topology.kubernetes.io/zone: {zone:?}}}")?;
    }
    writeln!(out, "status:\n  addresses:{}", if node.addresses.is_empty() { " []" } else { "" })?;
    for address in &node.addresses {
        writeln!(out, "  - {{type: InternalIP, address: {:?}}}", address.to_string())?;
    }
    if !cluster.service_cidrs.is_empty() {
        writeln!(
            out,
            "---\napiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {{name: kubernetes}}"
        )?;
        writeln!(out, "spec:\n  cidrs: {}", list(&cluster.service_cidrs))?;
    }
    cluster.services.iter().try_for_each(|it| service(it, out))?;
    cluster.slices.iter().try_for_each(|it| slice(it, out))
}

fn service(service: &Service, out: &mut String) -> fmt::Result {
    writeln!(out, "---\napiVersion: v1\nkind: Service\nmetadata:")?;
    name(&service.name, out)?;
    if let Some(created) = service.created {
        writeln!(out, "  creationTimestamp: \"1970-01-01T00:00:{created:02}Z\"")?;
    }
    if service.load_balancing == LoadBalancing::SourceHash {
        writeln!(out, "  annotations: {{portolan.io/load-balancing: source-hash}}")?;
    }
    writeln!(out, "spec:\n  type: LoadBalancer")?;
    writeln!(out, "  internalTrafficPolicy: {}", policy(service.internal_policy))?;
    writeln!(out, "  externalTrafficPolicy: {}", policy(service.external_policy))?;
    let families = service.cluster_ips.iter().map(|ip| if ip.is_ipv4() { "IPv4" } else { "IPv6" });
    writeln!(out, "  ipFamilies: {}", list(families))?;
    writeln!(out, "  clusterIPs: {}", list(&service.cluster_ips))?;
    writeln!(out, "  externalIPs: {}", list(&service.external_ips))?;
    writeln!(out, "  loadBalancerSourceRanges: {}", list(&service.source_ranges))?;
    if let Some(seconds) = service.affinity_timeout {
        writeln!(out, "  sessionAffinity: ClientIP")?;
        writeln!(out, "  sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {seconds}}}}}")?;
    }
    writeln!(out, "  ports:")?;
    for p in &service.ports {
        let node_port = p.node_port.map(|n| format!(", nodePort: {n}")).unwrap_or_default();
        let protocol = upper(p.protocol);
        writeln!(out, "  - {{name: {:?}, protocol: {protocol}, port: {}{node_port}}}", &*p.name, p.port)?;
    }
    if service.load_balancer_ips.is_empty() {
        return Ok(());
    }
    writeln!(out, "status:\n  loadBalancer:\n    ingress:")?;
    service.load_balancer_ips.iter().try_for_each(|ip| writeln!(out, "    - {{ip: {:?}}}", ip.to_string()))
}

fn slice(slice: &EndpointSlice, out: &mut String) -> fmt::Result {
    writeln!(out, "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:")?;
    name(&slice.name, out)?;
    writeln!(out, "  labels: {{kubernetes.io/service-name: {}}}", slice.service)?;
    let v6 = slice.endpoints.first().is_some_and(|endpoint| endpoint.address.is_ipv6());
    writeln!(out, "addressType: {}\nports:", if v6 { "IPv6" } else { "IPv4" })?;
    for p in &slice.ports {
        writeln!(out, "- {{name: {:?}, protocol: {}, port: {}}}", &*p.name, upper(p.protocol), p.port)?;
    }
    writeln!(out, "endpoints:")?;
    slice.endpoints.iter().try_for_each(|it| endpoint(it, out))
}

/// An endpoint as a line of YAML.
pub fn endpoint_line(it: &Endpoint) -> String {
    let mut line = String::new();
    endpoint(it, &mut line).expect("a String takes everything");
    line
}

fn endpoint(endpoint: &Endpoint, out: &mut String) -> fmt::Result {
    let Endpoint { address, ready, serving, terminating, node, weight, hints } = endpoint;
    write!(out, "- {{addresses: [{:?}], ", address.to_string())?;
    write!(out, "conditions: {{ready: {ready}, serving: {serving}, terminating: {terminating}}}")?;
    if let Some(node) = node {
        write!(out, ", nodeName: {node}")?;
    }
    let mut all = Vec::new();
    for (key, names) in [("forZones", &hints.zones), ("forNodes", &hints.nodes)] {
        let names: Vec<String> = names.iter().map(|name| format!("{{name: {name}}}")).collect();
        if !names.is_empty() {
            all.push(format!("{key}: [{}]", names.join(", ")));
        }
    }
    if !all.is_empty() {
        write!(out, ", hints: {{{}}}", all.join(", "))?;
    }
    writeln!(out, "}}{}", if *weight == 1 { String::new() } else { format!(" # weight {weight}") })
}

fn name(name: &ObjectName, out: &mut String) -> fmt::Result {
    writeln!(out, "  namespace: {}\n  name: {}", name.namespace, name.name)
}

fn policy(policy: TrafficPolicy) -> &'static str {
    match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    }
}

fn upper(protocol: Protocol) -> String {
    protocol.name().to_uppercase()
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| format!("\"{item}\"")).collect();
    format!("[{}]", items.join(", "))
}
