//! The lab: namespaces for two nodes, a router and an outside client, and the cables between them.
//!
//! ```text
//!   client ── router ──┬── node-a ── pods        outside network 192.0.2.0/24,  2001:db8:1::/64
//!    203.0.113.10      └── node-b ── pods        inside network  172.16.0.0/24, fd00:172:16::/64
//! ```
//!
//! Each node has an outside and an inside address; pods of one node reach pods of the other over the
//! inside network. The router sends the client's packets for the load-balancer range over both
//! nodes, spread by connection, and its packets for the `ClusterIP` range through node-a.

mod address;
mod error;
mod namespace;
mod node;
mod pod;
mod untranslated;

use std::time::Duration;

pub use self::{
    address::{CLUSTER_CIDR, Dual, Family},
    error::LabError,
    namespace::{Namespace, enter_fresh_namespace},
    node::Node,
    pod::Pod,
};
use crate::{ApiServer, Client, Protocol, RealServer, Server};

/// Two nodes, a router and an outside client. Dropping it removes them.
#[derive(Debug)]
pub struct Lab {
    /// The first node; its name is `node-a`.
    pub node_a: Node,
    /// The second node; its name is `node-b`.
    pub node_b: Node,
    router: Namespace,
    client: Namespace,
}

impl Lab {
    /// Builds the namespaces and their cables.
    ///
    /// # Errors
    /// [`LabError::NotRoot`] without root; otherwise any error of the kernel or `ip`.
    pub fn new() -> Result<Self, LabError> {
        let router = Namespace::new("router")?;
        let client = Namespace::new("client")?;
        let node_a = Node::new(1, "node-a")?;
        let node_b = Node::new(2, "node-b")?;
        router.sysctl("net/ipv4/ip_forward", "1")?;
        router.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        // Spread by ports too, so that the connections of one client use both nodes.
        router.sysctl("net/ipv4/fib_multipath_hash_policy", "1")?;
        router.sysctl("net/ipv6/fib_multipath_hash_policy", "1")?;
        router.ip(&cables(&client, &node_a, &node_b))?;
        node_a.connect(&node_b)?;
        node_b.connect(&node_a)?;
        client.ip("link set eth0 addrgenmode none up\n\
             addr add 203.0.113.10/24 dev eth0\n\
             addr add 2001:db8:2::10/64 dev eth0 nodad\n\
             route add default via 203.0.113.1\n\
             route add default via 2001:db8:2::1\n")?;
        router.ip(ROUTES)?;
        router.filter("ip", &["-6", "rule", "add", "iif", "client", "lookup", "100"], "")?;
        Ok(Self { node_a, node_b, router, client })
    }

    /// A client outside the cluster, at [`Lab::client_address`].
    pub fn client(&self) -> Client {
        Client::new(&self.client)
    }

    /// The addresses of the outside client.
    pub fn client_address(&self) -> Dual {
        Dual::new([203, 0, 113, 10], [0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10])
    }

    /// Adds another address to the outside client, for use as a source.
    pub fn add_client_address(&self, address: std::net::IpAddr) -> Result<(), LabError> {
        let length = if address.is_ipv4() { 24 } else { 64 };
        let nodad = if address.is_ipv4() { "" } else { " nodad" };
        self.client.ip(&format!("addr add {address}/{length} dev eth0{nodad}\n"))
    }

    /// A load balancer of the proxying kind (`ipMode: Proxy`): the router itself owns `address` and
    /// answers there as `name`.
    pub fn proxy_at(
        &self,
        address: std::net::IpAddr,
        name: &str,
        protocol: Protocol,
        port: u16,
    ) -> Result<Server, LabError> {
        let length = if address.is_ipv4() { 32 } else { 128 };
        let nodad = if address.is_ipv4() { "" } else { " nodad" };
        self.router.ip(&format!("addr replace {address}/{length} dev lo{nodad}\n"))?;
        Server::start(&self.router, name, protocol, (address, port).into())
    }

    /// The nth `ClusterIP` pair, of the ranges 10.96.0.0/16 and `fd00:10:96::/112`; `number` starts at 1.
    pub fn cluster_ip(&self, number: u8) -> Dual {
        Dual::new([10, 96, 0, number], [0xfd00, 0x10, 0x96, 0, 0, 0, 0, number.into()])
    }

    /// The nth pair of the range that the router sends to both nodes: 198.51.100.0/24 and
    /// `2001:db8:3::/64`. For load-balancer VIPs and external IPs; `number` starts at 1.
    pub fn external_ip(&self, number: u8) -> Dual {
        Dual::new([198, 51, 100, number], [0x2001, 0xdb8, 3, 0, 0, 0, 0, number.into()])
    }

    /// Makes the router send the client's packets for the load-balancer range through one node only.
    pub fn route_external_through(&self, node: &Node) -> Result<(), LabError> {
        let Dual { v4, v6 } = node.outside();
        self.router.ip(&format!(
            "route replace table 100 198.51.100.0/24 via {v4}\nroute del table 100 2001:db8:3::/64\n\
             route add table 100 2001:db8:3::/64 via {v6}\n"
        ))
    }

    /// An API server without objects, on the router: outside the cluster, as for the nodes of most clusters. It
    /// sends a bookmark on each watch this often.
    pub fn api_server(&self, bookmarks: Duration) -> Result<ApiServer, LabError> {
        ApiServer::with_bookmarks(&self.router, ([192, 0, 2, 1], 6443).into(), bookmarks)
    }

    /// A real API server, that of a kubeconfig, reached at the same address.
    pub fn real_server(
        &self,
        kubeconfig: &std::path::Path,
        way: Option<&Namespace>,
    ) -> Result<RealServer, LabError> {
        RealServer::start(&self.router, ([192, 0, 2, 1], 6443).into(), kubeconfig, way)
    }

    /// Drops the packets of a node's connections to the router, both ways, so that neither side learns that they
    /// ended; later connections work.
    pub fn half_open(&self, node: &Node) -> Result<(), LabError> {
        let node = node.outside().v4;
        let rules = format!(
            "table ip half-open {{
                set fresh {{ type inet_service; flags dynamic; size 65535; }}
                chain input {{
                    type filter hook input priority 0;
                    ip saddr {node} tcp flags & (syn | ack) == syn add @fresh {{ tcp sport }}
                    ip saddr {node} tcp sport != @fresh drop
                }}
                chain output {{
                    type filter hook output priority 0;
                    ip daddr {node} tcp dport != @fresh drop
                }}
            }}\n"
        );
        self.router.filter("nft", &["-f", "-"], &rules).map(drop)
    }

    /// Both nodes.
    pub fn nodes(&self) -> [&Node; 2] {
        [&self.node_a, &self.node_b]
    }
}

/// The cables of the namespaces, created from the router.
fn cables(client: &Namespace, node_a: &Node, node_b: &Node) -> String {
    let (client, a, b) = (client.path(), node_a.namespace().path(), node_b.namespace().path());
    let mut commands = String::from(
        "link add br-out type bridge mcast_snooping 0\nlink set br-out addrgenmode none up\n\
         link add br-in type bridge mcast_snooping 0\nlink set br-in addrgenmode none up\n",
    );
    for (name, bridge, peer, namespace) in [
        ("a-out", Some("br-out"), "eth0", &a),
        ("a-in", Some("br-in"), "eth1", &a),
        ("b-out", Some("br-out"), "eth0", &b),
        ("b-in", Some("br-in"), "eth1", &b),
        ("client", None, "eth0", &client),
    ] {
        commands += &format!("link add {name} type veth peer name {peer} netns {namespace}\n");
        if let Some(bridge) = bridge {
            commands += &format!("link set {name} master {bridge}\n");
        }
        commands += &format!("link set {name} addrgenmode none up\n");
    }
    commands
}

/// The router's addresses and routes. Services' ranges are routed only for packets from the client:
/// a node that does not handle such an address must not get its own packet back in a loop.
const ROUTES: &str = "\
addr add 192.0.2.1/24 dev br-out
addr add 2001:db8:1::1/64 dev br-out nodad
addr add fe80::1/64 dev br-out nodad
addr add fe80::1/64 dev client nodad
addr add 203.0.113.1/24 dev client
addr add 2001:db8:2::1/64 dev client nodad
route add unreachable 10.0.0.0/8
route add unreachable fd00::/8
route add unreachable 198.51.100.0/24
route add unreachable 2001:db8:3::/64
route add 10.128.1.0/24 via 192.0.2.11
route add 10.128.2.0/24 via 192.0.2.12
route add fd00:10:128:1::/64 via 2001:db8:1::11
route add fd00:10:128:2::/64 via 2001:db8:1::12
route add table 100 10.96.0.0/16 via 192.0.2.11
route add table 100 fd00:10:96::/112 via 2001:db8:1::11
route add table 100 198.51.100.0/24 nexthop via 192.0.2.11 nexthop via 192.0.2.12
route add table 100 2001:db8:3::/64 nexthop via 2001:db8:1::11 nexthop via 2001:db8:1::12
rule add iif client lookup 100
";

/// Polls `condition` every 2 ms until it holds; returns how long it took, or `None` once `limit` has passed.
pub fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> Option<Duration> {
    let start = std::time::Instant::now();
    loop {
        if condition() {
            return Some(start.elapsed());
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
