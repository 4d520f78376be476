//! The proxy: sockets on loopback addresses, and connections that continue to the node port or the ClusterIP.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::serve::Listener;
use portolan_rules::{model::ObjectName, ruleset::Family, selection::node_port_addresses::localhost};
use rustix::{
    net::sockopt::{set_socket_keepalive, set_socket_linger, set_tcp_keepidle},
    process::{Resource, getrlimit},
};
use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, mpsc::UnboundedReceiver},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::ports::LocalPort;
use crate::{retry::BIND_RETRY, tracked::Change};

/// The device of loopback addresses, in every network namespace.
const LOOPBACK: &[u8] = b"lo";
/// Connections that wait to be accepted, for each port.
const BACKLOG: u32 = 128;
/// Maximum number of connections at a time, of all ports together. Further connections are closed at once. Each
/// connection has two file descriptors and two buffers.
const CONNECTIONS: usize = 1024;
/// Size in bytes of the buffer for each direction of a connection.
const BUFFER: usize = 8 << 10;
/// How long an endpoint may take to answer a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// A connection whose endpoint has sent nothing for this long is probed (TCP keepalive).
const KEEPALIVE: Duration = Duration::from_mins(1);

/// The address to which connections of a port continue. It may change while the port is open.
type Target = Arc<Mutex<SocketAddr>>;

/// A node port of a Service.
struct Port {
    at: LocalPort,
    target: Target,
    /// The task that accepts connections, unless the port could not be bound.
    socket: Option<JoinHandle<()>>,
}

/// The sockets of all Services.
pub(super) struct Proxy {
    changes: UnboundedReceiver<Change<Vec<LocalPort>>>,
    services: BTreeMap<ObjectName, Vec<Port>>,
    /// The addresses of the node that answer node ports.
    addresses: BTreeSet<IpAddr>,
    connections: Arc<Semaphore>,
    /// How many sockets may be open, and how many are.
    most_sockets: usize,
    sockets: usize,
    /// Whether sockets could not be bound, which has been logged.
    is_failing: bool,
}

impl Proxy {
    /// A proxy without Services; it receives them later.
    pub fn new(changes: UnboundedReceiver<Change<Vec<LocalPort>>>) -> Self {
        // The process must still be able to open other files.
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self {
            changes,
            services: BTreeMap::new(),
            addresses: BTreeSet::new(),
            connections: Arc::new(Semaphore::new(CONNECTIONS.min(most / 8))),
            most_sockets: most / 4,
            sockets: 0,
            is_failing: false,
        }
    }

    /// Serves until the reconciler is gone.
    pub async fn serve(mut self) {
        loop {
            let change = tokio::select! {
                change = self.changes.recv() => change,
                () = sleep(BIND_RETRY), if self.is_failing => Some(Change::Services(Vec::new())),
            };
            match change {
                Some(Change::Services(changes)) => self.update(changes).await,
                Some(Change::Addresses(addresses)) => {
                    self.addresses = addresses;
                    for port in self.services.values().flatten() {
                        *port.target.lock().unwrap_or_else(PoisonError::into_inner) =
                            target(&self.addresses, &port.at);
                    }
                }
                None => return,
            }
        }
    }

    async fn update(&mut self, changes: Vec<(ObjectName, Option<Vec<LocalPort>>)>) {
        // Sockets are closed before others are opened: a port may pass from one Service to another.
        for (name, ports) in changes {
            let (mut wanted, mut ports) = (ports.unwrap_or_default(), Vec::new());
            for port in self.services.remove(&name).unwrap_or_default() {
                if wanted.contains(&port.at) {
                    wanted.retain(|at| *at != port.at);
                    ports.push(port);
                } else if let Some(socket) = port.socket {
                    socket.abort();
                    // After this, the port is free. Connections continue, as they do in the kernel.
                    let _ = socket.await;
                    self.sockets -= 1;
                }
            }
            ports.extend(wanted.into_iter().map(|at| {
                let target = Arc::new(Mutex::new(target(&self.addresses, &at)));
                Port { at, target, socket: None }
            }));
            if !ports.is_empty() {
                self.services.insert(name, ports);
            }
        }
        self.bind_missing();
    }

    /// Binds every port that is not bound yet, and logs failures once.
    fn bind_missing(&mut self) {
        let was_failing = std::mem::take(&mut self.is_failing);
        for (name, port) in
            self.services.iter_mut().flat_map(|(name, ports)| ports.iter_mut().map(move |port| (name, port)))
        {
            if port.socket.is_some() {
                continue;
            }
            let at = SocketAddr::new(localhost(port.at.family), port.at.port);
            let bound = if self.sockets < self.most_sockets {
                bind(at)
            } else {
                Err(io::Error::other("too many sockets for the limit of open files"))
            };
            match bound {
                Ok(listener) => {
                    let (target, connections) = (Arc::clone(&port.target), Arc::clone(&self.connections));
                    port.socket = Some(tokio::spawn(accept(listener, target, connections)));
                    self.sockets += 1;
                    info!(service = %name, address = %at, "Node port listens on localhost");
                }
                Err(error) => {
                    if !was_failing {
                        warn!(service = %name, address = %at, %error, "Node port cannot listen on localhost; trying again");
                    }
                    self.is_failing = true;
                }
            }
        }
    }
}

/// The address to which connections continue: the node port on an address of the node, if there is one, since that port
/// has the Service's policy for node ports; otherwise the ClusterIP.
fn target(addresses: &BTreeSet<IpAddr>, port: &LocalPort) -> SocketAddr {
    let is_reachable = |address: &&IpAddr| match address {
        IpAddr::V4(address) => !address.is_unspecified(),
        // A link-local address means nothing without an interface.
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_unicast_link_local(),
    };
    let mut of_family = addresses.iter().filter(|address| Family::of(**address) == port.family);
    of_family.find(is_reachable).map_or(port.cluster_ip, |address| SocketAddr::new(*address, port.port))
}

fn bind(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind_device(Some(LOOPBACK))?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until the task is aborted, which closes the socket.
async fn accept(mut listener: TcpListener, target: Target, connections: Arc<Semaphore>) {
    loop {
        // Waits a second when there are no file descriptors left.
        let (client, _) = Listener::accept(&mut listener).await;
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            reset(&client);
            continue;
        };
        let to = *target.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::spawn(async move {
            relay(client, to).await;
            drop(permit);
        });
    }
}

/// Continues a connection until both sides have ended it. A connection that breaks on one side is reset on both sides.
async fn relay(mut client: TcpStream, to: SocketAddr) {
    let Ok(Ok(mut endpoint)) = timeout(CONNECT, TcpStream::connect(to)).await else {
        return reset(&client);
    };
    // The connection works without these options, too.
    let _ = (client.set_nodelay(true), endpoint.set_nodelay(true));
    let _ = set_socket_keepalive(&endpoint, true).and_then(|()| set_tcp_keepidle(&endpoint, KEEPALIVE));
    if copy_bidirectional_with_sizes(&mut client, &mut endpoint, BUFFER, BUFFER).await.is_err() {
        reset(&client);
        reset(&endpoint);
    }
}

/// Makes a connection end with a reset when it is dropped.
fn reset(stream: &TcpStream) {
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_on_to_a_node_port_where_there_is_an_address_for_it() {
        let port = |family, cluster_ip: &str| LocalPort {
            family,
            port: 30_080,
            cluster_ip: cluster_ip.parse().unwrap(),
        };
        let addresses = |list: &[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
        let shown = |list: &[&str], port| target(&addresses(list), &port).to_string();
        let (v4, v6) = (port(Family::Ip, "10.96.0.1:80"), port(Family::Ip6, "[fd00::1]:80"));
        assert_eq!(shown(&[], v4), "10.96.0.1:80");
        assert_eq!(shown(&["fe80::1"], v6), "[fd00::1]:80");
        assert_eq!(shown(&["192.0.2.1", "198.51.100.1"], v4), "192.0.2.1:30080");
        assert_eq!(shown(&["192.0.2.1", "2001:db8::1"], v6), "[2001:db8::1]:30080");
    }
}
