//! What the agent holds, as text: a line about the agent itself, then its objects as a `v1` `List`, which every command
//! reads as manifests. Commands that ask the agent take the same as [values](super::state_values).

use std::sync::Arc;

use portolan_rules::model::{EndpointSlice, Service};
use serde::Serialize;

use super::{agent_state::AgentState, query::Snapshot, state_values};
use crate::api::write;

/// The length of a part of the text. Objects are written while it is sent, part by part.
const PART: usize = 32 << 10;

/// What a snapshot is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line about the agent, and a `List` of API objects.
    Manifest,
    /// What [`super::state_values`] reads.
    Values,
}

/// A snapshot, part by part. Each is written when it is asked for, so that the whole is never in memory.
#[derive(Debug)]
pub struct Parts {
    format: Format,
    /// What comes before the next object.
    pending: Vec<u8>,
    services: std::vec::IntoIter<Arc<Service>>,
    slices: std::vec::IntoIter<Arc<EndpointSlice>>,
    is_first: bool,
    is_ended: bool,
}

impl Parts {
    /// What the agent says of itself, and its snapshot.
    pub fn new(format: Format, state: &AgentState, mut snapshot: Snapshot) -> Self {
        let mut services = std::mem::take(&mut snapshot.services);
        let mut slices = std::mem::take(&mut snapshot.slices);
        if format == Format::Manifest {
            services.sort_by(|a, b| a.name.cmp(&b.name));
            slices.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let mut pending = Vec::new();
        if format == Format::Values {
            state_values::write_head(&mut pending, state, &snapshot, [services.len(), slices.len()]);
        }
        let mut parts = Self {
            format,
            pending,
            services: services.into_iter(),
            slices: slices.into_iter(),
            is_first: true,
            is_ended: false,
        };
        if format == Format::Manifest {
            parts.begin_manifest(state, &snapshot);
        }
        parts
    }

    fn begin_manifest(&mut self, state: &AgentState, snapshot: &Snapshot) {
        // Writing to a vector does not fail, and neither does serializing these.
        let _ = serde_json::to_writer(&mut self.pending, state);
        self.pending.extend_from_slice(b"\n{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n");
        self.object(&write::node(&snapshot.node));
        if !snapshot.service_cidrs.is_empty() {
            self.object(&write::service_cidr(&snapshot.service_cidrs));
        }
    }

    fn object(&mut self, object: &impl Serialize) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.pending.extend_from_slice(b",\n");
        }
        let _ = serde_json::to_writer(&mut self.pending, object);
    }

    fn service(&mut self, service: &Service) {
        match self.format {
            Format::Manifest => self.object(&write::service(service)),
            Format::Values => state_values::write(&mut self.pending, service),
        }
    }

    fn slice(&mut self, slice: &EndpointSlice) {
        match self.format {
            Format::Manifest => self.object(&write::slice(slice)),
            Format::Values => state_values::write(&mut self.pending, slice),
        }
    }
}

impl Iterator for Parts {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        while self.pending.len() < PART && !self.is_ended {
            if let Some(service) = self.services.next() {
                self.service(&service);
            } else if let Some(slice) = self.slices.next() {
                self.slice(&slice);
            } else {
                if self.format == Format::Manifest {
                    self.pending.extend_from_slice(b"\n]}\n");
                }
                self.is_ended = true;
            }
        }
        Some(std::mem::take(&mut self.pending)).filter(|part| !part.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Cursor, net::IpAddr};

    use portolan_rules::{
        model::{Endpoint, EndpointPort, Hints, Node, ObjectName, Protocol, ServicePort},
        plane::{Config, PodDetector},
        ruleset::Family,
    };

    use super::*;
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
            waiting: Vec::new(),
            quarantined: Vec::new(),
        }
    }

    #[test]
    fn the_whole_text_is_a_manifest() {
        for services in [0, 1, 2_000] {
            let snapshot = snapshot(services);
            let parts = Parts::new(Format::Manifest, &AgentState::of(&snapshot), snapshot);
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
            let bytes: Vec<u8> = Parts::new(Format::Values, &agent, snapshot.clone()).flatten().collect();
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
