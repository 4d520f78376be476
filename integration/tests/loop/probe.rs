//! A packet to send, and the comparison of its outcome with the simulator's.

use std::{net::SocketAddr, time::Duration};

use portolan_integration::{Answer, Client, Protocol};
use portolan_rules::{
    model,
    simulate::{Case, Fate, Host, Memory, Outcome, Packet, simulate},
};

use crate::{
    cluster::Cluster,
    world::{Rules, World},
};

/// The longest wait for an answer, which takes less than a millisecond on an idle machine.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// How long to wait when no answer is expected.
pub const SILENCE: Duration = Duration::from_millis(80);

/// A first packet and the client that sends it.
#[derive(Clone)]
pub struct Probe {
    client: Client,
    packet: Packet,
    protocol: Protocol,
}

impl Probe {
    /// Creates a probe; `None` for protocols without sockets.
    pub fn new(client: Client, packet: Packet) -> Option<Self> {
        let protocol = match model::Protocol::from_number(packet.protocol)? {
            model::Protocol::Tcp => Protocol::Tcp,
            model::Protocol::Udp => Protocol::Udp,
            model::Protocol::Sctp => return None,
        };
        Some(Self { client, packet, protocol })
    }

    /// Returns the packet.
    pub fn packet(&self) -> &Packet {
        &self.packet
    }

    /// Returns the same probe from another port.
    pub fn with_port(&self, port: u16) -> Self {
        Self { packet: Packet { source_port: port, ..self.packet.clone() }, ..self.clone() }
    }

    /// Sends the packet and waits for an answer.
    pub fn send(&self, limit: Duration) -> Answer {
        let client = self.client.from(self.source()).within(limit);
        client.probe(self.protocol, self.destination())
    }

    /// Simulates what the rules do with the packet, and asserts that the simulator understood every rule.
    pub fn simulate(&self, cluster: &Cluster, rules: &Rules, memory: &Memory) -> Outcome {
        let host = Host { local_addresses: cluster.host.clone() };
        let outcome = simulate(rules, &host, &self.packet, memory);
        assert!(outcome.cases.iter().all(Case::is_certain), "a rule without meaning");
        outcome
    }

    /// Returns the case of the outcome that an answer shows, if there is one.
    pub fn case<'a>(&self, cluster: &Cluster, outcome: &'a Outcome, answer: &Answer) -> Option<&'a Case> {
        let is_shown = |case: &&Case| match (case.fate, answer) {
            (Fate::Sent { to, masqueraded }, Answer::Served { server, seen }) => {
                *server == to.to_string() && self.is_source(cluster, *seen, masqueraded)
            }
            (Fate::Untouched { masqueraded }, Answer::Served { server, seen }) => {
                *server == self.destination().to_string() && self.is_source(cluster, *seen, masqueraded)
            }
            (Fate::Rejected(_), Answer::Refused { .. }) | (Fate::Dropped, Answer::TimedOut) => true,
            _ => false,
        };
        outcome.cases.iter().find(is_shown)
    }

    /// Whether a server may see this source: the sender itself, or, if masqueraded, the node with a random port.
    pub fn is_source(&self, cluster: &Cluster, seen: SocketAddr, masqueraded: bool) -> bool {
        if masqueraded {
            seen != self.source() && cluster.host.contains(&seen.ip())
        } else {
            seen == self.source()
        }
    }

    fn source(&self) -> SocketAddr {
        (self.packet.source, self.packet.source_port).into()
    }

    fn destination(&self) -> SocketAddr {
        (self.packet.destination, self.packet.destination_port).into()
    }
}

/// How often a probe is sent again when its ports are ambiguous.
const DOUBTS: usize = 10;

/// Sends a probe, and waits until it is clear whether it meets this outcome.
///
/// Ports may be ambiguous if the sender's address is the node's own: the kernel also changes the port of a connection
/// that is not masqueraded if a masqueraded one already has that port at the same endpoint; and the random port of a
/// masqueraded connection may happen to be its original one. Neither happens many times in a row.
pub fn send(
    world: &World,
    cluster: &Cluster,
    probe: &Probe,
    outcome: &Outcome,
    patience: Duration,
) -> Answer {
    let silent = outcome.only_fate() == Some(Fate::Dropped);
    let limit = if silent { SILENCE } else { patience };
    let (mut sent, mut answer) = (probe.clone(), probe.send(limit));
    for _ in 0..DOUBTS {
        let in_doubt = matches!(&answer, Answer::Served { seen, .. } if seen.ip() == probe.source().ip());
        if !in_doubt || sent.case(cluster, outcome, &answer).is_some() {
            break;
        }
        sent = world.again(probe);
        answer = sent.send(limit);
    }
    match answer {
        // The answer to another port counts for this one.
        Answer::Served { server, seen } if seen == sent.source() => {
            Answer::Served { server, seen: probe.source() }
        }
        answer => answer,
    }
}

/// Returns the name of a case.
pub fn kind(case: &Case) -> &'static str {
    match case.fate {
        Fate::Sent { masqueraded: false, .. } => "sent",
        Fate::Sent { masqueraded: true, .. } => "masqueraded",
        Fate::Rejected(_) => "rejected",
        Fate::Dropped => "dropped",
        Fate::Untouched { .. } => "untouched",
        Fate::Unknown(_) => "unknown",
    }
}

/// Returns the cluster with affinities that do not expire during the test, on a node that knows its Pods' networks.
pub fn lasting(mut cluster: Cluster) -> Cluster {
    cluster.node.pod_cidrs =
        ["10.1.1.0/24", "fd00:1:1::/48"].map(|text| text.parse().expect("a network")).into();
    for service in &mut cluster.services {
        service.affinity_timeout = service.affinity_timeout.map(|timeout| timeout.max(600));
    }
    cluster
}
