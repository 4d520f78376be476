//! Queries to the reconciler about what it holds, for the commands that explain and for pages.

use std::{
    collections::{BTreeSet, HashSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnetwork::IpNetwork;
use portolan_rules::{
    compile::Compiler,
    explanation::{Compiled, trace::service_name},
    model::{EndpointSlice, Node, ObjectName, Service},
    plane::Config,
    ruleset::Ruleset,
    state::State,
};
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::timeout};

/// How long an answer may take: the reconciler may be committing to a kernel that holds a lot.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which Services, with their slices, are wanted. Services that contend for the same frontends are included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of them.
    All,
    /// The Services of a namespace.
    Namespace(Box<str>),
    /// One Service.
    Service(ObjectName),
    /// The Services that name this address, or this port as a node port.
    Frontend(SocketAddr),
}

impl Wanted {
    /// No Service: no Service has the unspecified address.
    pub const NOTHING: Self = Self::Frontend(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));

    /// The Services with these names; without names, those of a namespace, or all.
    pub fn of(names: &[ObjectName], namespace: Option<&str>) -> Self {
        match (names, namespace) {
            ([name], _) => Self::Service(name.clone()),
            ([], Some(namespace)) => Self::Namespace(namespace.into()),
            _ => Self::All,
        }
    }

    /// The namespace that the wanted Services are in, if there is a single one.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::All | Self::Frontend(_) => None,
            Self::Namespace(namespace) => Some(namespace),
            Self::Service(name) => Some(&name.namespace),
        }
    }

    /// The Services that decide where connections to a destination, as `trace` accepts it, go. `None` if it is invalid.
    pub fn of_destination(to: &str) -> Option<Self> {
        if let Ok(address) = to.parse() {
            return Some(Self::Frontend(address));
        }
        if let Some(port) = to.strip_prefix(':').and_then(|port| port.parse().ok()) {
            // A node port, at no particular address.
            return Some(Self::Frontend(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)));
        }
        service_name(to).map(|(name, _)| Self::Service(name))
    }
}

/// A query, and where the answer goes.
#[derive(Debug)]
pub struct Query {
    /// What is wanted.
    pub wanted: Wanted,
    /// Takes the answer; the query ends when this is dropped.
    pub reply: oneshot::Sender<Snapshot>,
}

/// What the agent holds at one moment. Its objects are shared with the agent's state.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Snapshot {
    /// This node.
    pub node: Node,
    /// The configuration that the rules depend on.
    pub config: Config,
    /// The addresses that answer node ports.
    pub node_port_addresses: Vec<IpAddr>,
    /// The addresses of this node.
    pub node_ips: Vec<IpAddr>,
    /// The networks of ClusterIPs.
    pub service_cidrs: Vec<IpNetwork>,
    /// The wanted Services. They and their slices are serialized separately ([`super::state_values`]).
    #[serde(skip)]
    pub services: Vec<Arc<Service>>,
    /// Their slices.
    #[serde(skip)]
    pub slices: Vec<Arc<EndpointSlice>>,
    /// Number of all Services.
    pub total: usize,
    /// The Services that changed and are not in the kernel yet.
    pub waiting: BTreeSet<ObjectName>,
    /// The Services that the kernel refuses, each with the kernel's error.
    pub quarantined: Vec<(ObjectName, String)>,
}

impl Snapshot {
    /// A copy with only these Services and their slices.
    #[must_use]
    pub fn only(&self, names: &HashSet<&ObjectName>) -> Self {
        let has_slice = |slice: &EndpointSlice| {
            let (namespace, name) = (slice.name.namespace.clone(), slice.service.clone());
            names.contains(&ObjectName { namespace, name })
        };
        Self {
            services: self.services.iter().filter(|service| names.contains(&service.name)).cloned().collect(),
            slices: self.slices.iter().filter(|slice| has_slice(slice)).cloned().collect(),
            ..self.clone()
        }
    }

    /// Compiles the snapshot as the agent that holds it does, with the slots and numbers that the kernel holds.
    pub fn compile(&self, kernel: &Ruleset) -> Compiled {
        let mut state = State::new(self.node.clone());
        state.replace_services(self.services.iter().map(|it| (it.name.clone(), it.clone())).collect());
        state.replace_slices(self.slices.iter().map(|it| (it.name.clone(), it.clone())).collect());
        for (name, _) in &self.quarantined {
            state.quarantine(name, true);
        }
        let mut compiler = Compiler::new(self.config.clone());
        compiler.set_node_addresses(&self.node_port_addresses.iter().copied().collect());
        compiler.set_node_ips(&mut state, self.node_ips.clone());
        compiler.set_service_cidrs(&mut state, &self.service_cidrs);
        Compiled::new(compiler, state, kernel)
    }
}

/// Queries the reconciler; clones query the same one.
#[derive(Clone)]
pub struct Asker(Arc<dyn Fn(Query) -> bool + Send + Sync>);

/// The reconciler does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent is busy, or has not read its input yet")]
pub struct Unanswered;

impl Asker {
    /// Creates an asker that calls `ask`, which returns false if the reconciler is gone and never waits.
    pub fn new(ask: impl Fn(Query) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Sends a query and waits for the answer.
    ///
    /// # Errors
    /// No answer came in time.
    pub async fn ask(&self, wanted: Wanted) -> Result<Snapshot, Unanswered> {
        let (reply, answer) = oneshot::channel();
        if !(self.0)(Query { wanted, reply }) {
            return Err(Unanswered);
        }
        timeout(PATIENCE, answer).await.ok().and_then(Result::ok).ok_or(Unanswered)
    }
}
