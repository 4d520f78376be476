//! A node: an outside and an inside address, and routes to the pods of both nodes.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU8, Ordering},
};

use serde_json::{Value, json};

use super::{Dual, Family, LabError, Namespace, Pod};
use crate::{Client, Protocol, Server};

/// A node of the lab.
#[derive(Debug)]
pub struct Node {
    name: String,
    number: u8,
    namespace: Namespace,
    next_pod: AtomicU8,
}

impl Node {
    pub(super) fn new(number: u8, name: &str) -> Result<Self, LabError> {
        let namespace = Namespace::new(name)?;
        namespace.sysctl("net/ipv4/ip_forward", "1")?;
        namespace.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        Ok(Self { name: name.into(), number, namespace, next_pod: AtomicU8::new(2) })
    }

    /// Sets addresses and routes, once the cables are there. The node's default route leads to the
    /// router, so that `ClusterIPs` resolve to some route.
    pub(super) fn connect(&self, other: &Self) -> Result<(), LabError> {
        let (out, inside, pods) = (self.outside(), self.inside(), self.pod_networks());
        let (peer, peer_pods) = (other.inside(), other.pod_networks());
        let host = 10 + self.number;
        // Without a link-local address, a router cannot resolve the neighbours of packets that it forwards.
        self.namespace.ip(&format!(
            "link set eth0 addrgenmode none up\nlink set eth1 addrgenmode none up\n\
             addr add {}/24 dev eth0\naddr add {}/64 dev eth0 nodad\n\
             addr add {}/24 dev eth1\naddr add {}/64 dev eth1 nodad\n\
             addr add fe80::{host}/64 dev eth0 nodad\naddr add fe80::{host}/64 dev eth1 nodad\n\
             route add default via 192.0.2.1\nroute add default via 2001:db8:1::1\n\
             route add unreachable {}\nroute add unreachable {}\n\
             route add {} via {}\nroute add {} via {}\n",
            out.v4, out.v6, inside.v4, inside.v6, pods.0, pods.1, peer_pods.0, peer.v4, peer_pods.1, peer.v6
        ))
    }

    /// The node's name: `node-a` or `node-b`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's address on the outside network; its `InternalIP` in the Node object.
    pub fn outside(&self) -> Dual {
        let host = 10 + self.number;
        Dual::new([192, 0, 2, host], [0x2001, 0xdb8, 1, 0, 0, 0, 0, hexadecimal(host)])
    }

    /// The node's address on the inside network, which joins only the nodes.
    pub fn inside(&self) -> Dual {
        let host = 10 + self.number;
        Dual::new([172, 16, 0, host], [0xfd00, 0x172, 0x16, 0, 0, 0, 0, hexadecimal(host)])
    }

    /// Whether `address` belongs to this node.
    pub fn owns(&self, address: IpAddr) -> bool {
        self.outside().has(address) || self.inside().has(address)
    }

    /// The networks of the node's pods, as CIDRs.
    pub fn pod_networks(&self) -> (String, String) {
        (format!("10.128.{}.0/24", self.number), format!("fd00:10:128:{:x}::/64", self.number))
    }

    /// Starts a pod on the next free address.
    pub fn pod(&self, name: &str) -> Result<Pod, LabError> {
        self.pod_at(name, self.next_pod.fetch_add(1, Ordering::Relaxed))
    }

    /// Starts a pod at host number `host` (2 to 254) of the node's pod networks; for a pod that must
    /// reuse, or avoid, an address.
    pub fn pod_at(&self, name: &str, host: u8) -> Result<Pod, LabError> {
        let address = Dual::new(
            [10, 128, self.number, host],
            [0xfd00, 0x10, 0x128, self.number.into(), 0, 0, 0, host.into()],
        );
        Pod::start(name, address, self)
    }

    /// A client among the node's own processes.
    pub fn client(&self) -> Client {
        Client::new(&self.namespace)
    }

    /// A server among the node's own processes, at one of the node's addresses: it answers there when no
    /// Service claims the port.
    pub fn serve(
        &self,
        family: Family,
        address: Dual,
        protocol: Protocol,
        port: u16,
    ) -> Result<Server, LabError> {
        Server::start(&self.namespace, &self.name, protocol, address.port(family, port))
    }

    /// The node's namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The Node object, with the outside addresses as `InternalIP`.
    pub fn object(&self) -> Value {
        let addresses = Family::BOTH
            .map(|family| json!({"type": "InternalIP", "address": self.outside().of(family).to_string()}));
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name},
            "spec": {"podCIDRs": [self.pod_networks().0, self.pod_networks().1]},
            "status": {"addresses": addresses},
        })
    }
}

/// The group that reads in hexadecimal as `number` does in decimal: 11 is written `::11`.
fn hexadecimal(number: u8) -> u16 {
    u16::from(number / 10) * 16 + u16::from(number % 10)
}
