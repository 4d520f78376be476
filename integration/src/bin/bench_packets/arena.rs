//! A client, a node and a server: three namespaces in a row.

use std::{
    collections::BTreeSet,
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};
use portolan_integration::{
    Namespace, nft,
    synthetic::{PORT, Probe},
};
use socket2::{Domain, SockAddr, Socket, Type};

use super::Result;

/// Where the Service is.
pub const SERVICE: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);
/// The node's address on the client's side.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 1);
/// The network of the pods, as kube-proxy's `clusterCIDR`.
pub const PODS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 0, 0, 0), 8);
/// The port of the endpoints.
const ENDPOINT_PORT: u16 = 8080;
/// Connections that a ruleset must lead to the server before it is measured.
const CHECKS: usize = 300;

/// A client, a node and a server: three namespaces in a row.
pub struct Arena {
    node: Namespace,
    client: Namespace,
    client_file: File,
    listener: Socket,
    // Kept: its addresses and routes go with the last handle.
    _server: Namespace,
}

impl Arena {
    /// Makes the namespaces and listens on the server. The node routes and has no rules.
    pub fn new() -> Result<Self> {
        let (client, node, server) =
            (Namespace::new("client")?, Namespace::new("node")?, Namespace::new("server")?);
        node.sysctl("net/ipv4/ip_forward", "1")?;
        node.ip(&format!(
            "link add client type veth peer name eth0 netns {}\n\
             link add server type veth peer name eth0 netns {}\n\
             address add {NODE}/24 dev client\n\
             address add 10.202.0.1/24 dev server\n\
             link set client up\n\
             link set server up\n",
            client.path(),
            server.path()
        ))?;
        client.ip(&format!(
            "address add 10.201.0.2/24 dev eth0\nlink set eth0 up\nroute add default via {NODE}\n"
        ))?;
        let addresses: String = endpoints()
            .iter()
            .map(|endpoint| format!("address add {}/24 dev eth0\n", endpoint.ip()))
            .collect();
        server.ip(&format!("{addresses}link set eth0 up\nroute add default via 10.202.0.1\n"))?;
        let listener = server.socket(Domain::IPV4, Type::STREAM, None)?;
        listener.set_reuse_address(true)?;
        listener.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, ENDPOINT_PORT)).into())?;
        listener.listen(128)?;
        listener.set_nonblocking(true)?;
        let client_file = File::open(client.path())?;
        Ok(Self { node, client, client_file, listener, _server: server })
    }

    /// The node, where rules go.
    pub const fn node(&self) -> &Namespace {
        &self.node
    }

    /// Loads rules on the node.
    pub fn load(&self, text: &str) -> Result<()> {
        Ok(nft(&self.node, &["-f", "-"], text).map(drop)?)
    }

    /// Moves the calling thread to the client: sockets that it opens from now on are the client's.
    pub fn enter(&self) -> Result<()> {
        Ok(setns(&self.client_file, CloneFlags::CLONE_NEWNET)?)
    }

    /// Connects from the namespace of the calling thread, and tells how long that took and which endpoint it was.
    /// Both ends are closed when this returns, with a reset, so that nothing lingers.
    pub fn connect(&self, target: &SockAddr) -> Result<(Duration, Socket)> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_linger(Some(Duration::ZERO))?;
        let start = Instant::now();
        socket.connect(target)?;
        let elapsed = start.elapsed();
        let deadline = start + Duration::from_secs(5);
        // The last packet of the handshake is there before connect(2) returns, except on a busy machine.
        loop {
            match self.listener.accept() {
                Ok((accepted, _)) => return Ok((elapsed, accepted)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    std::thread::yield_now();
                }
                Err(error) => return Err(format!("the connection did not reach the server: {error}").into()),
            }
        }
    }

    /// Whether connections to `target` reach the server, and a Service all of its endpoints. Warms up what is
    /// looked up once, too: neighbours and routes.
    pub fn check(&self, target: SocketAddr) -> Result<()> {
        self.enter()?;
        let address = target.into();
        let mut reached = BTreeSet::new();
        for _ in 0..CHECKS {
            let (_, accepted) = self.connect(&address)?;
            reached.extend(accepted.local_addr()?.as_socket());
        }
        let expected: BTreeSet<_> = endpoints().into_iter().collect();
        if !reached.is_subset(&expected) || reached.is_empty() {
            return Err(format!("connections to {target} reached {reached:?}").into());
        }
        Ok(())
    }

    /// Runs something on the node's own thread.
    pub fn on_node<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.node.enter(job)
    }

    /// The client, where connections begin.
    pub const fn client(&self) -> &Namespace {
        &self.client
    }
}

/// The Service.
pub fn service() -> SocketAddr {
    (SERVICE, PORT).into()
}

/// Its endpoints.
pub fn endpoints() -> Vec<SocketAddr> {
    (2..7).map(|host| SocketAddr::from(([10, 202, 0, host], ENDPOINT_PORT))).collect()
}

/// Service and endpoints, to put among others.
pub fn probe() -> Probe {
    Probe { cluster_ip: SERVICE, endpoints: endpoints() }
}
