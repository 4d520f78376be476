//! Random packets, most of them to frontends of Services.

use std::{net::IpAddr, sync::Arc};

use portolan_rules::{
    model::Protocol,
    ruleset::Family,
    simulate::{Input, Packet},
};
use proptest::{
    prelude::*,
    sample::{Index, select},
};

use crate::{
    cluster::Cluster,
    places::Place,
    strategies::{PORTS, family, protocol},
};

/// A packet without a cluster: the destination is not resolved yet.
#[derive(Clone, Debug)]
pub struct Draft {
    source: Place,
    input: Input,
    to: Destination,
}

#[derive(Clone, Debug)]
enum Destination {
    /// One of the cluster's frontends. A node port is reached at this address of the node.
    Frontend(Index, u8),
    /// Any destination.
    Any(Place, Family, u8, u16),
}

fn arriving(interface: &str) -> Input {
    Input::Interface(Arc::from(interface))
}

fn origin() -> impl Strategy<Value = (Place, Input)> {
    let anything = [
        Place::Pod(1),
        Place::RemotePod(1),
        Place::ThisNode(1),
        Place::Outside(1),
        Place::External(1),
        Place::ClusterIp(1),
        Place::Loopback,
    ];
    prop_oneof![
        4 => ((1..=3u8).prop_map(Place::Pod), select(vec![arriving("cni0"), arriving("veth7")])),
        2 => ((1..=3u8).prop_map(Place::RemotePod), Just(arriving("eth0"))),
        3 => (
            select(vec![Place::ThisNode(1), Place::ThisNode(2), Place::External(1), Place::Loopback]),
            Just(Input::Local),
        ),
        3 => (select(vec![Place::Outside(1), Place::Outside(200)]), Just(arriving("eth0"))),
        1 => (Just(Place::OtherNode(1)), Just(arriving("eth0"))),
        1 => (select(anything.to_vec()), select(vec![Input::Local, arriving("eth0"), arriving("cni0")])),
    ]
}

pub fn draft() -> impl Strategy<Value = Draft> {
    let place = prop_oneof![
        3 => (1..=5u8).prop_map(Place::ClusterIp),
        3 => (1..=4u8).prop_map(Place::External),
        3 => (1..=2u8).prop_map(Place::ThisNode),
        1 => (1..=2u8).prop_map(Place::Pod),
        1 => Just(Place::RemotePod(1)),
        1 => Just(Place::OtherNode(1)),
        1 => Just(Place::Outside(1)),
        1 => Just(Place::Loopback),
    ];
    let protocol = prop_oneof![8 => protocol().prop_map(Protocol::number), 1 => Just(ICMP), 1 => Just(ICMP6)];
    let port = prop_oneof![8 => select(&PORTS[..]), 1 => Just(8080)];
    let to = prop_oneof![
        6 => (any::<Index>(), 1..=2u8).prop_map(|(index, node)| Destination::Frontend(index, node)),
        1 => (place, family(), protocol, port).prop_map(|(p, f, n, d)| Destination::Any(p, f, n, d)),
    ];
    (origin(), to).prop_map(|((source, input), to)| Draft { source, input, to })
}

const ICMP: u8 = 1;
const ICMP6: u8 = 58;

impl Draft {
    /// The packet in a cluster.
    pub fn packet(&self, cluster: &Cluster) -> Packet {
        let (destination, protocol, destination_port) = match &self.to {
            Destination::Frontend(index, node) => {
                let frontends = frontends(cluster, *node);
                if frontends.is_empty() {
                    (Place::ClusterIp(1).address(Family::Ip), 6, 80)
                } else {
                    *index.get(&frontends)
                }
            }
            Destination::Any(place, family, protocol, port) => (place.address(*family), *protocol, *port),
        };
        Packet {
            source: self.source.address(Family::of(destination)),
            destination,
            protocol,
            source_port: 40000,
            destination_port,
            input: self.input.clone(),
        }
    }
}

/// The frontends that the Services of a cluster ask for: address, protocol and port.
fn frontends(cluster: &Cluster, node: u8) -> Vec<(IpAddr, u8, u16)> {
    let ports = cluster.services.iter().flat_map(|service| service.ports.iter().map(move |p| (service, p)));
    ports
        .flat_map(|(service, port)| {
            let addresses = [&service.cluster_ips, &service.load_balancer_ips, &service.external_ips]
                .into_iter()
                .flatten();
            let node_ports = port.node_port.into_iter().flat_map(move |number| {
                Family::ALL.map(|f| (Place::ThisNode(node).address(f), port.protocol.number(), number))
            });
            addresses.map(|address| (*address, port.protocol.number(), port.port)).chain(node_ports)
        })
        .collect()
}
