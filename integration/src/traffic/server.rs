//! Servers: one thread each, on a socket opened in the server's namespace.

use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::{Answer, Protocol, sctp};
use crate::{LabError, Namespace};

/// How long a server may take to notice that it was dropped.
const PATIENCE: Duration = Duration::from_millis(50);

/// A running server; dropping it closes its sockets and the connections it holds.
#[derive(Debug)]
pub struct Server {
    stopped: Arc<AtomicBool>,
}

impl Server {
    /// Listens on every address of the namespace, both families.
    pub fn everywhere(
        namespace: &Namespace,
        name: &str,
        protocol: Protocol,
        port: u16,
    ) -> Result<Self, LabError> {
        let server = Self::start(namespace, name, protocol, (Ipv6Addr::UNSPECIFIED, port).into())?;
        if protocol == Protocol::Sctp {
            // A raw socket belongs to one family; the second thread ends with the same flag.
            server.spawn(namespace, name, protocol, (std::net::Ipv4Addr::UNSPECIFIED, port).into())?;
        }
        Ok(server)
    }

    /// Listens on one address; on the unspecified IPv6 address it listens on both families.
    pub fn start(
        namespace: &Namespace,
        name: &str,
        protocol: Protocol,
        address: SocketAddr,
    ) -> Result<Self, LabError> {
        let server = Self { stopped: Arc::default() };
        server.spawn(namespace, name, protocol, address)?;
        Ok(server)
    }

    fn spawn(
        &self,
        namespace: &Namespace,
        name: &str,
        protocol: Protocol,
        address: SocketAddr,
    ) -> Result<(), LabError> {
        let what = format!("serve {protocol} on {address} in {}", namespace.name());
        let socket = listen(namespace, protocol, address).map_err(LabError::io(what.clone()))?;
        let (name, stopped) = (name.to_owned(), self.stopped.clone());
        let serve = move || match protocol {
            Protocol::Tcp => serve_tcp(&socket.into(), &name, &stopped),
            Protocol::Udp => serve_udp(&socket.into(), &name, &stopped),
            Protocol::Sctp => sctp::serve(&socket, address, &name, &stopped),
        };
        thread::Builder::new().spawn(serve).map_err(LabError::io(what))?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn listen(namespace: &Namespace, protocol: Protocol, address: SocketAddr) -> std::io::Result<Socket> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (Type::STREAM, None),
        Protocol::Udp => (Type::DGRAM, None),
        Protocol::Sctp => (Type::RAW, Some(sctp::PROTOCOL)),
    };
    let socket = namespace.socket(Domain::for_address(address), kind, number)?;
    // `accept` also returns after this time; servers check their flag that often.
    socket.set_read_timeout(Some(PATIENCE))?;
    if protocol == Protocol::Sctp {
        socket.bind(&SocketAddr::new(address.ip(), 0).into())?;
        return Ok(socket);
    }
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    if protocol == Protocol::Tcp {
        socket.listen(1024)?;
    }
    Ok(socket)
}

fn serve_tcp(listener: &TcpListener, name: &str, stopped: &Arc<AtomicBool>) {
    while !stopped.load(Ordering::Relaxed) {
        if let Ok((stream, client)) = listener.accept() {
            let (name, stopped) = (name.to_owned(), stopped.clone());
            // If no thread can be started, the client sees its connection closed and reports that.
            let _ = thread::Builder::new().stack_size(64 << 10).spawn(move || {
                let _ = talk(stream, &Answer::line(&name, client), &stopped);
            });
        }
    }
}

/// Greets, then echoes lines until the client closes or the server stops.
fn talk(stream: TcpStream, greeting: &str, stopped: &AtomicBool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    reader.get_mut().write_all(greeting.as_bytes())?;
    let mut line = Vec::new();
    while !stopped.load(Ordering::Relaxed) {
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {
                reader.get_mut().write_all(&line)?;
                line.clear();
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn serve_udp(socket: &UdpSocket, name: &str, stopped: &AtomicBool) {
    let mut buffer = [0; 64];
    while !stopped.load(Ordering::Relaxed) {
        if let Ok((_, client)) = socket.recv_from(&mut buffer) {
            // A client that is gone does not receive the answer.
            let _ = socket.send_to(Answer::line(name, client).as_bytes(), client);
        }
    }
}
