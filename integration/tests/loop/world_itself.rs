//! The world without any rules: every host reaches every destination, with its own address.

use portolan_rules::{
    model::Protocol,
    ruleset::Family,
    simulate::{Input, Memory, Packet},
};

use crate::{cluster::Cluster, places::Place, probe::PATIENCE, strategies::CLUSTER_IPS, world::World};

#[test]
fn every_place_reaches_everything_while_there_are_no_rules() {
    let mut world = World::new().unwrap_or_else(|error| panic!("{error}"));
    let own = [Place::ThisNode(1), Place::ThisNode(2)];
    let cluster = Cluster {
        host: own.iter().flat_map(|place| Family::ALL.map(|family| place.address(family))).collect(),
        ..Cluster::default()
    };
    let rules = world.apply(&cluster).unwrap();
    let arriving = |name: &str| Input::Interface(name.into());
    let mut bad = Vec::new();
    for (source, input) in [
        (Place::Pod(1), arriving("cni0")),
        (Place::Pod(3), arriving("veth7")),
        (Place::RemotePod(1), arriving("eth0")),
        (Place::Outside(200), arriving("eth0")),
        (Place::ThisNode(1), Input::Local),
        (Place::ThisNode(2), Input::Local),
    ] {
        for to in [
            Place::ClusterIp(CLUSTER_IPS),
            Place::External(1),
            Place::Pod(1),
            Place::Pod(2),
            Place::RemotePod(1),
            Place::OtherNode(1),
            Place::Outside(1),
            Place::ThisNode(1),
            Place::ThisNode(2),
        ] {
            for family in Family::ALL {
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    let packet = Packet {
                        source: source.address(family),
                        destination: to.address(family),
                        protocol: protocol.number(),
                        source_port: 0,
                        destination_port: 8080,
                        input: input.clone(),
                    };
                    let probe = world.probe(&cluster, packet).expect("a host here can send it");
                    let outcome = probe.simulate(&cluster, &rules, &Memory::new());
                    let answer = probe.send(PATIENCE);
                    if probe.case(&cluster, &outcome, &answer).is_none() {
                        bad.push(format!("{source:?} to {to:?} over {protocol} and {family}: {answer}"));
                    }
                }
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
