//! Questions to the reconciler: what it holds, for the commands that explain and for pages.

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

/// How long an answer may take: the reconciler may be committing to a kernel that holds very much.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which Services, with their slices, are wanted. What decides on their frontends comes with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of them.
    All,
    /// Those of a namespace.
    Namespace(Box<str>),
    /// One.
    Service(ObjectName),
    /// Those that name this address, or this number as a node port.
    Frontend(SocketAddr),
}

impl Wanted {
    /// No Service: nothing is at no address.
    pub const NOTHING: Self = Self::Frontend(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));

    /// The Services with these names; without names, those of a namespace, or all.
    pub fn of(names: &[ObjectName], namespace: Option<&str>) -> Self {
        match (names, namespace) {
            ([name], _) => Self::Service(name.clone()),
            ([], Some(namespace)) => Self::Namespace(namespace.into()),
            _ => Self::All,
        }
    }

    /// The namespace that the wanted Services are in, if it is one.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::All | Self::Frontend(_) => None,
            Self::Namespace(namespace) => Some(namespace),
            Self::Service(name) => Some(&name.namespace),
        }
    }

    /// What says where connections go, to a destination as `trace` takes it. Nothing if it is none.
    pub fn of_destination(to: &str) -> Option<Self> {
        if let Ok(address) = to.parse() {
            return Some(Self::Frontend(address));
        }
        if let Some(port) = to.strip_prefix(':').and_then(|port| port.parse().ok()) {
            // At no address in particular.
            return Some(Self::Frontend(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)));
        }
        service_name(to).map(|(name, _)| Self::Service(name))
    }
}

/// A question, and where the answer goes.
#[derive(Debug)]
pub struct Query {
    /// What is wanted.
    pub wanted: Wanted,
    /// Takes the answer; the question is over when it is dropped.
    pub reply: oneshot::Sender<Snapshot>,
}

/// What the agent holds at one moment. Its objects are shared with the agent's state.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Snapshot {
    /// This node.
    pub node: Node,
    /// What the rules depend on.
    pub config: Config,
    /// The addresses that answer node ports.
    pub node_port_addresses: Vec<IpAddr>,
    /// The addresses that are this node's.
    pub node_ips: Vec<IpAddr>,
    /// The networks of ClusterIPs.
    pub service_cidrs: Vec<IpNetwork>,
    /// The Services that are wanted. They and their slices are written one by one ([`super::state_values`]).
    #[serde(skip)]
    pub services: Vec<Arc<Service>>,
    /// Their slices.
    #[serde(skip)]
    pub slices: Vec<Arc<EndpointSlice>>,
    /// Number of all Services.
    pub total: usize,
    /// The Services that changed and are not in the kernel yet.
    pub waiting: BTreeSet<ObjectName>,
    /// The Services that the kernel refuses, each with its words.
    pub quarantined: Vec<(ObjectName, String)>,
}

impl Snapshot {
    /// The same with no other Services than these.
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

    /// Compiles it as the agent does that holds it, with the slots and numbers of what the kernel holds.
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

/// Asks the reconciler; clones ask the same.
#[derive(Clone)]
pub struct Asker(Arc<dyn Fn(Query) -> bool + Send + Sync>);

/// The reconciler does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent is busy, or has not read its input yet")]
pub struct Unanswered;

impl Asker {
    /// Asks through this, which is false if the reconciler is gone, and never waits.
    pub fn new(ask: impl Fn(Query) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// None came in time.
    pub async fn ask(&self, wanted: Wanted) -> Result<Snapshot, Unanswered> {
        let (reply, answer) = oneshot::channel();
        if !(self.0)(Query { wanted, reply }) {
            return Err(Unanswered);
        }
        timeout(PATIENCE, answer).await.ok().and_then(Result::ok).ok_or(Unanswered)
    }
}
