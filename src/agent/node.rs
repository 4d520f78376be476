//! The facts about the node that the rules depend on: its object and the addresses of its interfaces.

use std::{collections::BTreeSet, net::IpAddr};

use portolan_rules::{compile::Compiler, model::Node, plane::PodDetector, state::State};
use tracing::warn;

use crate::{config::settings::Settings, source::host};

/// The facts about the node that the rules depend on.
#[derive(Debug)]
pub struct NodeFacts {
    /// How to detect pods; `None` if the Node object lacks what this takes.
    pods: Option<PodDetector>,
    node_ips: Vec<IpAddr>,
    pub(super) node_port_addresses: BTreeSet<IpAddr>,
    /// Where health checks of Services are answered.
    pub(super) health_check_addresses: BTreeSet<IpAddr>,
}

impl NodeFacts {
    /// Reads the host's addresses, and takes the rest from the Node object.
    pub fn new(settings: &Settings, node: &Node) -> Self {
        let mut host = HostAddresses::default();
        host.read();
        Self::with_host(settings, node, &host)
    }

    /// Like [`NodeFacts::new`], for a node that is not this machine: its addresses are those of its Node object.
    pub fn elsewhere(settings: &Settings, node: &Node) -> Self {
        let host = HostAddresses { addresses: node.addresses.clone(), failing: false };
        Self::with_host(settings, node, &host)
    }

    /// Like [`NodeFacts::new`], with host addresses that were read before.
    pub(super) fn with_host(settings: &Settings, node: &Node, host: &HostAddresses) -> Self {
        let host = &host.addresses;
        Self {
            pods: settings.detect_local.detector(node),
            node_port_addresses: settings.node_port_addresses.select(node, host),
            health_check_addresses: settings.node_port_addresses.health_check_addresses(node, host),
            node_ips: if node.addresses.is_empty() { host.clone() } else { node.addresses.clone() },
        }
    }

    /// Sets the facts in the compiler. Returns true if rules change that no update contains.
    pub fn apply(self, compiler: &mut Compiler, state: &mut State) -> bool {
        compiler.set_node_addresses(&self.node_port_addresses);
        compiler.set_node_ips(state, self.node_ips);
        // Without a Node object the last detector stays: deleting the object must not change what is masqueraded.
        self.pods.is_some_and(|pods| compiler.set_pod_detector(pods))
    }
}

/// The addresses of the host's interfaces, as last read.
#[derive(Debug, Default)]
pub(super) struct HostAddresses {
    pub addresses: Vec<IpAddr>,
    /// Whether the last attempt failed; the failure has been logged.
    failing: bool,
}

impl HostAddresses {
    /// Reads the addresses. Returns false on failure, such as for lack of file descriptors. The last addresses then
    /// stay, so that node ports continue to answer.
    pub(super) fn read(&mut self) -> bool {
        match host::addresses() {
            Ok(addresses) => {
                *self = Self { addresses, failing: false };
                true
            }
            Err(error) => {
                if !self.failing {
                    warn!(
                        %error,
                        "Cannot read the addresses of this host; node ports may not answer at new ones"
                    );
                }
                self.failing = true;
                false
            }
        }
    }
}
