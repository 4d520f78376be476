//! Classes: how the first packet of a connection to a frontend is treated.
//!
//! A class is a number in the frontends map and a chain. Its number is computed from what it means, so
//! nothing has to be remembered for a restart to arrive at the same numbers.

use ipnetwork::IpNetwork;

use crate::ruleset::{
    BitOp, Chain, ClassId, Expression, Family, Field, MatchValue, Name, RejectWith, Rule, Statement,
    WritableField,
};

use super::scaffold::{Config, chains};

/// A treatment together with what it needs to know. Displayed and used as the name of its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Refuse: no endpoint anywhere.
    NoEndpoints,
    /// A ClusterIP with this many endpoints: masquerade what does not come from a pod.
    Cluster(u16),
    /// An external address (load balancer, externalIP) with this many endpoints: masquerade everything.
    External(u16),
    /// A node port with this many endpoints: masquerade everything.
    NodePort(u16),
}

impl Class {
    /// The value in the frontends map: the treatment above, the number of endpoints below.
    pub const fn id(self) -> ClassId {
        let (treatment, endpoints) = match self {
            Self::NoEndpoints => (0, 1),
            Self::Cluster(n) => (1, n),
            Self::External(n) => (2, n),
            Self::NodePort(n) => (3, n),
        };
        ClassId(treatment << 16 | endpoints as u32)
    }

    /// The chain that the class leads to.
    pub fn chain_name(self) -> Name {
        match self {
            Self::NoEndpoints => chains::NO_ENDPOINTS.into(),
            Self::Cluster(n) => format!("cluster-{n}").into(),
            Self::External(n) => format!("external-{n}").into(),
            Self::NodePort(n) => format!("node-port-{n}").into(),
        }
    }

    /// Whether the class exists whatever the Services are.
    pub const fn is_constant(self) -> bool {
        matches!(self, Self::NoEndpoints)
    }

    /// The chain with its rules.
    pub fn chain(self, config: &Config, family: Family) -> Chain {
        let rules = match self {
            Self::NoEndpoints => vec![
                Rule::new([
                    Statement::equal(Field::L4Proto, MatchValue::Proto(6)),
                    Statement::Reject(RejectWith::TcpReset),
                ]),
                Rule::new([Statement::Reject(RejectWith::PortUnreachable)]),
            ],
            Self::Cluster(n) => {
                let mut rules = Vec::from_iter(masquerade_non_pods(config, family));
                rules.push(draw(n, chains::SEND));
                rules
            }
            Self::External(n) => vec![Rule::new([mark(config)]), draw(n, chains::SEND)],
            Self::NodePort(n) => vec![Rule::new([mark(config)]), draw(n, chains::SEND_NODE_PORT)],
        };
        Chain::regular(self.chain_name(), rules)
    }
}

/// `meta mark set meta mark | bit`: postrouting masquerades what carries the bit.
fn mark(config: &Config) -> Statement {
    let marked = Expression::from(Field::Mark).bitwise(BitOp::Or, config.masquerade_mark());
    Statement::set(WritableField::Mark, marked)
}

/// Marks connections to a ClusterIP that do not come from a pod. Without a way to tell pods from the
/// rest nothing is marked, unless everything is to be.
fn masquerade_non_pods(config: &Config, family: Family) -> Option<Rule> {
    if config.masquerade_all {
        return Some(Rule::new([mark(config)]));
    }
    let pods = config.cluster_cidrs.iter().find(|cidr| family_of(cidr) == family)?;
    Some(Rule::new([Statement::not_equal(Field::SourceAddress, MatchValue::Prefix(*pods)), mark(config)]))
}

fn family_of(network: &IpNetwork) -> Family {
    Family::of(network.ip())
}

/// Draws a slot with equal probability and sends the packet there.
fn draw(endpoints: u16, send: &str) -> Rule {
    Rule::new([
        Statement::set(
            WritableField::Priority,
            Expression::Random { modulus: u32::from(endpoints), offset: 0 },
        ),
        Statement::goto(send),
    ])
}
