//! Live connections of Services, of what connection tracking has.

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
    /// The name of its port.
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
    /// Since when it is there, where the kernel keeps that.
    pub age_seconds: Option<u64>,
    /// When it is forgotten if nothing more comes.
    pub expires_seconds: Option<u64>,
    /// Bytes in both directions, where the kernel counts them.
    pub bytes: Option<u64>,
    /// Why the endpoint takes no new connections, if it does not.
    pub stale: Option<&'static str>,
}

/// What leads to a port of a Service.
#[derive(Debug)]
struct Target<'a> {
    /// The Service, as `namespace/name`.
    service: Arc<str>,
    port: &'a ExplainedPort,
    policy: TrafficPolicy,
}

/// The frontends of Services that are served, by protocol and address.
#[derive(Debug)]
pub struct Frontends<'a> {
    targets: HashMap<(Protocol, SocketAddr), Target<'a>>,
    /// When the flows are listed, in seconds since the epoch.
    now: i64,
}

impl<'a> Frontends<'a> {
    /// Those of these Services, node ports at each address of this node.
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

    /// Where connections to them go.
    pub fn destinations(&self) -> Vec<(Protocol, SocketAddr)> {
        self.targets.keys().copied().collect()
    }

    /// A flow, if it is one of these Services.
    pub fn row(&self, flow: &Flow) -> Option<Row> {
        let Target { service, port, policy } = self.targets.get(&(flow.protocol, flow.frontend))?;
        let endpoint = port.endpoints.iter().find(|endpoint| endpoint.at == flow.endpoint);
        let stale = match endpoint {
            None => Some("gone"),
            // Pods and this node may use those of the other policy.
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
