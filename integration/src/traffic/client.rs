//! Clients: probes from a namespace.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::{Answer, Connection, Protocol, sctp};
use crate::Namespace;

/// A place to probe from: a pod, a node, the outside. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    namespace: Namespace,
    source: Option<SocketAddr>,
    mark: u32,
    limit: Duration,
}

impl Client {
    /// A client in a namespace.
    pub fn new(namespace: &Namespace) -> Self {
        Self { namespace: namespace.clone(), source: None, mark: 0, limit: Duration::from_secs(20) }
    }

    /// The namespace that the client sends from.
    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The same client, sending from this address and port (port 0: any).
    #[must_use]
    pub fn from(&self, source: SocketAddr) -> Self {
        Self { source: Some(source), ..self.clone() }
    }

    /// The same client, with this mark on its packets, which routing may use. TCP and UDP only.
    #[must_use]
    pub fn marked(&self, mark: u32) -> Self {
        Self { mark, ..self.clone() }
    }

    /// The same client with another time limit for each step of a probe (default 20 s, for answers that must arrive).
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        Self { limit, ..self.clone() }
    }

    /// The name of the place.
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// Connects, or sends a datagram, and reports the outcome.
    pub fn probe(&self, protocol: Protocol, target: SocketAddr) -> Answer {
        let (start, repetitions) = (Instant::now(), self.repetitions());
        let answer = match protocol {
            Protocol::Tcp => self.open(target).map(|connection| connection.answer().clone()),
            Protocol::Udp => self.datagram(target),
            Protocol::Sctp => sctp::probe(&self.namespace, self.source, target, self.limit),
        };
        answer.unwrap_or_else(|error| {
            // UDP and SCTP probes consist of one packet.
            let repeated = protocol == Protocol::Tcp && self.repetitions() > repetitions;
            Answer::from_error(&error, start.elapsed(), repeated)
        })
    }

    /// How many requests for TCP connections were retransmitted in this namespace so far.
    fn repetitions(&self) -> u64 {
        let read = || std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap_or_default();
        let text = self.namespace.enter(read);
        // One line with names, followed by one with numbers.
        let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
        let mut words = || lines.next().unwrap_or_default().split(' ');
        let number = words().zip(words()).find(|(name, _)| *name == "TCPSynRetrans");
        number.and_then(|(_, number)| number.parse().ok()).unwrap_or_default()
    }

    /// A TCP probe.
    pub fn tcp(&self, target: SocketAddr) -> Answer {
        self.probe(Protocol::Tcp, target)
    }

    /// A UDP probe: one datagram, not repeated.
    pub fn udp(&self, target: SocketAddr) -> Answer {
        self.probe(Protocol::Udp, target)
    }

    /// An SCTP probe: one INIT, and the INIT ACK or the error that returns.
    pub fn sctp(&self, target: SocketAddr) -> Answer {
        self.probe(Protocol::Sctp, target)
    }

    /// `count` probes, spread over `at_once` threads.
    pub fn many(&self, protocol: Protocol, target: SocketAddr, count: usize, at_once: usize) -> Vec<Answer> {
        let one = |worker: usize| {
            (worker..count).step_by(at_once).map(|_| self.probe(protocol, target)).collect::<Vec<_>>()
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..at_once).map(|worker| scope.spawn(move || one(worker))).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
        })
    }

    /// Opens a TCP connection that stays open.
    pub fn open(&self, target: SocketAddr) -> std::io::Result<Connection> {
        let socket = self.socket(target, Type::STREAM)?;
        socket.connect_timeout(&target.into(), self.limit)?;
        Connection::new(TcpStream::from(socket), self.limit)
    }

    fn socket(&self, target: SocketAddr, kind: Type) -> std::io::Result<Socket> {
        let socket = self.namespace.socket(Domain::for_address(target), kind, None)?;
        if self.mark != 0 {
            socket.set_mark(self.mark)?;
        }
        let unspecified = match target {
            SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
            SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
        };
        let source = self.source.unwrap_or(unspecified);
        if self.source.is_some() {
            socket.set_reuse_address(true)?;
        }
        if source.port() == 0 && kind == Type::DGRAM {
            bind_to_new_port(&socket, source.ip())?;
        } else if self.source.is_some() {
            socket.bind(&source.into())?;
        }
        Ok(socket)
    }

    fn datagram(&self, target: SocketAddr) -> std::io::Result<Answer> {
        let socket = self.socket(target, Type::DGRAM)?;
        socket.set_read_timeout(Some(self.limit))?;
        socket.connect(&target.into())?;
        let socket = UdpSocket::from(socket);
        match socket.send(b"who are you?") {
            // The error that a local process gets when its own packet is rejected; the actual reason follows at once.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            sent => drop(sent?),
        }
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer)?;
        Ok(Answer::parse(buffer.get(..length).unwrap_or_default()))
    }
}

/// Source ports of UDP probes, one after the other. The kernel would choose them at random, and occasionally
/// reuse the port of an earlier probe: the new probe would then belong to the flow of that probe.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

fn bind_to_new_port(socket: &Socket, source: IpAddr) -> std::io::Result<()> {
    loop {
        let port = 33_000 + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % 32_000;
        match socket.bind(&SocketAddr::new(source, port).into()) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            outcome => return outcome,
        }
    }
}
