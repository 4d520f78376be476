//! Classes: how the first packet of a connection to a frontend is treated.
//!
//! A class is a number in the frontends map and a chain. Its number is computed from what it means, so
//! nothing has to be remembered for a restart to arrive at the same numbers. Whatever one Service has
//! and another has not (its endpoints, its source ranges) is an element of a map: chains multiply with
//! the number of *different numbers of endpoints* only.

use crate::ruleset::{
    Chain, ClassId, Expression, Family, Field, MatchValue, Name, RejectWith, Rule, Statement, Verdict,
    WritableField,
};

use super::{
    config::Config,
    scaffold::{LOCAL_SLOTS, chains, in_source_ranges},
    sets::SetName,
};

/// A treatment together with the number of endpoints that it draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Refuse: no endpoint anywhere.
    NoEndpoints,
    /// Drop: endpoints elsewhere only, and the policy wants those of this node.
    NoLocalEndpoints,
    /// As [`Class::NoEndpoints`] for sources in the Service's ranges, silence for all others.
    RestrictedNoEndpoints,
    /// A ClusterIP: masquerade what does not come from a pod.
    Cluster(u16),
    /// An external address (load balancer, externalIP): masquerade everything.
    External(u16),
    /// A node port: masquerade everything.
    NodePort(u16),
    /// An external address under policy Local with this many endpoints on this node.
    Local(u16),
    /// As [`Class::External`] for sources in the Service's ranges (`loadBalancerSourceRanges`).
    RestrictedExternal(u16),
    /// As [`Class::Local`] for sources in the Service's ranges.
    RestrictedLocal(u16),
    /// A node port under policy Local with this many endpoints on this node.
    NodePortLocal(u16),
    /// An address, without masquerading: what traffic from pods under policy Local is led to.
    Direct(u16),
    /// A node port, without masquerading.
    NodePortDirect(u16),
}

impl Class {
    /// The classes that exist whatever the Services are.
    pub const CONSTANT: [Self; 3] = [Self::NoEndpoints, Self::NoLocalEndpoints, Self::RestrictedNoEndpoints];

    /// The value in the frontends map: the treatment above, the number of endpoints below.
    pub const fn id(self) -> ClassId {
        let (treatment, endpoints) = match self {
            Self::NoEndpoints => (0, 1),
            Self::NoLocalEndpoints => (0, 2),
            Self::RestrictedNoEndpoints => (0, 3),
            Self::Cluster(n) => (1, n),
            Self::External(n) => (2, n),
            Self::NodePort(n) => (3, n),
            Self::Local(n) => (4, n),
            Self::NodePortLocal(n) => (5, n),
            Self::Direct(n) => (6, n),
            Self::NodePortDirect(n) => (7, n),
            Self::RestrictedExternal(n) => (8, n),
            Self::RestrictedLocal(n) => (9, n),
        };
        ClassId(treatment << 16 | endpoints as u32)
    }

    /// The chain that the class leads to.
    pub fn chain_name(self) -> Name {
        match self {
            Self::NoEndpoints => chains::NO_ENDPOINTS.into(),
            Self::NoLocalEndpoints => chains::NO_LOCAL_ENDPOINTS.into(),
            Self::RestrictedNoEndpoints => "restricted-no-endpoints".into(),
            Self::RestrictedExternal(n) => format!("restricted-external-{n}").into(),
            Self::RestrictedLocal(n) => format!("restricted-local-{n}").into(),
            Self::Cluster(n) => format!("cluster-{n}").into(),
            Self::External(n) => format!("external-{n}").into(),
            Self::NodePort(n) => format!("node-port-{n}").into(),
            Self::Local(n) => format!("local-{n}").into(),
            Self::NodePortLocal(n) => format!("node-port-local-{n}").into(),
            Self::Direct(n) => format!("direct-{n}").into(),
            Self::NodePortDirect(n) => format!("node-port-direct-{n}").into(),
        }
    }

    /// The verdict map that leads to the chain. Classes that other chains lead to have one of their own: a
    /// verdict map that could lead to a chain that reads it would be a loop, which the kernel refuses.
    pub const fn verdict_map(self) -> SetName {
        match self {
            Self::Direct(_) | Self::NodePortDirect(_) => SetName::DirectClasses,
            _ => SetName::Classes,
        }
    }

    /// The class that sources in the Service's ranges get, if this one keeps others out.
    pub const fn admitted(self) -> Option<Self> {
        match self {
            Self::RestrictedNoEndpoints => Some(Self::NoEndpoints),
            Self::RestrictedExternal(n) => Some(Self::External(n)),
            Self::RestrictedLocal(n) => Some(Self::Local(n)),
            _ => None,
        }
    }

    /// The class that keeps out who is not in the Service's ranges and is this one for all others.
    #[must_use]
    pub const fn restricted(self) -> Self {
        match self {
            Self::NoEndpoints => Self::RestrictedNoEndpoints,
            Self::External(n) => Self::RestrictedExternal(n),
            Self::Local(n) => Self::RestrictedLocal(n),
            other => other,
        }
    }

    /// Whether the class exists whatever the Services are.
    pub fn is_constant(self) -> bool {
        Self::CONSTANT.contains(&self)
    }

    /// The chain with its rules.
    pub fn chain(self, config: &Config, family: Family) -> Chain {
        let mut rules = Vec::new();
        match self {
            Self::NoEndpoints => {
                // A reset is answered at once and never rate limited, unlike an ICMP error.
                rules.push(Rule::new([
                    Statement::equal(Field::L4Proto, MatchValue::Proto(6)),
                    Statement::Reject(RejectWith::TcpReset),
                ]));
                rules.push(Rule::new([Statement::Reject(RejectWith::PortUnreachable)]));
            }
            Self::NoLocalEndpoints => rules.push(Rule::new([Statement::Verdict(Verdict::Drop)])),
            Self::RestrictedNoEndpoints | Self::RestrictedExternal(_) | Self::RestrictedLocal(_) => {
                let admitted = self.admitted().unwrap_or(Self::NoEndpoints);
                rules.push(Rule::new([in_source_ranges(), Statement::goto(admitted.chain_name())]));
                rules.push(Rule::new([Statement::Verdict(Verdict::Drop)]));
            }
            Self::Cluster(n) => {
                rules.extend(masquerade_non_pods(config, family));
                rules.push(draw(n, 0, chains::SEND));
            }
            Self::External(n) => {
                rules.push(Rule::new([config.mark()]));
                rules.push(draw(n, 0, chains::SEND));
            }
            Self::NodePort(n) => {
                rules.push(Rule::new([config.mark()]));
                rules.push(draw(n, 0, chains::SEND_NODE_PORT));
            }
            Self::Local(n) => {
                rules.extend(short_circuit(config, family, chains::SHORT_CIRCUIT));
                rules.push(draw_local(n, chains::SEND));
            }
            Self::NodePortLocal(n) => {
                rules.extend(short_circuit(config, family, chains::SHORT_CIRCUIT_NODE_PORT));
                rules.push(draw_local(n, chains::SEND_NODE_PORT));
            }
            Self::Direct(n) => rules.push(draw(n, 0, chains::SEND)),
            Self::NodePortDirect(n) => rules.push(draw(n, 0, chains::SEND_NODE_PORT)),
        }
        Chain::regular(self.chain_name(), rules)
    }
}

/// Marks connections to a ClusterIP that do not come from a pod. Without a way to tell pods from the
/// rest nothing is marked, unless everything is to be.
fn masquerade_non_pods(config: &Config, family: Family) -> Option<Rule> {
    if config.masquerade_all {
        return Some(Rule::new([config.mark()]));
    }
    let not_a_pod = config.pods.not_from(family)?;
    Some(Rule::new([not_a_pod, config.mark()]))
}

/// Under policy Local, pods and this node reach every endpoint, as if they had used the ClusterIP; only
/// what comes from outside is held to the endpoints of this node.
fn short_circuit(config: &Config, family: Family, chain: &str) -> Vec<Rule> {
    let pods = config.pods.from(family).map(|from_pod| Rule::new([from_pod, Statement::goto(chain)]));
    let this_node = Rule::new([
        Statement::equal(Field::SourceAddressType, MatchValue::Local),
        config.mark(),
        Statement::goto(chain),
    ]);
    pods.into_iter().chain([this_node]).collect()
}

/// Draws a slot with equal probability and sends the packet there.
fn draw(endpoints: u16, offset: u32, send: &str) -> Rule {
    let slot = Expression::Random { modulus: u32::from(endpoints), offset };
    Rule::new([Statement::set(WritableField::Priority, slot), Statement::goto(send)])
}

/// The same among the slots of policy Local; with none of them, silence, so that the client tries again
/// and lands on another node.
fn draw_local(endpoints: u16, send: &str) -> Rule {
    match endpoints {
        0 => Rule::new([Statement::Verdict(Verdict::Drop)]),
        n => draw(n, LOCAL_SLOTS, send),
    }
}
