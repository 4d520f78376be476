//! Random requests to the socket and to the page.
//!
//! `PORTOLAN_FUZZ_SECONDS` is the duration, and `PORTOLAN_FUZZ_SEED` is the seed; `make soak` sets both.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use portolan_integration::{Namespace, eventually};
use socket2::{Domain, Type};

use crate::running::{PATIENCE, Running, put};

/// The default duration, in seconds.
const SECONDS: u64 = 5;
/// The most by which the agent's memory may grow.
const GROWTH_KIB: u64 = 64 << 10;
/// The port of the page.
const PAGE: u16 = 10249;

/// The parts of paths and parameters.
const PARTS: [&str; 48] = [
    "/",
    "services",
    "trace",
    "commits",
    "state",
    "connections",
    "metrics",
    "statusz",
    "configz",
    "page.css",
    "?",
    "&",
    "=",
    "q",
    "from",
    "to",
    "protocol",
    "page",
    "service",
    "namespace",
    "frontend",
    "%00",
    "%ff",
    "%C3%28",
    "%0d%0a",
    "..",
    "%2e%2e",
    "svc%2F",
    "default",
    "web",
    ":",
    "80",
    "99999",
    "-1",
    "18446744073709551616",
    "10.96.0.1",
    "[::1]",
    "pod",
    "node",
    "outside",
    "+",
    "<script>",
    "%F0%9F%92%A3",
    "tcp",
    "sctp",
    " ",
    "#",
    "%",
];

/// The header lines of requests.
const HEADERS: [&str; 8] = [
    "Host: x",
    "Content-Length: 5",
    "Content-Length: 18446744073709551616",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
    "Range: bytes=0-,-1",
    "Host",
];

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "CONNECT", "get"];

/// Pseudo-random numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn request(&mut self) -> Vec<u8> {
        if self.below(20) == 0 {
            return (0..self.below(2000)).map(|_| self.below(256) as u8).collect();
        }
        let mut path = String::from("/");
        for _ in 0..self.below(14) {
            path.push_str(self.one(&PARTS));
        }
        if self.below(40) == 0 {
            path.push_str(&"a".repeat(self.below(40_000)));
        }
        let method = if self.below(4) > 0 { "GET" } else { self.one(&METHODS) };
        let version = self.one(&["1.0", "1.0", "1.1", "1.1", "1.1", "2.0", "9"]);
        let mut request = format!("{method} {path} HTTP/{version}\r\n");
        for _ in 0..self.below(4) {
            request.push_str(self.one(&HEADERS));
            request.push_str("\r\n");
        }
        let mut request = (request + "\r\n").into_bytes();
        match self.below(10) {
            // Some bytes are changed, missing or doubled.
            0..3 => {
                for _ in 0..=self.below(6) {
                    let at = self.below(request.len());
                    match self.below(3) {
                        0 => request[at] = self.below(256) as u8,
                        1 => drop(request.remove(at)),
                        _ => request.insert(at, request[at]),
                    }
                    if request.is_empty() {
                        request.push(0);
                    }
                }
            }
            3 => request.truncate(self.below(request.len())),
            4 => request = request.repeat(1 + self.below(20)),
            _ => {}
        }
        request
    }
}

trait Stream: Read + Write {
    /// Ends the request.
    fn finish(&self);
}

impl Stream for UnixStream {
    fn finish(&self) {
        // The agent may have closed the connection.
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Stream for TcpStream {
    fn finish(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

fn page(namespace: &Namespace) -> TcpStream {
    let socket = namespace.socket(Domain::IPV4, Type::STREAM, None).unwrap();
    let target: SocketAddr = (Ipv4Addr::LOCALHOST, PAGE).into();
    socket.connect(&target.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// Sends a request and returns the whole answer, or nothing if the connection is left before that.
fn ask(mut stream: impl Stream, request: &[u8], is_left: bool) -> Option<Vec<u8>> {
    // The agent may close the connection before it has read the whole request.
    let _ = stream.write_all(request);
    if is_left {
        return None;
    }
    stream.finish();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no end of an answer"),
        _ => Some(answer),
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

#[test]
fn random_questions_do_no_harm() {
    let seed = variable("PORTOLAN_FUZZ_SEED").unwrap_or(0x2545_f491_4f6c_dd1d);
    let time = Duration::from_secs(variable("PORTOLAN_FUZZ_SECONDS").unwrap_or(SECONDS));
    let running = Running::new(&["--endpoint-counters"]);
    let namespace = running.scene.lab.node_a.namespace();
    // After each part has run once, memory should not grow much more.
    for path in
        ["/", "/services/default/web", "/trace?from=pod&to=:30080", "/commits", "/metrics", "/statusz"]
    {
        assert_eq!(running.agent.get(PAGE, path).unwrap().code, 200, "{path}");
    }
    let memory = running.agent.resident_memory().unwrap();
    let began = Instant::now();
    let mut random = Random(seed.max(1));
    let (mut codes, mut asked) = (BTreeSet::new(), 0_u64);
    while began.elapsed() < time {
        let request = random.request();
        let is_left = random.below(10) == 0;
        let answer = if random.below(2) == 0 {
            ask(page(namespace), &request, is_left)
        } else {
            ask(running.connect(""), &request, is_left)
        };
        asked += 1;
        let Some(answer) = answer else { continue };
        let shown = || format!("seed {seed}: {:?}", String::from_utf8_lossy(&request));
        let text = String::from_utf8_lossy(&answer);
        let code = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok());
        assert!(code.is_some() || answer.is_empty(), "{}: {text}", shown());
        assert!(code != Some(500) && !text.contains("<script>"), "{}: {text}", shown());
        codes.extend(code);
    }
    println!("{asked} questions with seed {seed}: {codes:?}");
    assert!([200, 400, 404].iter().all(|code| codes.contains(code)), "{codes:?}");
    assert_eq!(running.agent.readyz(), Some(200));
    // The agent still programs changes.
    put(&running.scene, &[&running.pods[2]]);
    let is_changed = || running.run(&["get", "services", "web"]).stdout.contains("2/2");
    assert!(eventually(PATIENCE, is_changed).is_some(), "{}", running.agent.stderr());
    assert!(!running.agent.stderr().contains("panicked"), "{}", running.agent.stderr());
    let growth = running.agent.resident_memory().unwrap().saturating_sub(memory);
    println!("resident memory: {memory} KiB, and {growth} KiB more afterwards");
    assert!(growth < GROWTH_KIB, "{growth} KiB more");
}

/// Many clients do not read their answers, at the socket and at the page: other clients are answered, and changes are
/// committed.
#[test]
fn a_client_that_does_not_read_delays_no_other() {
    let running = Running::new(&[]);
    let namespace = running.scene.lab.node_a.namespace();
    let mut idle: Vec<Box<dyn Stream>> = Vec::new();
    for _ in 0..40 {
        idle.push(Box::new(running.connect("GET /state HTTP/1.0\r\n\r\n")));
        idle.push(Box::new(running.connect("GET /state HTTP/1.0\r\n")));
        let mut page = page(namespace);
        for _ in 0..20 {
            // The oldest connections are closed for new ones, so that this one may be closed.
            let _ = page.write_all(b"GET /services/default/web HTTP/1.1\r\nHost: localhost\r\n\r\n");
        }
        idle.push(Box::new(page));
    }
    assert_eq!(running.run(&["check"]).code, Some(0));
    assert_eq!(running.agent.get(PAGE, "/services/default/web").unwrap().code, 200);
    assert_eq!(running.agent.readyz(), Some(200));
    put(&running.scene, &[&running.pods[2]]);
    let is_changed = || running.run(&["get", "services", "web"]).stdout.contains("2/2");
    assert!(eventually(PATIENCE, is_changed).is_some(), "{}", running.agent.stderr());
    drop(idle);
}
