//! The synthetic Services as API objects, as `kubectl get -o yaml` prints them.

use std::{fs, io, path::Path};

use portolan_rules::{
    model::{Endpoint, EndpointPort, EndpointSlice, TrafficPolicy},
    ruleset::Family,
};
use serde_json::{Value, json};

use super::Synthetic;
use crate::yaml;

/// The format of a manifest file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Consecutive documents.
    Yaml,
    /// A `List`, on one line.
    Json,
}

impl Synthetic {
    /// Writes all Services to this many files in a directory; returns their total length.
    pub fn write(&self, directory: &Path, files: u32, format: Format) -> io::Result<usize> {
        let mut length = 0;
        for file in 0..files {
            let of_file = (file..self.len()).step_by(files as usize);
            let objects: Vec<Value> = of_file.flat_map(|n| self.objects(n)).collect();
            let (extension, text) = match format {
                Format::Yaml => ("yaml", yaml::documents(&objects)),
                Format::Json => {
                    ("json", json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())
                }
            };
            fs::write(directory.join(format!("{file:04}.{extension}")), &text)?;
            length += text.len();
        }
        Ok(length)
    }

    /// Service `n` and its slices.
    pub fn objects(&self, n: u32) -> Vec<Value> {
        let service = self.service(n);
        let families: Vec<_> = service.cluster_ips.iter().map(|ip| family(Family::of(*ip))).collect();
        let ports: Vec<_> = service
            .ports
            .iter()
            .map(|port| {
                let protocol = port.protocol.name().to_uppercase();
                let mut object = json!({"name": &*port.name, "port": port.port, "protocol": protocol});
                if let Some(node_port) = port.node_port {
                    object["nodePort"] = node_port.into();
                }
                object
            })
            .collect();
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(&service.name.namespace, &service.name.name, "app", &service.name.name),
            "spec": {
                "clusterIP": service.cluster_ips.first(),
                "clusterIPs": service.cluster_ips,
                "internalTrafficPolicy": policy(service.internal_policy),
                "ipFamilies": families,
                "ipFamilyPolicy": if families.len() > 1 { "RequireDualStack" } else { "SingleStack" },
                "ports": ports,
                "selector": {"app": &*service.name.name},
                "sessionAffinity": "None",
                "type": "ClusterIP",
            },
            "status": {"loadBalancer": {}},
        });
        let spec = &mut object["spec"];
        if let Some(timeout) = service.affinity_timeout {
            spec["sessionAffinity"] = "ClientIP".into();
            spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": timeout}});
        }
        if !service.source_ranges.is_empty() {
            let ranges = service.source_ranges.iter().map(ToString::to_string);
            spec["loadBalancerSourceRanges"] = ranges.collect::<Vec<_>>().into();
        }
        if service.ports.iter().any(|port| port.node_port.is_some()) {
            spec["type"] = "NodePort".into();
        }
        if !service.load_balancer_ips.is_empty() {
            spec["type"] = "LoadBalancer".into();
            spec["externalTrafficPolicy"] = policy(service.external_policy).into();
            if let Some(port) = service.health_check_node_port {
                spec["healthCheckNodePort"] = port.into();
            }
            let ingress = service.load_balancer_ips.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"}));
            object["status"]["loadBalancer"]["ingress"] = ingress.collect::<Vec<_>>().into();
        }
        let mut objects = vec![object];
        objects.extend(self.slices(n).iter().map(slice));
        objects
    }
}

fn slice(slice: &EndpointSlice) -> Value {
    let endpoint = |endpoint: &Endpoint| {
        json!({
            "addresses": [endpoint.address],
            "conditions": {
                "ready": endpoint.ready,
                "serving": endpoint.serving,
                "terminating": endpoint.terminating,
            },
            "nodeName": endpoint.node.as_deref(),
        })
    };
    let port = |port: &EndpointPort| {
        let protocol = port.protocol.name().to_uppercase();
        json!({"name": &*port.name, "port": port.port, "protocol": protocol})
    };
    let of = slice.endpoints.first().map_or(Family::Ip, |endpoint| Family::of(endpoint.address));
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata(&slice.name.namespace, &slice.name.name, "kubernetes.io/service-name", &slice.service),
        "addressType": family(of),
        "endpoints": slice.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": slice.ports.iter().map(port).collect::<Vec<_>>(),
    })
}

fn metadata(namespace: &str, name: &str, label: &str, value: &str) -> Value {
    json!({
        "creationTimestamp": "2025-06-01T12:00:00Z",
        "labels": {label: value},
        "name": name,
        "namespace": namespace,
        "resourceVersion": "1",
        "uid": "00000000-0000-4000-8000-000000000000",
    })
}

const fn policy(policy: TrafficPolicy) -> &'static str {
    match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    }
}

const fn family(family: Family) -> &'static str {
    match family {
        Family::Ip => "IPv4",
        Family::Ip6 => "IPv6",
    }
}
