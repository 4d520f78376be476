//! A packet that is sent, and whether what it met is what the simulator says.

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

/// How long an answer may take that takes less than a millisecond on an idle machine.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// How long silence must last.
pub const SILENCE: Duration = Duration::from_millis(80);

/// A first packet and the place that it is sent from.
#[derive(Clone)]
pub struct Probe {
    client: Client,
    packet: Packet,
    protocol: Protocol,
}

impl Probe {
    /// None for protocols that there are no sockets for.
    pub fn new(client: Client, packet: Packet) -> Option<Self> {
        let protocol = match model::Protocol::from_number(packet.protocol)? {
            model::Protocol::Tcp => Protocol::Tcp,
            model::Protocol::Udp => Protocol::Udp,
            model::Protocol::Sctp => return None,
        };
        Some(Self { client, packet, protocol })
    }

    /// The packet.
    pub fn packet(&self) -> &Packet {
        &self.packet
    }

    /// The same from another port.
    pub fn with_port(&self, port: u16) -> Self {
        Self { packet: Packet { source_port: port, ..self.packet.clone() }, ..self.clone() }
    }

    /// Sends it.
    pub fn send(&self, limit: Duration) -> Answer {
        let client = self.client.from(self.source()).within(limit);
        client.probe(self.protocol, self.destination())
    }

    /// What the rules do with it. Before it is compared, make sure that the simulator understood every rule.
    pub fn simulate(&self, cluster: &Cluster, rules: &Rules, memory: &Memory) -> Outcome {
        let host = Host { local_addresses: cluster.host.clone() };
        let outcome = simulate(rules, &host, &self.packet, memory);
        assert!(outcome.cases.iter().all(Case::is_certain), "a rule without meaning");
        outcome
    }

    /// The case that an answer shows, if it is one that may happen.
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

    /// Whether a server sees this source: the sender, or another port, chosen at random, of the node.
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

/// How often a probe is sent again whose ports mislead.
const DOUBTS: usize = 10;

/// Sends a probe, and waits until it is clear whether it meets this outcome.
///
/// Ports may mislead where the address is the sender's own: the kernel also changes the port of a connection that it does
/// not masquerade, if one that it does has that port at the same endpoint already; and the random port of one that it
/// does may happen to be the one that it had. Neither happens many times in a row.
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
        // The answer to another port stands for this one.
        Answer::Served { server, seen } if seen == sent.source() => {
            Answer::Served { server, seen: probe.source() }
        }
        answer => answer,
    }
}

/// What a case is, in a word.
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

/// The cluster with affinities that do not end while it is tried, on a node that knows the network of its Pods.
pub fn lasting(mut cluster: Cluster) -> Cluster {
    cluster.node.pod_cidrs =
        ["10.1.1.0/24", "fd00:1:1::/48"].map(|text| text.parse().expect("a network")).into();
    for service in &mut cluster.services {
        service.affinity_timeout = service.affinity_timeout.map(|timeout| timeout.max(600));
    }
    cluster
}
