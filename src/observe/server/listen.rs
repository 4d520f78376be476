//! Listening sockets: bound again and again until it works, with a bound on how many connections there are and on
//! how long each may take.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future as _,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, serve::Listener};
use rustix::net::sockopt::set_ipv6_v6only;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    time::{Instant, Sleep, sleep, sleep_until},
};
use tracing::{error, info};

use super::ServerError;

/// How long to wait before trying again to bind an address that is taken, as kube-proxy does.
pub const BIND_RETRY: Duration = Duration::from_secs(5);
/// A connection that asks nothing for this long after an answer is closed. Longer than Prometheus usually waits
/// between two scrapes.
const IDLE: Duration = Duration::from_secs(90);
/// Longest time from the beginning of a request to that of the answer: requests are a few lines.
const REQUEST: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// Binds an address as Go's network "tcp" does: the unspecified address of either family takes both, so that the
/// default of kube-proxy, `0.0.0.0`, also answers on nodes that have IPv6 alone. Where IPv6 is switched off,
/// `0.0.0.0` is bound as it is.
///
/// # Errors
/// Those of `socket(2)`, `bind(2)` and `listen(2)`.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    bind_any(address, open)
}

/// [`bind`], with the sockets that `open` makes; the flag says whether IPv4 is left out of an IPv6 socket.
fn bind_any<T>(address: SocketAddr, open: impl Fn(SocketAddr, bool) -> io::Result<T>) -> io::Result<T> {
    if address.ip() != Ipv4Addr::UNSPECIFIED {
        return open(address, false);
    }
    match open((Ipv6Addr::UNSPECIFIED, address.port()).into(), false) {
        // The port is taken, or may not be had; IPv4 alone would hide that from whoever connects over IPv6.
        Err(error) if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            Err(error)
        }
        // No IPv6: the kernel was booted with ipv6.disable=1, or built without it.
        Err(_) => open(address, false),
        bound => bound,
    }
}

/// Binds an address in its own family alone.
///
/// # Errors
/// As [`bind`].
pub fn bind_in_family(address: SocketAddr) -> io::Result<TcpListener> {
    open(address, true)
}

/// A listening socket; with `v6_only`, one of IPv6 takes no connections of IPv4.
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
    /// Binds the address that an option names, or finds out that it cannot be: which is an error, or said once and
    /// tried again later.
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
                error!("{option} {address}: {error}; trying again every {BIND_RETRY:?}");
                None
            }
        };
        Ok(Self { option, address, bound, connections })
    }

    /// Serves until the runtime ends.
    pub async fn serve(mut self, router: Router) {
        let limit = Limit::new(self.connections);
        let listener = loop {
            match self.bound.take().map_or_else(|| bind(self.address), Ok) {
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

/// How many connections there may be, at all listeners that share this. One more takes the place of the oldest: who
/// holds connections open for no purpose must not keep probes out.
#[derive(Clone, Debug)]
pub struct Limit(Arc<Open>);

#[derive(Debug)]
struct Open {
    most: usize,
    /// The oldest first. Dropped to end the connection; closed once it has ended.
    connections: Mutex<VecDeque<oneshot::Sender<Infallible>>>,
}

impl Limit {
    /// At most so many.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Open { most, connections: Mutex::default() }))
    }

    /// One more connection; what it gets is ready when it has to end.
    fn admit(&self) -> oneshot::Receiver<Infallible> {
        let mut open = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= self.0.most {
            open.retain(|connection| !connection.is_closed());
        }
        if open.len() >= self.0.most {
            open.pop_front();
        }
        let (connection, end) = oneshot::channel();
        open.push_back(connection);
        end
    }
}

/// A listener whose connections count against a limit.
pub struct Bounded {
    listener: TcpListener,
    limit: Limit,
    /// Longest time of a request.
    request: Duration,
}

impl Bounded {
    /// Bounds a listener.
    pub fn new(listener: TcpListener, limit: Limit) -> Self {
        Self { listener, limit, request: REQUEST }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // As of a plain listener: when there are no file descriptors left, waits a second.
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Connection::new(stream, self.request, self.limit.admit()), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when its peer takes too long, or when others need its place.
pub struct Connection {
    stream: TcpStream,
    /// Whether a request has begun, or is to, that is not answered yet.
    asking: bool,
    request: Duration,
    until: Pin<Box<Sleep>>,
    end: oneshot::Receiver<Infallible>,
}

impl Connection {
    fn new(stream: TcpStream, request: Duration, end: oneshot::Receiver<Infallible>) -> Self {
        Self { stream, asking: true, request, until: Box::pin(sleep(request)), end }
    }

    /// Notes that something was read, or with `answers` written.
    fn note(&mut self, answers: bool) {
        if answers {
            self.asking = false;
            self.until.set(sleep_until(Instant::now() + IDLE));
        } else if !std::mem::replace(&mut self.asking, true) {
            let until = Instant::now() + self.request;
            self.until.set(sleep_until(until));
        }
    }

    /// While there is nothing to do: whether to go on waiting.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let over = self.until.as_mut().poll(context).is_ready();
        if over || Pin::new(&mut self.end).poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.wait(context),
            ready @ Poll::Ready(_) => {
                self.note(false);
                ready
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Pending => self.wait(context),
            ready @ Poll::Ready(_) => {
                self.note(true);
                ready
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A server of one page that takes so many connections at a time.
    fn server(most: usize, request: Duration) -> SocketAddr {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "page" }));
        let bounded = Bounded { listener, limit: Limit::new(most), request };
        tokio::spawn(async move { axum::serve(bounded, router).await });
        address
    }

    const REQUEST_LINE: &[u8] = b"GET / HTTP/1.1\r\n";
    const END: &[u8] = b"host: x\r\n\r\n";

    async fn connect(address: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// What comes until the end; nothing if that is the end.
    async fn read(stream: &mut TcpStream) -> String {
        let mut bytes = [0; 1024];
        let length = stream.read(&mut bytes).await.unwrap_or_default();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[tokio::test]
    async fn who_holds_every_connection_keeps_nobody_out() {
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
        // One that has room is left alone.
        let newest = idle.last_mut().unwrap();
        newest.write_all(END).await.unwrap();
        assert!(read(newest).await.ends_with("page"));
    }

    #[tokio::test]
    async fn a_request_that_drips_in_is_given_up() {
        let mut stream = connect(server(4, Duration::from_millis(300)), b"G").await;
        let drip = async {
            while stream.write_all(b"E").await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_mins(1), drip).await.is_ok());
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
        // EAFNOSUPPORT, which has no kind of its own.
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
