//! One thread that answers at many addresses and reports at which it was reached.

use std::{
    io::Write,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt},
};
use socket2::{Domain, Socket, Type};

use super::Answer;
use crate::{LabError, Namespace};

/// How often, in milliseconds, the thread checks whether the responder was dropped.
const PATIENCE: u8 = 100;
/// Bytes that a socket may hold: with everything that the kernel counts, a datagram takes about a thousand.
const BUFFER: usize = 1 << 20;

/// Answers TCP at every address of a namespace, and UDP at the given addresses. In place of a server's name, it
/// answers with the address and port at which it was reached: `10.128.1.2:8080`. A connection ends
/// with the answer.
#[derive(Debug)]
pub struct Responder {
    stopped: Arc<AtomicBool>,
}

impl Responder {
    /// Starts the responder in a namespace. Its packets carry `mark`, which routing may use; 0 is no mark. The
    /// addresses need not exist yet.
    pub fn start(
        namespace: &Namespace,
        addresses: &[IpAddr],
        ports: &[u16],
        mark: u32,
    ) -> Result<Self, LabError> {
        let what = || LabError::io(format!("answer in {}", namespace.name()));
        let (addresses, ports) = (addresses.to_vec(), ports.to_vec());
        let sockets = namespace.enter(move || Sockets::open(&addresses, &ports, mark)).map_err(what())?;
        let responder = Self { stopped: Arc::default() };
        let stopped = responder.stopped.clone();
        thread::Builder::new().spawn(move || sockets.answer(&stopped)).map_err(what())?;
        Ok(responder)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

struct Sockets {
    tcp: Vec<TcpListener>,
    udp: Vec<(SocketAddr, UdpSocket)>,
}

impl Sockets {
    /// Opens the sockets in the namespace of the calling thread.
    fn open(addresses: &[IpAddr], ports: &[u16], mark: u32) -> std::io::Result<Self> {
        let open = |address: SocketAddr, kind| {
            let socket = Socket::new(Domain::for_address(address), kind, None)?;
            socket.set_nonblocking(true)?;
            socket.set_mark(mark)?;
            socket.set_reuse_address(true)?;
            // Room for a thousand requests that arrive while this thread waits to run.
            setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
            if address.is_ipv4() {
                socket.set_freebind_v4(true)?;
            } else {
                socket.set_freebind_v6(true)?;
                socket.set_only_v6(!address.ip().is_unspecified())?;
            }
            socket.bind(&address.into())?;
            Ok::<_, std::io::Error>(socket)
        };
        let mut sockets = Self { tcp: Vec::new(), udp: Vec::new() };
        for port in ports {
            let socket = open((Ipv6Addr::UNSPECIFIED, *port).into(), Type::STREAM)?;
            socket.listen(1024)?;
            sockets.tcp.push(socket.into());
            for address in addresses {
                let address = SocketAddr::new(*address, *port);
                sockets.udp.push((address, open(address, Type::DGRAM)?.into()));
            }
        }
        Ok(sockets)
    }

    fn answer(&self, stopped: &AtomicBool) {
        let fds = self.tcp.iter().map(AsFd::as_fd).chain(self.udp.iter().map(|(_, socket)| socket.as_fd()));
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        while !stopped.load(Ordering::Relaxed) {
            if poll(&mut fds, PollTimeout::from(PATIENCE)).is_err() {
                continue;
            }
            let (tcp, udp) = fds.split_at(self.tcp.len());
            let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or_default();
            for (listener, _) in self.tcp.iter().zip(tcp).filter(|(_, fd)| is_ready(fd)) {
                greet(listener);
            }
            for ((address, socket), _) in self.udp.iter().zip(udp).filter(|(_, fd)| is_ready(fd)) {
                let mut buffer = [0; 64];
                while let Ok((_, client)) = socket.recv_from(&mut buffer) {
                    // A client that is gone does not receive the answer.
                    let _ = socket.send_to(Answer::line(&address.to_string(), client).as_bytes(), client);
                }
            }
        }
    }
}

/// Answers every waiting connection. The answer fits into any send buffer.
fn greet(listener: &TcpListener) {
    while let Ok((mut stream, client)) = listener.accept() {
        if let Ok(here) = stream.local_addr() {
            let here = SocketAddr::new(here.ip().to_canonical(), here.port());
            let _ = stream.write_all(Answer::line(&here.to_string(), client).as_bytes());
        }
    }
}
