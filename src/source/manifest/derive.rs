//! Derives endpoints from Pods, as the cluster's endpoint slice controller does for a Service with a selector.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use portolan_rules::model::{self, Endpoint, EndpointPort, EndpointSlice, Hints, ObjectName};

use super::contents::ServiceEntry;
use crate::api::{PodFacts, Selection, TargetPort};

/// The Pods of one namespace, found by label.
#[derive(Debug, Default)]
pub(super) struct PodIndex<'a> {
    pods: Vec<&'a PodFacts>,
    by_label: HashMap<(&'a str, &'a str), Vec<usize>>,
}

impl<'a> PodIndex<'a> {
    /// Indexes Pods in an order that stays the same.
    pub fn new(pods: impl Iterator<Item = &'a PodFacts>) -> Self {
        let mut index = Self::default();
        for pod in pods {
            for (name, value) in &pod.labels {
                index.by_label.entry((name, value)).or_default().push(index.pods.len());
            }
            index.pods.push(pod);
        }
        index
    }

    /// The Pods that have all of the labels.
    fn select(&self, labels: &[(Arc<str>, Arc<str>)]) -> Vec<&'a PodFacts> {
        let lists = labels.iter().map(|(name, value)| self.by_label.get(&(&**name, &**value)));
        let rarest = lists.min_by_key(|pods| pods.map_or(0, Vec::len)).flatten();
        let pods = rarest.into_iter().flatten().filter_map(|i| self.pods.get(*i).copied());
        pods.filter(|pod| labels.iter().all(|label| pod.labels.contains(label))).collect()
    }
}

/// The slices of a Service: one for each address family and each set of port numbers that the Pods
/// give its ports. Their names contain colons, so that no object of the API can have the same name.
pub(super) fn slices(
    entry: &ServiceEntry,
    selection: &Selection,
    pods: &PodIndex<'_>,
) -> Vec<Arc<EndpointSlice>> {
    let service = &*entry.service;
    let mut slices: BTreeMap<ObjectName, EndpointSlice> = BTreeMap::new();
    for pod in pods.select(&selection.labels) {
        let ports = resolve(&service.ports, &selection.targets, pod);
        if ports.is_empty() {
            continue;
        }
        for cluster_ip in &service.cluster_ips {
            let same_family = |address: &&IpAddr| address.is_ipv4() == cluster_ip.is_ipv4();
            let Some(address) = pod.addresses.iter().find(same_family) else { continue };
            let name = slice_name(service, address.is_ipv4(), &ports);
            let slice = slices.entry(name.clone()).or_insert_with(|| EndpointSlice {
                name,
                service: Arc::clone(&service.name.name),
                ports: ports.clone(),
                endpoints: Vec::new(),
            });
            slice.endpoints.push(Endpoint {
                weight: 1,
                address: *address,
                ready: selection.publish_not_ready || (pod.ready && !pod.terminating),
                serving: pod.ready,
                terminating: pod.terminating,
                node: pod.node.clone(),
                hints: Hints::default(),
            });
        }
    }
    slices.into_values().map(Arc::new).collect()
}

/// The number on this Pod for each port of the Service. A port whose target is a name that the Pod lacks is left out.
fn resolve(ports: &[model::ServicePort], targets: &[TargetPort], pod: &PodFacts) -> Vec<EndpointPort> {
    let pairs = ports.iter().zip(targets);
    let resolved = pairs.filter_map(|(port, target)| {
        let number = match target {
            TargetPort::Number(number) => *number,
            TargetPort::Name(name) => {
                let is_meant = |p: &&crate::api::PodPort| p.name == *name && p.protocol == port.protocol;
                pod.ports.iter().find(is_meant)?.port
            }
        };
        Some(EndpointPort { name: Arc::clone(&port.name), protocol: port.protocol, port: number })
    });
    resolved.collect()
}

/// `SERVICE:ipv4:http=8080,...`: the same Pods lead to the same names, whichever other Pods are added or removed.
fn slice_name(service: &model::Service, is_ipv4: bool, ports: &[EndpointPort]) -> ObjectName {
    let family = if is_ipv4 { "ipv4" } else { "ipv6" };
    let ports: Vec<String> = ports.iter().map(|port| format!("{}={}", port.name, port.port)).collect();
    let name = format!("{}:{family}:{}", service.name.name, ports.join(","));
    ObjectName { namespace: Arc::clone(&service.name.namespace), name: name.into() }
}
