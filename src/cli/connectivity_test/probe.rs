//! One connection, and what its server answers.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use portolan_rules::model::Protocol;

/// What each answer begins with, so that another server is not taken for one of the test's.
pub const GREETING: &str = "portolan-connectivity-test ";
/// How long a connection of TCP may take to begin, and each answer to come.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a datagram is sent, and how long its answer may take.
const DATAGRAMS: u32 = 3;
const DATAGRAM_PATIENCE: Duration = Duration::from_secs(1);
/// The longest line of a request or an answer.
pub const LONGEST: u64 = 512;
/// How long a server may take that connects on behalf of a test: longer than any connection.
const ON_BEHALF: Duration = Duration::from_secs(10);

/// Connects, and gives the name of the server.
pub fn connect(protocol: Protocol, to: SocketAddr) -> Result<String, String> {
    let answer = match protocol {
        Protocol::Udp => datagram(to),
        _ => ask(to, "name", PATIENCE),
    };
    let answer = answer.map_err(|error| word(&error))?;
    let name = answer.strip_prefix(GREETING).ok_or("another server answered")?;
    Ok(name.to_owned())
}

/// Has a server connect; gives the name of the server that it reached.
pub fn connect_from(from: SocketAddr, protocol: Protocol, to: SocketAddr) -> Result<String, String> {
    let unreachable = |error: io::Error| format!("the source does not answer: {}", word(&error));
    let answer = ask(from, &format!("connect {protocol} {to}"), ON_BEHALF).map_err(unreachable)?;
    let outcome = answer.strip_prefix(GREETING).ok_or("another server than the source answered")?;
    match outcome.split_once(' ') {
        Some(("answered", name)) => Ok(name.to_owned()),
        Some((_, problem)) => Err(problem.to_owned()),
        None => Err("the source did not understand".to_owned()),
    }
}

/// Sends a line and reads one.
fn ask(to: SocketAddr, request: &str, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut line)?;
    if line.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(line.trim_end().to_owned()) }
}

fn datagram(to: SocketAddr) -> io::Result<String> {
    let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(DATAGRAM_PATIENCE))?;
    let mut answer = [0; LONGEST as usize];
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for _ in 0..DATAGRAMS {
        // One that is refused says so when it is sent or when the next answer is read.
        match socket.send(b"name").and_then(|_| socket.recv(&mut answer)) {
            Ok(length) => {
                return Ok(String::from_utf8_lossy(&answer[..length]).trim_end().to_owned());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What went wrong, in a word where there is one.
fn word(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => "closed".to_owned(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable".to_owned(),
        _ => error.to_string(),
    }
}
