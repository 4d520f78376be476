//! A client, a node and a server: three namespaces in a row.

use std::{
    collections::BTreeSet,
    fs::File,
    io::ErrorKind,
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

/// The address of the Service.
pub const SERVICE: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);
/// The node's address on the client's side.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 1);
/// The network of the pods, as kube-proxy's `clusterCIDR`.
pub const PODS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 0, 0, 0), 8);
/// The port of the endpoints.
const ENDPOINT_PORT: u16 = 8080;
/// Connections that must reach the server through a ruleset before it is measured.
const CHECKS: usize = 300;

/// A client, a node and a server. The sockets here keep alive the namespaces that have no handle.
pub struct Arena {
    node: Namespace,
    client: File,
    listener: Socket,
}

impl Arena {
    /// Creates the namespaces and listens on the server. The node routes and has no rules.
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
        let mut commands = vec!["link set eth0 up".to_owned()];
        commands
            .extend(endpoints().iter().map(|endpoint| format!("address add {}/24 dev eth0", endpoint.ip())));
        commands.push("route add default via 10.202.0.1\n".into());
        server.ip(&commands.join("\n"))?;
        let listener = server.socket(Domain::IPV4, Type::STREAM, None)?;
        listener.set_reuse_address(true)?;
        listener.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, ENDPOINT_PORT)).into())?;
        listener.listen(128)?;
        listener.set_nonblocking(true)?;
        Ok(Self { node, client: File::open(client.path())?, listener })
    }

    /// Loads rules on the node.
    pub fn load(&self, text: &str) -> Result<()> {
        Ok(nft(&self.node, &["-f", "-"], text).map(drop)?)
    }

    /// Moves the calling thread to the client: sockets that it opens from now on belong to the client.
    pub fn enter(&self) -> Result<()> {
        Ok(setns(&self.client, CloneFlags::CLONE_NEWNET)?)
    }

    /// Connects from the namespace of the calling thread, and returns the time of connect(2). Both ends are closed when
    /// this returns, with a reset, so that nothing lingers.
    pub fn connect(&self, target: &SockAddr) -> Result<Duration> {
        let socket = client()?;
        let start = Instant::now();
        socket.connect(target)?;
        let elapsed = start.elapsed();
        self.accept()?;
        Ok(elapsed)
    }

    /// Both ends of a new connection: the client's and the server's.
    pub fn pair(&self, target: &SockAddr) -> Result<(Socket, Socket)> {
        let socket = client()?;
        socket.connect(target)?;
        Ok((socket, self.accept()?))
    }

    /// Accepts a connection. The last packet of the handshake has arrived before connect(2) returns, except on a busy
    /// machine.
    fn accept(&self) -> Result<Socket> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match self.listener.accept() {
                Ok((accepted, _)) => return Ok(accepted),
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                    std::thread::yield_now();
                }
                Err(error) => return Err(format!("the connection did not reach the server: {error}").into()),
            }
        }
    }

    /// Checks that connections to `target` reach the server: `all` of its endpoints, or some. Also fills caches of
    /// neighbours and routes.
    pub fn check(&self, target: SocketAddr, all: bool) -> Result<()> {
        self.enter()?;
        let address = target.into();
        let mut reached = BTreeSet::new();
        for _ in 0..CHECKS {
            reached.extend(self.pair(&address)?.1.local_addr()?.as_socket());
        }
        let endpoints: BTreeSet<_> = endpoints().into_iter().collect();
        if reached == endpoints || (!all && reached.is_subset(&endpoints)) {
            return Ok(());
        }
        Err(format!("connections to {target} reached {reached:?}").into())
    }

    /// Runs a job on the node's own thread.
    pub fn on_node<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.node.enter(job)
    }
}

/// A socket that resets its connection when it is closed.
fn client() -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(socket)
}

/// The Service.
pub fn service() -> SocketAddr {
    (SERVICE, PORT).into()
}

/// Its endpoints.
pub fn endpoints() -> Vec<SocketAddr> {
    (2..7).map(|host| SocketAddr::from(([10, 202, 0, host], ENDPOINT_PORT))).collect()
}

/// The Service and its endpoints, to be placed among others.
pub fn probe() -> Probe {
    Probe { cluster_ip: SERVICE, endpoints: endpoints() }
}
