//! Listening sockets, whose binding is retried until it succeeds, with limits on the number of connections and on how
//! long each may be idle.

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::net::sockopt::{set_ipv6_v6only, set_tcp_user_timeout};
use tokio::{
    net::{TcpListener, TcpSocket},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tracing::{error, info};

use super::shared::ServerError;
use crate::retry::BIND_RETRY;

/// A connection is closed if a request takes longer than this to arrive, counted from the previous response, or if the
/// peer reads nothing of a response for this long. Longer than Prometheus usually waits between two scrapes.
const IDLE: Duration = Duration::from_secs(90);
/// Most bytes of a request's head: requests are a few lines.
const REQUEST_BYTES: usize = 16 << 10;
/// Most connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// Binds an address as Go's network "tcp" does: the unspecified address of either family takes both, so that the
/// default of kube-proxy, `0.0.0.0`, also answers on nodes that have only IPv6. Where IPv6 is disabled, `0.0.0.0` is
/// bound as it is.
///
/// # Errors
/// The errors of `socket(2)`, `bind(2)` and `listen(2)`.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    bind_any(address, open)
}

/// [`bind`] with sockets that `open` creates; the flag excludes IPv4 from an IPv6 socket.
pub fn bind_any<T>(address: SocketAddr, open: impl Fn(SocketAddr, bool) -> io::Result<T>) -> io::Result<T> {
    if address.ip() != Ipv4Addr::UNSPECIFIED {
        return open(address, false);
    }
    match open((Ipv6Addr::UNSPECIFIED, address.port()).into(), false) {
        // The port is taken or not permitted; binding IPv4 alone would hide that from clients that connect over IPv6.
        Err(error) if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            Err(error)
        }
        // No IPv6: the kernel was booted with ipv6.disable=1, or built without it.
        Err(_) => open(address, false),
        bound => bound,
    }
}

/// Binds an address in its own family only.
///
/// # Errors
/// As [`bind`].
pub fn bind_in_family(address: SocketAddr) -> io::Result<TcpListener> {
    open(address, true)
}

/// A listening socket; with `v6_only`, an IPv6 socket accepts no IPv4 connections.
fn open(address: SocketAddr, v6_only: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            set_ipv6_v6only(&socket, v6_only)?;
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
    /// Binds the address of an option. If the address cannot be bound, this is an error with `hard_fail`; otherwise it
    /// is logged once and retried later.
    pub fn bind(
        option: String,
        address: SocketAddr,
        connections: usize,
        hard_fail: bool,
    ) -> Result<Self, ServerError> {
        let bound = match bind(address) {
            Ok(listener) => Some(listener),
            Err(source) if hard_fail => return Err(ServerError::Bind { option, address, source }),
            Err(error) => {
                let retry = BIND_RETRY;
                error!(%error, option, %address, ?retry, "Address cannot be bound; trying again");
                None
            }
        };
        Ok(Self { option, address, bound, connections })
    }

    /// Serves until the runtime ends.
    pub async fn serve(mut self, router: Router) {
        let listener = loop {
            match self.bound.take().map_or_else(|| bind(self.address), Ok) {
                Ok(listener) => break listener,
                Err(_) => sleep(BIND_RETRY).await,
            }
        };
        info!(option = self.option, address = %self.address, "Server listens");
        serve(listener, Limit::new(self.connections), router).await;
    }
}

/// Serves until the task is aborted, which closes the listener and its connections.
pub async fn serve<L: Listener<Io: AsFd>>(mut listener: L, limit: Limit, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limit.idle).max_buf_size(REQUEST_BYTES);
    http.keep_alive(limit.longest.is_none());
    let user_timeout = u32::try_from(limit.idle.as_millis()).unwrap_or(u32::MAX);
    let longest = limit.longest.unwrap_or(Duration::MAX);
    let mut connections = JoinSet::new();
    loop {
        // Waits a second if no file descriptors are left.
        let (stream, _) = listener.accept().await;
        while connections.try_join_next().is_some() {}
        // If this fails, the connection is closed only when other connections need its place.
        let _ = set_tcp_user_timeout(&stream, user_timeout);
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        limit.admit(connections.spawn(async move {
            // Errors of a connection concern only its peer.
            let _ = timeout(longest, connection).await;
        }));
    }
}

/// Limits the number of connections of all listeners that share this limit. A further connection replaces the oldest:
/// idle connections must not keep probes out. A semaphore could only make the newcomer wait.
#[derive(Clone, Debug)]
pub struct Limit {
    most: usize,
    idle: Duration,
    /// How long a connection may last, if it serves a single request.
    longest: Option<Duration>,
    /// Oldest first.
    connections: Arc<Mutex<VecDeque<AbortHandle>>>,
}

impl Limit {
    /// A limit of this many connections.
    pub fn new(most: usize) -> Self {
        Self { most, idle: IDLE, longest: None, connections: Arc::default() }
    }

    /// The same limit for connections of one request each, which last no longer than this.
    pub fn for_one_request(self, longest: Duration) -> Self {
        Self { idle: longest, longest: Some(longest), ..self }
    }

    /// Counts a connection, and closes the oldest if there are too many.
    pub fn admit(&self, connection: AbortHandle) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.len() >= self.most {
            connections.retain(|connection| !connection.is_finished());
        }
        if connections.len() >= self.most
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
        connections.push_back(connection);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    /// A server of one page that accepts this many connections at a time.
    fn server(most: usize, idle: Duration) -> SocketAddr {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "page" }));
        tokio::spawn(serve(listener, Limit { idle, ..Limit::new(most) }, router));
        address
    }

    const REQUEST_LINE: &[u8] = b"GET / HTTP/1.1\r\n";
    const END: &[u8] = b"host: x\r\n\r\n";

    async fn connect(address: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// Reads once; returns an empty string at the end of the stream.
    async fn read(stream: &mut TcpStream) -> String {
        let mut bytes = [0; 1024];
        let length = stream.read(&mut bytes).await.unwrap_or_default();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[tokio::test]
    async fn idle_connections_do_not_keep_a_probe_out() {
        let address = server(4, Duration::from_mins(1));
        let mut idle = Vec::new();
        for _ in 0..20 {
            idle.push(connect(address, REQUEST_LINE).await);
        }
        let mut probe = connect(address, &[REQUEST_LINE, END].concat()).await;
        assert!(read(&mut probe).await.ends_with("page"));
        for stream in &mut idle[..16] {
            assert_eq!(read(stream).await, "", "the oldest are ended");
        }
        // A connection within the limit is left alone.
        let newest = idle.last_mut().unwrap();
        newest.write_all(END).await.unwrap();
        assert!(read(newest).await.ends_with("page"));
    }

    #[tokio::test]
    async fn a_request_that_drips_in_is_closed() {
        let mut stream = connect(server(4, Duration::from_millis(300)), b"G").await;
        let drip = async {
            while stream.write_all(b"E").await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_mins(1), drip).await.is_ok());
    }

    /// A peer that does not read its response is closed, although it acknowledges what its buffers take.
    #[tokio::test]
    async fn an_answer_that_is_not_read_is_closed() {
        const IDLE: Duration = Duration::from_millis(300);
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { vec![0; 64 << 20] }));
        let limit = Limit { idle: IDLE, ..Limit::new(4) };
        let connections = Arc::clone(&limit.connections);
        tokio::spawn(serve(listener, limit, router));
        let _stream = connect(address, &[REQUEST_LINE, END].concat()).await;
        let closed = async {
            while !connections.lock().unwrap().front().is_some_and(AbortHandle::is_finished) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_mins(1), closed).await.is_ok());
    }

    #[tokio::test]
    async fn either_unspecified_address_answers_both_families() {
        for unspecified in [Ipv4Addr::UNSPECIFIED.into(), IpAddr::from(Ipv6Addr::UNSPECIFIED)] {
            let listener = bind((unspecified, 0).into()).unwrap();
            let port = listener.local_addr().unwrap().port();
            for address in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
                TcpStream::connect((address, port)).await.unwrap();
            }
        }
        let listener = bind_in_family((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err());
    }

    #[test]
    fn without_ipv6_the_ipv4_address_is_bound() {
        let port = 10256;
        let (both, ipv4) =
            ((Ipv6Addr::UNSPECIFIED, port).into(), SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
        let bound = |refusal: io::ErrorKind| {
            bind_any(ipv4, |at, v6_only| {
                assert!(!v6_only);
                if at == both { Err(refusal.into()) } else { Ok(at) }
            })
        };
        // EAFNOSUPPORT, which has no `ErrorKind` of its own.
        assert_eq!(bound(io::ErrorKind::Unsupported).unwrap(), ipv4);
        assert_eq!(bound(io::ErrorKind::AddrNotAvailable).unwrap(), ipv4);
        assert_eq!(bound(io::ErrorKind::AddrInUse).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let one = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert_eq!(bind_any(one, |at, _| Ok(at)).unwrap(), one, "any other address stays as it is");
    }

    #[tokio::test]
    async fn a_connection_may_be_used_again() {
        let mut stream = connect(server(1, Duration::from_mins(1)), &[]).await;
        for _ in 0..3 {
            stream.write_all(&[REQUEST_LINE, END].concat()).await.unwrap();
            assert!(read(&mut stream).await.ends_with("page"));
        }
    }
}
