//! Which flows are stale after a change: every flow that leads to the wrong place is named, and no other.
#![allow(missing_docs, reason = "a test has no readers of its interface")]

mod listed;
mod random;
mod udp;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use portolan_rules::{
    compile::Compiler,
    incremental::flows::{Destination, Flows, Stale},
    model::{Endpoint, EndpointPort, EndpointSlice, Node, ObjectName, Protocol, Service, ServicePort},
    plane::Config,
    ruleset::Ruleset,
    state::State,
};

const NODE: &str = "192.0.2.1";
const OTHER_NODE_ADDRESS: &str = "192.0.2.2";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn service(name: &str, cluster_ip: u8, protocol: Protocol, port: u16, node_port: Option<u16>) -> Service {
    let cluster_ips = vec![[10, 96, 0, cluster_ip].into(), format!("fd00::{cluster_ip}").parse().unwrap()];
    let ports = vec![ServicePort { name: "".into(), protocol, port, node_port }];
    Service::cluster_ip(ObjectName::new("default", name), cluster_ips, ports)
}

#[derive(Clone, Copy, Debug)]
enum Condition {
    Ready,
    Draining,
    NotReady,
    /// Ready, but with weight 0.
    Drained,
    Gone,
}

impl Condition {
    fn endpoint(self, address: IpAddr) -> Endpoint {
        Endpoint {
            ready: matches!(self, Self::Ready | Self::Drained),
            serving: !matches!(self, Self::Gone),
            terminating: matches!(self, Self::Draining),
            node: Some("elsewhere".into()),
            weight: u16::from(!matches!(self, Self::Drained)),
            ..Endpoint::ready(address)
        }
    }
}

fn slice(service: &str, port: u16, endpoints: &[(u8, Condition)]) -> EndpointSlice {
    let addresses = |n: u8| [IpAddr::from([10, 0, 0, n]), format!("fd01::{n}").parse().unwrap()];
    EndpointSlice {
        name: ObjectName::new("default", service),
        service: service.into(),
        ports: Protocol::ALL.map(|protocol| EndpointPort { name: "".into(), protocol, port }).into(),
        endpoints: endpoints
            .iter()
            .flat_map(|(n, condition)| addresses(*n).map(|address| condition.endpoint(address)))
            .collect(),
    }
}

/// One Service `dns` at 10.96.0.1:53 and node port 30053, for UDP unless a test specifies another protocol, and the
/// flows that each change makes stale.
struct Dns {
    state: State,
    compiler: Compiler,
}

impl Dns {
    fn new(endpoints: &[(u8, Condition)]) -> Self {
        let mut dns = Self { state: State::new(Node::default()), compiler: Compiler::new(Config::default()) };
        dns.compiler.set_node_addresses(&[NODE.parse().unwrap()].into());
        dns.set_service(Some(service("dns", 1, Protocol::Udp, 53, Some(30_053))));
        dns.set_endpoints(53, endpoints);
        dns.compiler.load(&mut dns.state, &Ruleset::default());
        dns
    }

    fn set_service(&mut self, service: Option<Service>) {
        self.state.set_service(&ObjectName::new("default", "dns"), service.map(Arc::new));
    }

    fn set_endpoints(&mut self, port: u16, endpoints: &[(u8, Condition)]) {
        let slice = slice("dns", port, endpoints);
        self.state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
    }

    /// Updates, and returns the IPv4 destinations of UDP that the update names.
    fn stale(&mut self) -> Vec<String> {
        let stale = self.compiler.update(&mut self.state).stale.udp;
        let v4: Vec<_> = stale.iter().filter(|at| at.is_ipv4()).map(ToString::to_string).collect();
        let v6 = stale.iter().filter(|at| at.is_ipv6() && at.port() == 53).count();
        assert_eq!(v6, v4.iter().filter(|at| at.ends_with(":53")).count(), "the families do not differ");
        v4
    }

    fn is_stale(&self, destination: &str, source: &str) -> bool {
        self.compiler.flows([at(destination)]).is_stale(Destination::udp(at(destination)), at(source))
    }

    /// The Service with TCP or SCTP instead of UDP.
    fn of(protocol: Protocol, endpoints: &[(u8, Condition)]) -> Self {
        let mut dns = Self::new(endpoints);
        dns.set_service(Some(service("dns", 1, protocol, 53, Some(30_053))));
        dns.compiler.update(&mut dns.state);
        dns
    }

    /// Updates, and returns the IPv4 endpoints that are gone with the update, at all frontends.
    fn gone(&mut self) -> Vec<String> {
        let stale = self.compiler.update(&mut self.state).stale;
        assert_eq!(stale.udp, BTreeSet::new());
        let at = |destination: &str| {
            let moved = stale.moved.iter().find(|(d, _)| d.at == at(destination)).map(|(_, moved)| moved);
            moved.into_iter().flat_map(|moved| &*moved.gone).map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(at(BOTH[0]), at(BOTH[1]), "the frontends do not differ");
        assert_eq!(at(BOTH[0]).len(), at("[fd00::1]:53").len(), "the families do not differ");
        at(BOTH[0])
    }
}

const BOTH: [&str; 2] = ["10.96.0.1:53", "192.0.2.1:30053"];

/// Adds the flows to look for after one more update.
fn follow(flows: &mut Flows, compiler: &Compiler, update: &Stale) {
    flows.follow(update, |udp| compiler.flows(udp));
    flows.extend(compiler.flows(update.udp.iter().copied()));
    flows.extend(update.gone());
}
