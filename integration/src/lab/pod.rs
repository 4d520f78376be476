//! A pod: a namespace behind a cable to its node, with the node as its gateway.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{Dual, LabError, Namespace, Node};
use crate::{Client, Family, Protocol, Responder, Server};

/// The number of the next interface on a node: names are unique even after a pod is gone.
static NEXT_INTERFACE: AtomicU32 = AtomicU32::new(0);

/// A pod of the lab. Dropping it leaves its servers and routes until the end of the lab; [`Pod::delete`] removes
/// it at once.
#[derive(Debug)]
pub struct Pod {
    name: String,
    address: Dual,
    node: Namespace,
    node_name: String,
    interface: String,
    namespace: Namespace,
    servers: Vec<Server>,
    responders: Vec<Responder>,
}

impl Pod {
    pub(super) fn start(name: &str, address: Dual, node: &Node) -> Result<Self, LabError> {
        let namespace = Namespace::new(name)?;
        let interface = format!("pod{}", NEXT_INTERFACE.fetch_add(1, Ordering::Relaxed));
        let (Dual { v4, v6 }, outside) = (address, node.outside());
        // The pod's IPv4 gateway is an address that its node has anyway: Linux answers ARP for it on every cable.
        // For IPv6, Linux answers only for the addresses of the same cable, so the gateway is a link-local address.
        node.namespace().ip(&format!(
            "link add {interface} type veth peer name eth0 netns {}\n\
             link set {interface} addrgenmode none up\n\
             addr add fe80::1/64 dev {interface} nodad\n\
             route add {v4}/32 dev {interface} src {}\n\
             route add {v6}/128 dev {interface} src {}\n",
            namespace.path(),
            outside.v4,
            outside.v6
        ))?;
        namespace.ip(&format!(
            "link set eth0 addrgenmode none up\n\
             addr add {v4}/32 dev eth0\naddr add {v6}/128 dev eth0 nodad\naddr add fe80::2/64 dev eth0 nodad\n\
             route add {gateway}/32 dev eth0 scope link\nroute add default via {gateway}\n\
             route add default via fe80::1 dev eth0\n",
            gateway = outside.v4
        ))?;
        Ok(Self {
            name: name.into(),
            address,
            node: node.namespace().clone(),
            node_name: node.name().into(),
            interface,
            namespace,
            servers: Vec::new(),
            responders: Vec::new(),
        })
    }

    /// Adds a server on every address of the pod, which answers with the pod's name.
    pub fn serve(mut self, protocol: Protocol, port: u16) -> Result<Self, LabError> {
        self.servers.push(Server::everywhere(&self.namespace, &self.name, protocol, port)?);
        Ok(self)
    }

    /// Adds a server that answers with the pod's name and the port: `web-1:8080`.
    pub fn serve_named(mut self, protocol: Protocol, port: u16) -> Result<Self, LabError> {
        let name = format!("{}:{port}", self.name);
        self.servers.push(Server::everywhere(&self.namespace, &name, protocol, port)?);
        Ok(self)
    }

    /// Adds a server of TCP and UDP that is cheap for thousands of connections a second: it answers with the
    /// address and port at which it was reached, and ends the connection.
    pub fn respond(mut self, port: u16) -> Result<Self, LabError> {
        let addresses = Family::BOTH.map(|family| self.address.of(family));
        self.responders.push(Responder::start(&self.namespace, &addresses, &[port], 0)?);
        Ok(self)
    }

    /// The pod's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the pod's node.
    pub fn node_name(&self) -> &str {
        &self.node_name
    }

    /// The pod's addresses.
    pub fn address(&self) -> Dual {
        self.address
    }

    /// The pod's namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A client in the pod.
    pub fn client(&self) -> Client {
        Client::new(&self.namespace)
    }

    /// Removes the pod: its cable and routes, and with them every connection to it.
    pub fn delete(self) -> Result<(), LabError> {
        self.node.ip(&format!("link del {}\n", self.interface))
    }
}
