//! The agent's state as text: a line about the agent itself, then its objects as a `v1` `List`, which every command
//! reads as manifests. Commands that query the agent receive the same as [values](super::state_values).

use std::{mem, sync::Arc};

use serde::Serialize;

use super::{
    agent_state::AgentState,
    query::Snapshot,
    state_values::{AT_ONCE, value},
};
use crate::api::write;

/// The length of a part of the text. Objects are written part by part, while the text is sent.
const PART: usize = 32 << 10;

/// The format of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line about the agent, and a `List` of API objects.
    Manifest,
    /// The format that [`super::state_values`] reads.
    Values,
}

/// The agent's state and its snapshot, part by part. Each part is written on demand, so that the whole text is never in
/// memory.
pub fn parts(
    format: Format,
    state: &AgentState,
    snapshot: Snapshot,
) -> impl Iterator<Item = Vec<u8>> + use<> {
    let (mut pending, mut objects) = match format {
        Format::Manifest => manifest(state, snapshot),
        Format::Values => values(state, snapshot),
    };
    std::iter::from_fn(move || {
        let mut part = mem::take(&mut pending);
        while part.len() < PART
            && let Some(object) = objects.next()
        {
            part.extend(object);
        }
        Some(part).filter(|part| !part.is_empty())
    })
}

/// The head, and then each object.
type Text = (Vec<u8>, Box<dyn Iterator<Item = Vec<u8>> + Send>);

fn manifest(state: &AgentState, mut snapshot: Snapshot) -> Text {
    snapshot.services.sort_by(|a, b| a.name.cmp(&b.name));
    snapshot.slices.sort_by(|a, b| a.name.cmp(&b.name));
    let mut head = json(Vec::new(), state);
    head.extend(b"\n{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n");
    head = json(head, &write::node(&snapshot.node));
    if !snapshot.service_cidrs.is_empty() {
        head.extend(another(&write::service_cidr(&snapshot.service_cidrs)));
    }
    let services = snapshot.services.into_iter().map(|service| another(&write::service(&service)));
    let slices = snapshot.slices.into_iter().map(|slice| another(&write::slice(&slice)));
    (head, Box::new(services.chain(slices).chain([b"\n]}\n".to_vec()])))
}

fn values(state: &AgentState, mut snapshot: Snapshot) -> Text {
    let (services, slices) = (mem::take(&mut snapshot.services), mem::take(&mut snapshot.slices));
    let head = value(&(state, snapshot, services.len(), slices.len()));
    (head, Box::new(arrays(services).chain(arrays(slices))))
}

/// Arrays of up to [`AT_ONCE`] objects each.
fn arrays<T: Serialize>(objects: Vec<Arc<T>>) -> impl Iterator<Item = Vec<u8>> {
    let mut rest = objects.into_iter();
    std::iter::from_fn(move || {
        let some: Vec<Arc<T>> = rest.by_ref().take(AT_ONCE).collect();
        (!some.is_empty()).then(|| value(&some))
    })
}

/// The text of an object that follows another.
fn another(object: &impl Serialize) -> Vec<u8> {
    json(b",\n".to_vec(), object)
}

/// Appends an object. Neither writing to a vector nor serializing these objects fails.
fn json(mut text: Vec<u8>, object: &impl Serialize) -> Vec<u8> {
    let _ = serde_json::to_writer(&mut text, object);
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, io::Cursor, net::IpAddr};

    use portolan_rules::{
        model::{
            Endpoint, EndpointPort, EndpointSlice, Hints, Node, ObjectName, Protocol, Service, ServicePort,
        },
        plane::{Config, PodDetector},
        ruleset::Family,
    };

    use super::{super::state_values, *};
    use crate::source::manifest::Source;

    fn snapshot(services: u16) -> Snapshot {
        let port = || ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: None };
        let service = |number: u16| {
            let [high, low] = number.to_be_bytes();
            let name = ObjectName::new("default", format!("web-{number}"));
            Arc::new(Service::cluster_ip(name, vec![[10, 96, high, low].into()], vec![port()]))
        };
        Snapshot {
            node: Node { name: "here".into(), addresses: vec![[192, 0, 2, 1].into()], ..Node::default() },
            config: Config::default(),
            node_port_addresses: vec![[192, 0, 2, 1].into()],
            node_ips: vec![[192, 0, 2, 1].into()],
            service_cidrs: vec!["10.96.0.0/12".parse().unwrap()],
            services: (0..services).map(service).collect(),
            slices: Vec::new(),
            total: services.into(),
            waiting: BTreeSet::new(),
            quarantined: Vec::new(),
        }
    }

    #[test]
    fn the_whole_text_is_a_manifest() {
        for services in [0, 1, 2_000] {
            let snapshot = snapshot(services);
            let parts = parts(Format::Manifest, &AgentState::of(&snapshot), snapshot);
            let parts: Vec<Vec<u8>> = parts.collect();
            assert!(parts.iter().all(|part| part.len() < 2 * PART));
            assert_eq!(parts.len() > 3, services == 2_000);
            let objects = Source::of_cluster("agent", Cursor::new(parts.concat()), "here").load();
            assert_eq!(objects.errors, []);
            assert_eq!(objects.services.len(), usize::from(services));
            assert_eq!(objects.node.unwrap().addresses, [IpAddr::from([192, 0, 2, 1])]);
            assert_eq!(objects.service_cidrs.len(), 1);
        }
    }

    #[test]
    fn the_values_are_read_back_as_they_were() {
        let interface = |prefix| PodDetector::Interface { name: "cali".into(), prefix };
        let networks = PodDetector::Networks(vec!["10.1.0.0/16".parse().unwrap()]);
        let hinted = Endpoint {
            node: Some("there".into()),
            hints: Hints::new(vec!["a".into()], Vec::new()),
            ..Endpoint::ready("fd00::1".parse().unwrap())
        };
        let slice = EndpointSlice {
            name: ObjectName::new("default", "web:1"),
            service: "web-1".into(),
            ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Sctp, port: 80 }],
            endpoints: vec![hinted, Endpoint::ready([10, 0, 0, 1].into())],
        };
        for pods in [PodDetector::None, networks, interface(true), interface(false)] {
            let config =
                Config { pods, masquerade_all: true, families: vec![Family::Ip6], ..Config::default() };
            let snapshot = Snapshot {
                config: config.clone(),
                slices: vec![Arc::new(slice.clone())],
                quarantined: vec![(ObjectName::new("default", "web-7"), "no memory".to_owned())],
                ..snapshot(1_000)
            };
            let agent = AgentState { synced: Some("now".to_owned()), ..AgentState::of(&snapshot) };
            let bytes: Vec<u8> = parts(Format::Values, &agent, snapshot.clone()).flatten().collect();
            let (back, read) = state_values::read(&bytes[..]).unwrap();
            assert_eq!((back, &read.config), (agent, &config));
            assert_eq!((&read.services, &read.slices), (&snapshot.services, &snapshot.slices));
            assert_eq!((read.node, read.quarantined), (snapshot.node, snapshot.quarantined));
            for cut in [0, 1, 100, bytes.len() - 1] {
                assert!(state_values::read(&bytes[..cut]).is_err(), "{cut}");
            }
        }
    }
}
