//! Clusters and flows in a few words, so that a table of flows can be read.
//!
//! Addresses have names: `L1` is a pod of this node, `R1` one of another node, `H1` is in this node's own network,
//! `node1` is this node, `ext1` outside of the cluster, `ClusterIP1`, `VIP1` (a load balancer's) and `externalIP1`
//! belong to the first Service, and so on. A flow comes from one of these addresses and goes to one of them with a
//! port: `ClusterIP1:80/udp`; without a protocol it is TCP.
//!
//! What becomes of a flow is written as the endpoints among which one is chosen, each with the same probability, with
//! `SNAT` if the source becomes the node's address: `L1+R1 SNAT`. If only some endpoints are masqueraded, a star marks
//! them: `L1*+R1`. Endpoints listen at port 80 unless a port is given: `L1:8080`. A flow without endpoints is `reject`
//! (by a reset for TCP, as port unreachable for the rest), `drop` or `untouched`.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnetwork::IpNetwork;
use portolan_rules::{
    model::{
        Endpoint, EndpointPort, EndpointSlice, Hints, Node, ObjectName, Protocol, Service, ServicePort,
        TrafficPolicy,
    },
    plane::{Config, PodDetector},
    ruleset::{Family, RejectWith},
    simulate::{Fate, Input, Packet, Probability, explain},
};

use crate::{
    cluster::{Answer, Cluster, answer_of},
    manifest::manifest,
    places::Place,
    reference::{Clients, answer},
};

/// Source, destination, and what becomes of the flow.
pub type Flow<'a> = (&'a str, &'a str, &'a str);

/// A cluster in one family.
#[derive(Clone)]
pub struct Scene {
    pub family: Family,
    pub cluster: Cluster,
}

/// Runs a test in both families.
pub fn in_both_families(test: impl Fn(Scene)) {
    for family in Family::ALL {
        test(Scene::new(family));
    }
}

/// A network by its two spellings.
pub fn network(family: Family, v4: &str, v6: &str) -> IpNetwork {
    match family {
        Family::Ip => v4.parse().expect("a network"),
        Family::Ip6 => v6.parse().expect("a network"),
    }
}

impl Scene {
    /// A node named `here` in zone `east` that recognises pods by a network with the pods of every node.
    fn new(family: Family) -> Self {
        let here = |n| Place::ThisNode(n).address(family);
        let pods = PodDetector::Networks(vec![network(family, "10.0.0.0/12", "fd00::/28")]);
        let node = Node {
            name: "here".into(),
            addresses: vec![here(1)],
            zone: Some("east".into()),
            external_addresses: Vec::new(),
            pod_cidrs: Vec::new(),
        };
        let cluster = Cluster {
            node,
            host: [here(1), here(2)].into(),
            service_cidrs: vec![network(family, "10.96.0.0/16", "fd00:96::/64")],
            config: Config { pods, ..Config::default() },
            ..Cluster::default()
        };
        Self { family, cluster }
    }

    /// Adds the nth Service: its ClusterIP with TCP port 80, for these endpoints.
    pub fn service(mut self, n: u8, endpoints: &str) -> Self {
        let name = ObjectName::new("default", format!("service-{n}"));
        let cluster_ip = Place::ClusterIp(n).address(self.family);
        self.cluster.services.push(Service::cluster_ip(name, vec![cluster_ip], Vec::new()));
        self.slice(endpoints).ports(&[("", Protocol::Tcp, 80, 80)])
    }

    /// Adds a slice to the last Service, for the same ports. An endpoint may be followed by `/` and a letter for its
    /// condition: `t` terminating and serving, `x` terminating and not serving, `n` not ready, `p` ready and
    /// terminating; or by `/zone=…`, `/node=…` for a hint, `/on=…` for the node's name, `/weight=…`.
    pub fn slice(mut self, endpoints: &str) -> Self {
        let owner = self.last().name.clone();
        let ports = self.cluster.slices.last().filter(|s| s.service == owner.name).map(|s| s.ports.clone());
        let name = ObjectName::new("default", format!("{}-{}", owner.name, self.cluster.slices.len()));
        let endpoints = endpoints.split_whitespace().map(|text| endpoint(self.family, text)).collect();
        let ports = ports.unwrap_or_default();
        self.cluster.slices.push(EndpointSlice { name, service: owner.name, ports, endpoints });
        self
    }

    /// Sets the ports of the last Service: name, protocol, number, and number on the pods.
    pub fn ports(mut self, ports: &[(&str, Protocol, u16, u16)]) -> Self {
        let slice = self.cluster.slices.last_mut().expect("a slice");
        slice.ports = ports
            .iter()
            .map(|(name, protocol, _, port)| EndpointPort {
                name: Arc::from(*name),
                protocol: *protocol,
                port: *port,
            })
            .collect();
        let ports = ports.iter().map(|(name, protocol, port, _)| ServicePort {
            name: Arc::from(*name),
            protocol: *protocol,
            port: *port,
            node_port: None,
        });
        self.last().ports = ports.collect();
        self
    }

    /// Gives the last Service, the nth one, `VIPn`, `externalIPn` and node ports: 30079 + n for port 80.
    pub fn exposed(mut self) -> Self {
        let n = self.cluster.services.len() as u8;
        let family = self.family;
        let service = self.last();
        service.load_balancer_ips = vec![Place::External(n).address(family)];
        service.external_ips = vec![Place::External(100 + n).address(family)];
        for port in &mut service.ports {
            port.node_port = Some(30000 + port.port + u16::from(n) - 1);
        }
        self
    }

    /// Changes the last Service.
    pub fn edit(mut self, change: impl FnOnce(&mut Service)) -> Self {
        change(self.last());
        self
    }

    /// Sets policy Local for connections from outside, for the last Service.
    pub fn external_local(self) -> Self {
        self.edit(|service| service.external_policy = TrafficPolicy::Local)
    }

    /// Sets policy Local for the ClusterIP of the last Service.
    pub fn internal_local(self) -> Self {
        self.edit(|service| service.internal_policy = TrafficPolicy::Local)
    }

    /// Changes the settings.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.cluster.config);
        self
    }

    fn last(&mut self) -> &mut Service {
        self.cluster.services.last_mut().expect("a Service")
    }

    /// The address with this name.
    pub fn address(&self, name: &str) -> IpAddr {
        place(name).address(self.family)
    }

    /// The first packet of a flow.
    pub fn packet(&self, from: &str, to: &str) -> Packet {
        let (name, port) = to.split_once(':').expect("a port");
        let (port, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let known = Protocol::ALL.into_iter().find(|known| known.name() == protocol);
        let icmp = if self.family == Family::Ip { 1 } else { 58 };
        let interface = match place(from) {
            Place::ThisNode(_) | Place::External(_) => None,
            Place::Pod(n) => Some(format!("veth{n}")),
            _ => Some("eth0".to_owned()),
        };
        Packet {
            source: self.address(from),
            destination: self.address(name),
            protocol: known.map_or(icmp, Protocol::number),
            source_port: 40000,
            destination_port: port.parse().expect("a port"),
            input: interface.map_or(Input::Local, |name| Input::Interface(name.into())),
        }
    }

    /// Asserts that both the rules and the reference give the outcomes of the table.
    pub fn expect(&self, scenario: &str, flows: &[Flow<'_>]) {
        let rules = self.cluster.compile();
        for &(from, to, expected) in flows {
            let packet = self.packet(from, to);
            let outcome = self.cluster.simulate(&rules, &packet);
            let by_rules = self.describe(&packet, &answer_of(&outcome));
            assert_eq!(
                by_rules,
                expected,
                "{scenario}: {from} → {to} ({})\n{}\n{}",
                self.family,
                manifest(&self.cluster),
                explain(&outcome)
            );
            let by_reference =
                self.describe(&packet, &answer(&self.cluster, &Clients::default(), &packet).fates);
            assert_eq!(by_reference, expected, "{scenario}: the reference for {from} → {to}");
        }
    }

    /// An answer in a few words.
    pub fn describe(&self, packet: &Packet, answer: &Answer) -> String {
        let mut sent = Vec::new();
        for (fate, probability) in answer {
            match *fate {
                Fate::Sent { to, masqueraded } => {
                    assert_eq!(*probability, Probability::new(1, answer.len() as u64), "{fate}");
                    sent.push((self.endpoint_name(to), masqueraded));
                }
                Fate::Dropped => return "drop".to_owned(),
                Fate::Untouched { masqueraded: false } => return "untouched".to_owned(),
                Fate::Rejected(with) if (with == RejectWith::TcpReset) == (packet.protocol == 6) => {
                    return "reject".to_owned();
                }
                other => return other.to_string(),
            }
        }
        sent.sort();
        let all = sent.iter().all(|(_, masqueraded)| *masqueraded);
        let star = |masqueraded: bool| if masqueraded && !all { "*" } else { "" };
        let names: Vec<String> = sent.iter().map(|(name, m)| format!("{name}{}", star(*m))).collect();
        format!("{}{}", names.join("+"), if all { " SNAT" } else { "" })
    }

    fn endpoint_name(&self, to: SocketAddr) -> String {
        let names = (1..=9).flat_map(|n| [("L", n), ("R", n), ("H", n)]);
        let found = names.map(|(kind, n)| format!("{kind}{n}")).find(|name| self.address(name) == to.ip());
        let name = found.unwrap_or_else(|| to.ip().to_string());
        if to.port() == 80 { name } else { format!("{name}:{}", to.port()) }
    }
}

fn place(name: &str) -> Place {
    let digits = name.find(|c: char| c.is_ascii_digit()).expect("a number");
    let (kind, number) = name.split_at(digits);
    let n: u8 = number.parse().expect("a number");
    match kind {
        "L" => Place::Pod(n),
        "R" => Place::RemotePod(n),
        "H" | "node" => Place::ThisNode(n),
        "othernode" => Place::OtherNode(n),
        "ext" => Place::Outside(n),
        "ClusterIP" => Place::ClusterIp(n),
        "VIP" => Place::External(n),
        "externalIP" => Place::External(100 + n),
        _ => panic!("nothing has the name {name}"),
    }
}

/// An endpoint in the notation of [`Scene::slice`].
pub fn endpoint(family: Family, text: &str) -> Endpoint {
    let mut words = text.split('/');
    let place = place(words.next().unwrap_or_default());
    let here = matches!(place, Place::Pod(_) | Place::ThisNode(_));
    let node = Some(if here { "here" } else { "there" }.into());
    let mut endpoint = Endpoint { node, ..Endpoint::ready(place.address(family)) };
    let mut hints = (Vec::new(), Vec::new());
    for word in words {
        let conditions = match word.split_once('=') {
            Some(("zone", zone)) => {
                hints.0.push(zone.into());
                continue;
            }
            Some(("node", node)) => {
                hints.1.push(node.into());
                continue;
            }
            Some(("weight", weight)) => {
                endpoint.weight = weight.parse().expect("a number");
                continue;
            }
            Some(("on", node)) => {
                endpoint.node = (node != "?").then(|| node.into());
                continue;
            }
            _ => match word {
                "t" => (false, true, true),
                "x" => (false, false, true),
                "n" => (false, true, false),
                "p" => (true, true, true),
                _ => panic!("{word} says nothing of an endpoint"),
            },
        };
        (endpoint.ready, endpoint.serving, endpoint.terminating) = conditions;
    }
    endpoint.hints = Hints::new(hints.0, hints.1);
    endpoint
}
