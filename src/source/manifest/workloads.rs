//! Selectors, Pods and nodes, for the commands that explain why a Service has no endpoints.

use std::{collections::BTreeMap, sync::Arc};

use portolan_rules::explanation::{Pod, Selector, Workloads};

use super::{contents::Object, objects::Entry, source::Source};
use crate::api::TargetPort;

impl Source {
    /// The selectors of Services, the Pods and the nodes of all files that were read. Of an object that several files hold, the
    /// last counts.
    pub fn workloads(&self) -> Workloads {
        let (mut selectors, mut pods, mut nodes) = (BTreeMap::new(), Vec::new(), Vec::new());
        for entry in self.objects().flat_map(super::objects::FileObjects::iter) {
            match entry {
                Entry::Service(service) => {
                    let Some(selection) = &service.selection else { continue };
                    let ports = service.service.ports.iter().zip(&selection.targets);
                    let named =
                        |(port, target): (&portolan_rules::model::ServicePort, &TargetPort)| match target {
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
                Entry::Other(other) => {
                    let (id, pod) = match &**other {
                        (id, Object::Pod(pod)) => (id, pod),
                        (_, Object::Node(node, _)) => {
                            nodes.push(Arc::clone(node));
                            continue;
                        }
                        _ => continue,
                    };
                    pods.push(Pod {
                        name: id.name.clone(),
                        labels: pod.labels.clone(),
                        addresses: pod.addresses.clone(),
                        ready: pod.ready,
                        condition: pod.condition.as_deref().map(Into::into),
                        node: pod.node.clone(),
                        port_names: pod.ports.iter().map(|port| port.name.clone()).collect(),
                    });
                }
                Entry::Slice(_) => {}
            }
        }
        pods.reverse();
        pods.sort_by(|a: &Pod, b| a.name.cmp(&b.name));
        pods.dedup_by(|a, b| a.name == b.name);
        Workloads::new(selectors, pods).with_nodes(nodes)
    }
}
