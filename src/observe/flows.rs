//! Live connections of Services, from the kernel's connection tracking.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use jiff::Timestamp;
use portolan_rules::{
    explanation::{ExplainedPort, ExplainedService, Reason, View},
    frontends::FrontendKey,
    model::{Protocol, TrafficPolicy},
    ruleset::Family,
};
use serde::Serialize;

use crate::kernel::conntrack::Flow;

/// A flow of a Service. Rows are in the order of Service, port, endpoint and client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The Service, as `namespace/name`.
    pub service: Arc<str>,
    /// The name of the Service's port.
    pub port: Arc<str>,
    /// The endpoint that answers.
    pub endpoint: SocketAddr,
    /// The client that connects.
    pub client: SocketAddr,
    /// The frontend that the client connects to.
    pub frontend: SocketAddr,
    /// The protocol.
    pub protocol: &'static str,
    /// The state in connection tracking.
    pub state: &'static str,
    /// How long the flow has existed, if the kernel records that.
    pub age_seconds: Option<u64>,
    /// Time until the flow is forgotten if no more packets arrive.
    pub expires_seconds: Option<u64>,
    /// Bytes in both directions, if the kernel counts them.
    pub bytes: Option<u64>,
    /// Why the endpoint takes no new connections; `None` if it takes them.
    pub stale: Option<&'static str>,
}

/// The port of a Service that a frontend leads to.
#[derive(Debug)]
struct Target<'a> {
    /// The Service, as `namespace/name`.
    service: Arc<str>,
    port: &'a ExplainedPort,
    policy: TrafficPolicy,
}

/// The frontends of the Services that are served, by protocol and address.
#[derive(Debug)]
pub struct Frontends<'a> {
    targets: HashMap<(Protocol, SocketAddr), Target<'a>>,
    /// When the flows are listed, in seconds since the epoch.
    now: i64,
}

impl<'a> Frontends<'a> {
    /// The frontends of these Services, with node ports at each address of this node.
    pub fn of(view: &View<'_>, services: &'a [ExplainedService]) -> Self {
        let node_addresses = Family::ALL.map(|family| view.compiler.node_port_addresses(family));
        let mut targets = HashMap::new();
        for service in services {
            let name: Arc<str> = service.service.name.to_string().into();
            for port in &service.ports {
                for frontend in port.frontends.iter().filter(|frontend| frontend.left_out.is_none()) {
                    let policy = frontend.policy;
                    let mut add = |protocol, at| {
                        targets.insert((protocol, at), Target { service: name.clone(), port, policy });
                    };
                    match frontend.key {
                        FrontendKey::Address(address, protocol, number) => {
                            add(protocol, SocketAddr::new(address, number));
                        }
                        FrontendKey::NodePort(family, protocol, number) => {
                            for address in &node_addresses[family as usize] {
                                add(protocol, SocketAddr::new(*address, number));
                            }
                        }
                    }
                }
            }
        }
        Self { targets, now: Timestamp::now().as_second() }
    }

    /// The destinations of connections to these frontends.
    pub fn destinations(&self) -> Vec<(Protocol, SocketAddr)> {
        self.targets.keys().copied().collect()
    }

    /// The row of a flow; `None` if the flow belongs to none of these Services.
    pub fn row(&self, flow: &Flow) -> Option<Row> {
        let Target { service, port, policy } = self.targets.get(&(flow.protocol, flow.frontend))?;
        let endpoint = port.endpoints.iter().find(|endpoint| endpoint.at == flow.endpoint);
        let stale = match endpoint {
            None => Some("gone"),
            // Pods and this node may use the endpoints of the other policy.
            Some(endpoint) if endpoint.cluster.is_none() || endpoint.local.is_none() => None,
            Some(endpoint) => endpoint.left_out(*policy).map(Reason::code),
        };
        let since =
            |began: u64| self.now.saturating_sub_unsigned(began / 1_000_000_000).max(0).unsigned_abs();
        Some(Row {
            service: service.clone(),
            port: Arc::clone(&port.port.name),
            endpoint: flow.endpoint,
            client: flow.client,
            frontend: flow.frontend,
            protocol: flow.protocol.name(),
            state: flow.state.name(),
            age_seconds: flow.began.map(since),
            expires_seconds: flow.expires.map(|time| time.as_secs()),
            bytes: flow.bytes,
            stale,
        })
    }
}
