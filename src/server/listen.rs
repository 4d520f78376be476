//! Listening sockets: bound again and again until it works, with a bound on how many connections there are and on
//! how long one may say nothing.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, serve::Listener};
use rustix::net::sockopt::set_ipv6_v6only;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep, sleep_until},
};
use tracing::{error, info};

use super::ServerError;

/// How long to wait before trying again to bind an address that is taken, as kube-proxy does.
pub const BIND_RETRY: Duration = Duration::from_secs(5);
/// A connection that says nothing for this long is closed. Longer than Prometheus usually waits between two scrapes.
const IDLE: Duration = Duration::from_secs(90);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// Binds an address. With `one_family`, the unspecified IPv6 address does not take IPv4's as well.
pub fn bind(address: SocketAddr, one_family: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            set_ipv6_v6only(&socket, one_family)?;
            socket
        }
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A server at a fixed address.
pub struct Server {
    option: String,
    address: SocketAddr,
    bound: Option<TcpListener>,
    connections: usize,
}

impl Server {
    /// Binds the address that an option names, or finds out that it cannot be: which is an error, or said once and
    /// tried again later.
    pub fn bind(
        option: String,
        address: SocketAddr,
        connections: usize,
        hard_fail: bool,
    ) -> Result<Self, ServerError> {
        let bound = match bind(address, false) {
            Ok(listener) => Some(listener),
            Err(source) if hard_fail => return Err(ServerError::Bind { option, address, source }),
            Err(error) => {
                error!("{option} {address}: {error}; trying again every {BIND_RETRY:?}");
                None
            }
        };
        Ok(Self { option, address, bound, connections })
    }

    /// Serves until the runtime ends.
    pub async fn serve(mut self, router: Router) {
        let limit = Arc::new(Semaphore::new(self.connections));
        let listener = loop {
            match self.bound.take().map_or_else(|| bind(self.address, false), Ok) {
                Ok(listener) => break listener,
                Err(_) => sleep(BIND_RETRY).await,
            }
        };
        info!(option = self.option, address = %self.address, "Server listens");
        // Never ends: errors of single connections are theirs alone.
        if let Err(error) = axum::serve(Bounded::new(listener, limit), router).await {
            error!("{} {}: {error}; no longer served", self.option, self.address);
        }
    }
}

/// A listener whose connections count against a limit, which several listeners may share.
pub struct Bounded {
    listener: TcpListener,
    limit: Arc<Semaphore>,
}

impl Bounded {
    /// Bounds a listener.
    pub fn new(listener: TcpListener, limit: Arc<Semaphore>) -> Self {
        Self { listener, limit }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The limit is never closed; if it were, connections would not be limited.
        let permit = self.limit.clone().acquire_owned().await.ok();
        // As of a plain listener: when there are no file descriptors left, waits a second.
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let idle = Box::pin(sleep(IDLE));
        (Connection { stream, idle, _permit: permit }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when its peer is silent for too long.
pub struct Connection {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Puts off the end after something happened, or ends it if nothing does for too long.
    fn alive<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.idle.set(sleep_until(Instant::now() + IDLE));
            return poll;
        }
        match self.idle.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.alive(context, poll)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.alive(context, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
