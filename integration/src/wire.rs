//! Counts what a server has sent to its clients.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Instant,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Counts the connections of a server and the bytes that it sends, including TLS.
#[derive(Debug, Default)]
pub struct Wire {
    connections: AtomicUsize,
    sent: AtomicU64,
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    connected: Option<Instant>,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Wire {
    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// The number of bytes sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Forgets the times of connections and sent bytes.
    pub fn forget_times(&self) {
        *self.times() = Times::default();
    }

    /// When the first connection since then was made.
    pub fn connected_at(&self) -> Option<Instant> {
        self.times().connected
    }

    /// When bytes were sent for the first time since then.
    pub fn first_sent(&self) -> Option<Instant> {
        self.times().first
    }

    /// When bytes were last sent.
    pub fn last_sent(&self) -> Option<Instant> {
        self.times().last
    }

    pub(crate) fn note_connection(&self) {
        self.connections.fetch_add(1, Relaxed);
        self.times().connected.get_or_insert_with(Instant::now);
    }

    /// Notes bytes whose sending began at this moment.
    pub(crate) fn note_sent(&self, bytes: usize, at: Instant) {
        self.sent.fetch_add(bytes as u64, Relaxed);
        let mut times = self.times();
        times.first.get_or_insert(at);
        times.last = Some(at);
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection whose sent bytes are counted.
#[derive(Debug)]
pub(crate) struct Counted {
    stream: TcpStream,
    wire: Arc<Wire>,
}

impl Counted {
    pub fn new(stream: TcpStream, wire: Arc<Wire>) -> Self {
        wire.note_connection();
        Self { stream, wire }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let at = Instant::now();
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.wire.note_sent(count, at);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
