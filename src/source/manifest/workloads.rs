//! Selectors and Pods, for the commands that explain why a Service has no endpoints.

use std::collections::BTreeMap;

use portolan_rules::explanation::{Pod, Selector, Workloads};

use super::{contents::Object, objects::Entry, source::Source};
use crate::api::TargetPort;

impl Source {
    /// The selectors of Services and the Pods of all files that were read. Of an object that several files hold, the
    /// last counts.
    pub fn workloads(&self) -> Workloads {
        let (mut selectors, mut pods) = (BTreeMap::new(), Vec::new());
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
                    let (id, Object::Pod(pod)) = &**other else { continue };
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
        Workloads::new(selectors, pods)
    }
}
