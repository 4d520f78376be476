//! Selectors, Pods and nodes, for the commands that explain why a Service has no endpoints.

use std::{collections::BTreeMap, sync::Arc};

use portolan_rules::{
    explanation::{Pod, Selector, Workloads},
    model::{Node, ObjectName, ServicePort},
};

use super::{contents::Object, objects::Entry, source::Source};
use crate::api::{PodFacts, TargetPort};

impl Source {
    /// The selectors of Services, the Pods and the nodes of all files that were read, including stand-ins. If an
    /// object is in several files, the last one is used.
    pub fn workloads(&self) -> Workloads {
        let mut selectors = BTreeMap::new();
        for service in &self.cluster.services {
            let Some(selection) = &service.selection else { continue };
            let ports = service.service.ports.iter().zip(&selection.targets);
            let named = |(port, target): (&ServicePort, &TargetPort)| match target {
                TargetPort::Name(name) => Some((port.name.clone(), name.clone())),
                TargetPort::Number(_) => None,
            };
            let selector = Selector {
                labels: selection.labels.clone(),
                targets: ports.filter_map(named).collect(),
                is_load_balancer: selection.is_load_balancer,
                has_load_balancer: selection.has_load_balancer,
            };
            selectors.insert(service.service.name.clone(), selector);
        }
        let mut pods: BTreeMap<ObjectName, Pod> = BTreeMap::new();
        // This node may be a stand-in.
        let mut nodes: Vec<Arc<Node>> = self.cluster.node.iter().cloned().collect();
        for entry in self.objects().flatten() {
            let Entry::Other(other) = entry else { continue };
            match &**other {
                (id, Object::Pod(pod)) => _ = pods.insert(id.name.clone(), describe(&id.name, pod)),
                (_, Object::Node(node, _)) => nodes.push(Arc::clone(node)),
                _ => {}
            }
        }
        let stand_ins = self.cluster.stand_in_pods.iter();
        pods.extend(stand_ins.map(|(name, pod)| (name.clone(), describe(name, pod))));
        let mut workloads = Workloads::new(selectors, pods.into_values().collect()).with_nodes(nodes);
        workloads.stand_ins = self.cluster.stand_ins.clone();
        workloads
    }
}

fn describe(name: &ObjectName, pod: &PodFacts) -> Pod {
    Pod {
        name: name.clone(),
        labels: pod.labels.clone(),
        addresses: pod.addresses.clone(),
        ready: pod.ready,
        condition: pod.condition.as_deref().map(Into::into),
        node: pod.node.clone(),
        port_names: pod.ports.iter().map(|port| port.name.clone()).collect(),
    }
}
