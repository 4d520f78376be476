//! The Pods behind Services, if the input has them. They show why a Service has no endpoints.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use foldhash::HashMap;
use strsim::osa_distance;

use super::{reason::Reason, stand_ins::StandIns};
use crate::{
    model::{Node, ObjectName},
    state::State,
};

/// Labels or a selector, in order of their keys.
pub type Labels = Vec<(Arc<str>, Arc<str>)>;

/// Fields of an object, as `spec.ports[0].targetport`, and what is wrong with each.
pub type IgnoredFields = Vec<(Arc<str>, Arc<str>)>;

/// Selectors, Pods and nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workloads {
    /// `spec.selector` and the named `targetPort`s of Services.
    pub selectors: BTreeMap<ObjectName, Selector>,
    /// The Pods, in order of their names.
    pub pods: Vec<Pod>,
    /// The nodes, by name.
    pub nodes: BTreeMap<Arc<str>, Arc<Node>>,
    /// Whether the Services come from manifests, which no API server has accepted yet.
    pub is_of_manifests: bool,
    /// The ignored fields of Services.
    pub ignored: BTreeMap<ObjectName, IgnoredFields>,
    /// For each address, the positions in the list of the Pods that have it.
    by_address: HashMap<IpAddr, Vec<usize>>,
    /// The addresses and node ports that stand in for those of a cluster.
    pub stand_ins: StandIns,
}

/// What a Service specifies about its Pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// `spec.selector`.
    pub labels: Labels,
    /// The `targetPort`s of `spec.ports` that are names rather than numbers, by the name of the port.
    pub targets: Vec<(Arc<str>, Arc<str>)>,
    /// Whether `spec.type` is `LoadBalancer`.
    pub is_load_balancer: bool,
    /// Whether `status.loadBalancer` has an entry, even if only with a name.
    pub has_load_balancer: bool,
}

/// A Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `status.podIPs`.
    pub addresses: Vec<IpAddr>,
    /// Whether it takes requests.
    pub ready: bool,
    /// What its condition `Ready` reports if the Pod is not ready, in words.
    pub condition: Option<Arc<str>>,
    /// `spec.nodeName`.
    pub node: Option<Arc<str>>,
    /// Names of its containers' ports.
    pub port_names: Vec<Arc<str>>,
}

impl Workloads {
    /// These selectors, and these Pods in order of their names.
    pub fn new(selectors: BTreeMap<ObjectName, Selector>, pods: Vec<Pod>) -> Self {
        let mut by_address: HashMap<IpAddr, Vec<usize>> = HashMap::default();
        for (number, pod) in pods.iter().enumerate() {
            for address in &pod.addresses {
                by_address.entry(*address).or_default().push(number);
            }
        }
        Self { selectors, pods, by_address, ..Self::default() }
    }

    /// The same workloads, with these nodes.
    #[must_use]
    pub fn with_nodes(self, nodes: impl IntoIterator<Item = Arc<Node>>) -> Self {
        Self { nodes: nodes.into_iter().map(|node| (node.name.clone(), node)).collect(), ..self }
    }

    /// All stand-ins in words: one line for this node, and one for each Service and Pod, in order of their names.
    pub fn stand_in_lines(&self, state: &State) -> Vec<String> {
        let own = |addresses: &[IpAddr]| {
            let own = addresses.iter().filter(|address| self.stand_ins.addresses.contains(address));
            let own: Vec<String> = own.map(ToString::to_string).collect();
            (!own.is_empty()).then(|| own.join(", "))
        };
        let mut services: Vec<_> = state.services().map(|(service, _)| service).collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        let services = services.into_iter().filter_map(|service| {
            Some(format!("Service {}: {}", service.name, self.stand_ins.of_service(service)?))
        });
        let pods = self.pods.iter();
        let pods = pods.filter_map(|pod| Some(format!("Pod {}: {}", pod.name, own(&pod.addresses)?)));
        let node = state.node();
        let node = own(&node.addresses).map(|own| format!("Node {}: {own}", node.name));
        node.into_iter().chain(services).chain(pods).collect()
    }

    /// The Pod with an address. `None` if several Pods have it, as in the host's network: it is not known which is
    /// meant.
    pub fn pod_at(&self, namespace: &str, address: IpAddr) -> Option<&Pod> {
        let mut found = self.pods_at(address).filter(|pod| *pod.name.namespace == *namespace);
        found.next().filter(|_| found.next().is_none())
    }

    /// Whether a Pod on this node has an address.
    pub fn is_on_node(&self, address: IpAddr, node: &Arc<str>) -> bool {
        self.pods_at(address).any(|pod| pod.node.as_ref() == Some(node))
    }

    fn pods_at(&self, address: IpAddr) -> impl Iterator<Item = &Pod> {
        let numbers = self.by_address.get(&address).into_iter().flatten();
        numbers.filter_map(|number| self.pods.get(*number))
    }

    /// Why a Service with a selector has no endpoints: the most direct cause. `None` if the input has no Pods or no
    /// selector, or shows no cause.
    pub fn cause(&self, service: &ObjectName) -> Option<Reason> {
        let selector = self.selectors.get(service)?;
        if selector.labels.is_empty() || self.pods.is_empty() {
            return None;
        }
        let here: Vec<&Pod> =
            self.pods.iter().filter(|pod| pod.name.namespace == service.namespace).collect();
        let matches = |pod: &&&Pod| selector.labels.iter().all(|label| pod.labels.contains(label));
        let matching: Vec<&&Pod> = here.iter().filter(matches).collect();
        if matching.is_empty() {
            let shown: Vec<String> =
                selector.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let nearest = nearest(&selector.labels, &here).map(Into::into);
            return Some(Reason::SelectorMatchesNothing { selector: shown.join(",").into(), nearest });
        }
        let names = || {
            let mut names: Vec<Arc<str>> =
                matching.iter().flat_map(|pod| pod.port_names.iter().cloned()).collect();
            names.sort();
            names.dedup();
            names
        };
        let missing = selector
            .targets
            .iter()
            .find(|(_, target)| !matching.iter().any(|pod| pod.port_names.contains(target)));
        if let Some((_, target)) = missing {
            return Some(Reason::NoContainerPort { target: target.clone(), names: names() });
        }
        matching.iter().all(|pod| !pod.ready).then(|| Reason::NotReady {
            condition: matching.first().map(|pod| {
                let why = pod.condition.as_deref().unwrap_or("its condition Ready is not True");
                format!("Pod {}: {why}", pod.name).into()
            }),
        })
    }
}

/// The labels that come nearest to a selector which matches nothing, in words.
fn nearest(selector: &Labels, pods: &[&Pod]) -> Option<String> {
    let labels = || pods.iter().flat_map(|pod| &pod.labels);
    let near = selector.iter().flat_map(|(key, value)| {
        // At a greater distance, it is another word.
        let most = 1 + (key.len() + value.len()) / 3;
        labels().filter_map(move |label| {
            let distance = osa_distance(key, &label.0) + osa_distance(value, &label.1);
            (distance > 0 && distance <= most).then_some((distance, label))
        })
    });
    if let Some((_, label)) = near.min_by_key(|(distance, _)| *distance) {
        let count = pods.iter().filter(|pod| pod.labels.contains(label)).count();
        let pods = if count == 1 { "Pod has" } else { "Pods of this namespace have" };
        return Some(format!("{count} {pods} {}={}", label.0, label.1));
    }
    if selector.len() <= 1 {
        return None;
    }
    let pod = pods.iter().find(|pod| selector.iter().any(|label| pod.labels.contains(label)))?;
    let lacking = selector.iter().find(|label| !pod.labels.contains(label))?;
    Some(format!("Pod {} lacks {}={}", pod.name, lacking.0, lacking.1))
}
