//! Node ports on 127.0.0.1 and `::1` (`--nodeport-addresses localhost`), for TCP: a proxy in the agent.
//!
//! The kernel cannot rewrite a packet from a loopback address so that it leaves the node: IPv6 never routes such a
//! packet, and IPv4 only with `route_localnet`, which lets in packets for 127.0.0.0/8 from outside. So a socket
//! listens for each node port, and the proxy continues each connection with another connection, to the node port on an
//! address of the node or to the ClusterIP. From there, the rules lead it to an endpoint. The sockets are bound to the
//! device `lo`: packets from elsewhere never reach them, whatever the sysctls are.

mod ports;
mod proxy;

use std::{io, net::TcpListener, thread};

use portolan_rules::{ruleset::Family, selection::node_port_addresses::localhost};
use tracing::warn;

pub use self::ports::LocalhostPorts;

/// Starts the proxy for these families, on a separate thread. The reconciler keeps the returned value; the proxy ends
/// when the value is dropped.
///
/// # Errors
/// The thread cannot be started.
pub fn start(families: impl IntoIterator<Item = Family>) -> io::Result<LocalhostPorts> {
    let has_address = |family: &Family| match TcpListener::bind((localhost(*family), 0)) {
        Ok(_) => true,
        Err(error) => {
            let address = localhost(*family);
            warn!(%address, %error, "Node ports do not answer on this address");
            false
        }
    };
    let (ports, changes) = LocalhostPorts::new(families.into_iter().filter(has_address).collect());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || runtime.block_on(proxy::Proxy::new(changes).serve());
    thread::Builder::new().name("localhost".into()).spawn(serve)?;
    Ok(ports)
}
