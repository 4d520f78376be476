//! Continuous new connections and their outcomes: to detect failures that must never happen, however rare they are.
//!
//! Only the first packet of a connection meets the rules, so each connection is one packet (and for TCP the end of
//! the handshake), from a port of its own. No packet is sent twice: a lost packet is a failure, not a delay. The number
//! of connections in progress is limited, so that a slow machine sends fewer and loses none.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    io::{self, ErrorKind, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
    os::fd::AsFd,
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt},
};
use socket2::{Domain, Socket, Type};

use super::{Client, Protocol};
use crate::LabError;

/// Connections in progress at a time, for each sender: no queue of the kernel is shorter than a few times this.
const AT_ONCE: usize = 48;
/// Additional connections of each sender in a burst.
const BURST: usize = 64;
/// Connections are opened in groups of this size.
const GROUP: usize = 10;
/// How long a sender sleeps at most, and so how soon it notices the beginning of a burst.
const ATTENTION: Duration = Duration::from_millis(1);
/// A burst is at its height once this many of its connections are opened, or after [`RISE`].
const HEIGHT: usize = 50;
/// How long a burst may take to reach its height.
const RISE: Duration = Duration::from_millis(5);
/// How long an answer may take; it takes less than a millisecond on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many failures are described; all are counted.
const DESCRIBED: usize = 100;
/// The mark on packets of a TCP socket that has sent its first request.
const REQUESTED: u32 = 1 << 20;
/// Drops retransmitted requests.
const NOTHING_TWICE: &str = "
    table inet flows
    delete table inet flows
    table inet flows {
        chain output {
            type filter hook output priority -400;
            meta mark & 0x100000 != 0 tcp flags & (syn | ack) == syn drop
        }
    }\n";

/// The outcome of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// A server answered.
    Answered,
    /// It was refused.
    Refused,
    /// An ICMP error reported that there is no route to the destination: the packet left untranslated.
    Astray,
    /// Nothing came back.
    Dropped,
}

/// A connection that was not answered.
#[derive(Debug, Clone)]
pub struct Failure {
    /// When its first packet was sent.
    pub sent: Instant,
    /// Which connection it was, and its outcome.
    pub text: String,
}

/// The outcomes of the connections of one [`Flows`].
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Numbers of connections, by protocol, frontend as given to [`Flows::start`], and fate.
    pub counts: BTreeMap<(Protocol, &'static str, Fate), u64>,
    /// The first failures.
    pub failures: Vec<Failure>,
}

impl Tally {
    /// How many connections had this outcome.
    pub fn of(&self, fate: Fate) -> u64 {
        self.counts.iter().filter(|((.., met), _)| *met == fate).map(|(_, count)| count).sum()
    }

    /// The smallest number of answered connections of any protocol and frontend; 0 if one has none.
    pub fn fewest_answered(&self, frontends: &[(&'static str, SocketAddr)]) -> u64 {
        let of = |protocol, name| self.counts.get(&(protocol, name, Fate::Answered)).copied().unwrap_or(0);
        let counts = frontends.iter().flat_map(|(name, _)| PROTOCOLS.map(|protocol| of(protocol, name)));
        counts.min().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        for ((protocol, name, fate), count) in &self.counts {
            let fate = if *fate == Fate::Answered { String::new() } else { format!(" {fate:?}") };
            words.push(format!("{protocol} {name}{fate} {count}"));
        }
        f.write_str(&words.join(", "))
    }
}

/// Makes all [`Flows`] that share this open many connections at one moment: for events that last only a few
/// microseconds, which evenly spread connections hardly ever meet.
#[derive(Debug, Clone, Default)]
pub struct Bursts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    bursts: AtomicUsize,
    opened: AtomicUsize,
}

impl Bursts {
    /// Begins a burst; returns when the burst is about at its height.
    pub fn begin(&self) {
        let before = self.opened();
        self.0.bursts.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        while self.opened() - before < HEIGHT && begun.elapsed() < RISE {
            thread::sleep(Duration::from_micros(20));
        }
    }

    /// The number of bursts so far.
    pub fn count(&self) -> usize {
        self.0.bursts.load(Ordering::Relaxed)
    }

    /// The number of connections opened in bursts.
    pub fn opened(&self) -> usize {
        self.0.opened.load(Ordering::Relaxed)
    }
}

const PROTOCOLS: [Protocol; 2] = [Protocol::Udp, Protocol::Tcp];

/// A thread that opens connections until it is stopped. Dropping this stops the thread without waiting.
#[derive(Debug)]
pub struct Flows {
    stopped: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Flows {
    /// Opens up to `a_second` connections a second from the client's namespace: UDP and TCP, to each of these
    /// frontends in turn (a name, and an address of one family), from each of these ports in turn. Connection
    /// tracking must forget a connection before the turn of its port comes again.
    pub fn start(
        client: &Client,
        frontends: &[(&'static str, SocketAddr)],
        ports: Range<u16>,
        a_second: u32,
        bursts: &Bursts,
    ) -> Result<Self, LabError> {
        let (namespace, what) = (client.namespace(), format!("send from {}", client.name()));
        namespace.filter("nft", &["-f", "-"], NOTHING_TWICE)?;
        let (stopped, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Tally::default())));
        let sender = Sender {
            name: client.name().to_owned(),
            frontends: frontends.to_vec(),
            turns: 0,
            ports: ports.clone(),
            next_ports: [ports.start; 2],
            every: Duration::from_secs(GROUP as u64) / a_second,
            prepared: VecDeque::new(),
            under_way: VecDeque::new(),
            bursts: bursts.clone(),
            tally: tally.clone(),
        };
        let flag = stopped.clone();
        // A thread starts in the namespace of the thread that spawns it.
        let start = move || thread::Builder::new().spawn(move || sender.run(&flag));
        let thread = namespace.enter(start).map_err(LabError::io(what))?;
        Ok(Self { stopped, tally, thread: Some(thread) })
    }

    /// The outcomes of the connections that have ended so far.
    pub fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Opens no more connections, and waits until all outcomes are known.
    ///
    /// # Errors
    /// If a connection could not even be attempted.
    pub fn end(mut self) -> io::Result<Tally> {
        self.stopped.store(true, Ordering::Relaxed);
        let thread = self.thread.take().map(JoinHandle::join);
        thread.unwrap_or(Ok(Ok(()))).unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(self.tally())
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection in progress.
struct Flow {
    protocol: Protocol,
    frontend: (&'static str, SocketAddr),
    port: u16,
    sent: Instant,
    socket: Socket,
}

struct Sender {
    name: String,
    frontends: Vec<(&'static str, SocketAddr)>,
    /// Connections opened so far.
    turns: usize,
    ports: Range<u16>,
    /// The next ports of UDP and of TCP.
    next_ports: [u16; 2],
    /// Time between two groups.
    every: Duration,
    /// Connections whose first packet can be sent at once.
    prepared: VecDeque<Flow>,
    under_way: VecDeque<Flow>,
    bursts: Bursts,
    tally: Arc<Mutex<Tally>>,
}

impl Sender {
    fn run(mut self, stopped: &AtomicBool) -> io::Result<()> {
        // The thread that begins a burst, and whatever happens during it, has priority.
        let thread = nix::unistd::gettid().to_string();
        let reniced = Command::new("renice").args(["-n", "10", "-p", &thread]).output()?;
        if !reniced.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&reniced.stderr).into_owned()));
        }
        let (mut due, mut bursts) = (Instant::now(), self.bursts.count());
        loop {
            let now = Instant::now();
            let is_last = stopped.load(Ordering::Relaxed);
            if is_last && self.under_way.is_empty() {
                return Ok(());
            }
            let is_burst = bursts != self.bursts.count();
            if !is_last && is_burst {
                bursts = self.bursts.count();
                while self.under_way.len() < AT_ONCE + BURST
                    && let Some(flow) = self.prepared.pop_front()
                {
                    self.under_way.push_back(flow.send()?);
                    self.bursts.0.opened.fetch_add(1, Ordering::Relaxed);
                }
            }
            if !is_last && now >= due {
                for _ in 0..GROUP.min(AT_ONCE.saturating_sub(self.under_way.len())) {
                    let flow = self.prepare()?;
                    self.prepared.push_back(flow);
                    let oldest = self.prepared.pop_front().map(Flow::send).transpose()?;
                    self.under_way.extend(oldest);
                }
                // Missed connections are not made up for.
                due = now + self.every;
            }
            for _ in 0..GROUP.min(BURST.saturating_sub(self.prepared.len())) {
                let flow = self.prepare()?;
                self.prepared.push_back(flow);
            }
            self.wait()?;
            self.settle()?;
        }
    }

    /// Waits briefly for an answer.
    fn wait(&self) -> io::Result<()> {
        let flags =
            |flow: &Flow| if flow.protocol == Protocol::Tcp { PollFlags::POLLOUT } else { PollFlags::POLLIN };
        let mut fds: Vec<_> =
            self.under_way.iter().map(|flow| PollFd::new(flow.socket.as_fd(), flags(flow))).collect();
        match poll(&mut fds, PollTimeout::from(ATTENTION.as_millis() as u8)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Counts the connections that have ended.
    fn settle(&mut self) -> io::Result<()> {
        let mut tally = lock(&self.tally);
        let mut open = VecDeque::with_capacity(AT_ONCE);
        for flow in self.under_way.drain(..) {
            let Some(fate) = flow.fate()? else {
                open.push_back(flow);
                continue;
            };
            *tally.counts.entry((flow.protocol, flow.frontend.0, fate)).or_default() += 1;
            if fate != Fate::Answered && tally.failures.len() < DESCRIBED {
                let (name, Flow { protocol, frontend, port, sent, .. }) = (&self.name, flow);
                let text =
                    format!("{protocol} {name} port {port} to {} {}: {fate:?}", frontend.0, frontend.1);
                tally.failures.push(Failure { sent, text });
            }
        }
        self.under_way = open;
        Ok(())
    }

    /// Creates the socket of the next connection.
    fn prepare(&mut self) -> io::Result<Flow> {
        let protocol = PROTOCOLS[self.turns % PROTOCOLS.len()];
        let frontend = self.frontends[self.turns / PROTOCOLS.len() % self.frontends.len()];
        self.turns += 1;
        let kind = if protocol == Protocol::Tcp { Type::STREAM } else { Type::DGRAM };
        let socket = Socket::new(Domain::for_address(frontend.1), kind, None)?;
        socket.set_nonblocking(true)?;
        let port = self.bind(&socket, protocol, frontend.1)?;
        match protocol {
            Protocol::Tcp => {
                // Closing resets the connection, so that neither side remembers it.
                socket.set_linger(Some(Duration::ZERO))?;
            }
            _ if frontend.1.is_ipv4() => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
            _ => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
        }
        if protocol == Protocol::Udp {
            socket.connect(&frontend.1.into())?;
        }
        Ok(Flow { protocol, frontend, port, sent: Instant::now(), socket })
    }

    /// Binds to the next free port.
    fn bind(&mut self, socket: &Socket, protocol: Protocol, target: SocketAddr) -> io::Result<u16> {
        let any: IpAddr =
            if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        if target.is_ipv6() {
            // The ports of the other family belong to another sender.
            socket.set_only_v6(true)?;
        }
        for _ in self.ports.clone() {
            let next = &mut self.next_ports[usize::from(protocol == Protocol::Tcp)];
            let port = *next;
            *next = if port + 1 < self.ports.end { port + 1 } else { self.ports.start };
            match socket.bind(&SocketAddr::new(any, port).into()) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                bound => return bound.map(|()| port),
            }
        }
        Err(ErrorKind::AddrInUse.into())
    }
}

impl Flow {
    /// Sends the first packet.
    fn send(mut self) -> io::Result<Self> {
        self.sent = Instant::now();
        if self.protocol == Protocol::Tcp {
            match self.socket.connect(&self.frontend.1.into()) {
                Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
                connected => connected?,
            }
            self.socket.set_mark(REQUESTED)?;
        } else {
            match self.socket.send(b"?") {
                // The error that a local process gets when its own packet is rejected; the actual reason follows at once.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                sent => drop(sent?),
            }
        }
        Ok(self)
    }

    /// The outcome of the connection, if it is known.
    ///
    /// # Errors
    /// An error that is not about the network.
    fn fate(&self) -> io::Result<Option<Fate>> {
        let outcome = match self.protocol {
            Protocol::Tcp => match self.socket.take_error()? {
                Some(error) => Err(error),
                None => self.socket.peer_addr().map(drop),
            },
            _ => (&self.socket).read(&mut [0; 128]).map(drop),
        };
        let Err(error) = outcome else { return Ok(Some(Fate::Answered)) };
        match error.kind() {
            ErrorKind::ConnectionRefused => Ok(Some(Fate::Refused)),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Ok(Some(Fate::Astray)),
            ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::TimedOut => {
                Ok((self.sent.elapsed() > PATIENCE || error.kind() == ErrorKind::TimedOut)
                    .then_some(Fate::Dropped))
            }
            _ => Err(error),
        }
    }
}
