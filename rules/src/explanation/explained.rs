//! What is explained, and what an explanation consists of.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use super::{
    reason::{Reason, Severity},
    workload::Workloads,
};
use crate::{
    compile::Compiler,
    frontends::{FrontendKey, FrontendKind},
    model::{ObjectName, Service, ServicePort, TrafficPolicy},
    ruleset::{Family, Ruleset},
    simulate::Host,
    state::State,
};

/// The rules that are explained: the ruleset that was read, or that of the compiler, which is made when it is first
/// needed.
pub type Rules = OnceLock<Ruleset>;

/// The input of an explanation.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The cluster, as this node knows it.
    pub state: &'a State,
    /// The compiler that compiled the state.
    pub compiler: &'a Compiler,
    /// The rules that the state compiles to, or those that the kernel holds.
    pub rules: &'a Rules,
    /// The node's addresses.
    pub host: &'a Host,
    /// The Pods behind the Services.
    pub workloads: &'a Workloads,
}

/// A Service.
#[derive(Clone, Debug)]
pub struct ExplainedService {
    /// The Service.
    pub service: Arc<Service>,
    /// Each of its ports in each of its families.
    pub ports: Vec<ExplainedPort>,
    /// What is wrong with it, the worst first.
    pub findings: Vec<Finding>,
}

/// A port of a Service in one family.
#[derive(Clone, Debug)]
pub struct ExplainedPort {
    /// The port.
    pub port: ServicePort,
    /// The family.
    pub family: Family,
    /// The frontends at which it can be reached.
    pub frontends: Vec<ExplainedFrontend>,
    /// Every endpoint that the slices list for it.
    pub endpoints: Vec<ExplainedEndpoint>,
}

impl ExplainedPort {
    /// The policies in force, `Cluster` first.
    pub fn policies(&self) -> impl Iterator<Item = TrafficPolicy> {
        let is_in_force =
            |policy: &TrafficPolicy| self.frontends.iter().any(|frontend| frontend.policy == *policy);
        TrafficPolicy::ALL.into_iter().filter(is_in_force)
    }
}

impl fmt::Display for ExplainedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServicePort { name, port, protocol, .. } = &self.port;
        let space = if name.is_empty() { "" } else { " " };
        write!(f, "{name}{space}{port}/{protocol} ({})", self.family)
    }
}

/// A frontend.
#[derive(Clone, Debug)]
pub struct ExplainedFrontend {
    /// Address or node port.
    pub key: FrontendKey,
    /// Its kind.
    pub kind: FrontendKind,
    /// The traffic policy that applies to it.
    pub policy: TrafficPolicy,
    /// Why it does not belong to this Service.
    pub left_out: Option<Reason>,
    /// Whether its address or port is a stand-in for one that a cluster would assign.
    pub is_stand_in: bool,
}

/// An endpoint.
#[derive(Clone, Debug)]
pub struct ExplainedEndpoint {
    /// Address and port.
    pub at: SocketAddr,
    /// Its node, if its name is known.
    pub node: Option<Arc<str>>,
    /// Its Pod, if the input has it.
    pub pod: Option<ObjectName>,
    /// Its weight.
    pub weight: u16,
    /// Whether its Pod is being deleted.
    pub terminating: bool,
    /// Whether its address is a stand-in for one that a cluster would assign.
    pub is_stand_in: bool,
    /// Why policy `Cluster` does not lead to it.
    pub cluster: Option<Reason>,
    /// Why policy `Local` does not lead to it.
    pub local: Option<Reason>,
}

impl ExplainedEndpoint {
    /// Why this policy does not lead to it.
    pub const fn left_out(&self, policy: TrafficPolicy) -> Option<&Reason> {
        match policy {
            TrafficPolicy::Cluster => self.cluster.as_ref(),
            TrafficPolicy::Local => self.local.as_ref(),
        }
    }
}

/// Something that is wrong with a Service, or worth knowing about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is here.
    pub severity: Severity,
    /// Why.
    pub reason: Reason,
    /// The Service.
    pub service: ObjectName,
    /// The part of the Service: a port or a frontend; empty for the whole Service.
    pub subject: String,
}
