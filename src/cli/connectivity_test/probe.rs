//! One connection, and what its server answers.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use portolan_rules::model::Protocol;

/// The beginning of each answer, so that another server is not taken for a server of the test.
pub const GREETING: &str = "portolan-connectivity-test ";
/// How long a TCP connection may take to be established, and each answer to arrive.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many times a datagram is sent, and how long each answer may take.
const DATAGRAMS: u32 = 3;
const DATAGRAM_PATIENCE: Duration = Duration::from_secs(1);
/// The longest line of a request or an answer.
pub const LONGEST: u64 = 512;
/// How long a server may take to connect on behalf of a test: longer than any connection.
const ON_BEHALF: Duration = Duration::from_secs(10);

/// Connects, and returns the name of the server.
pub fn connect(protocol: Protocol, to: SocketAddr) -> Result<String, String> {
    let answer = match protocol {
        Protocol::Udp => datagram(to),
        _ => ask(to, "name", PATIENCE),
    };
    let answer = answer.map_err(|error| word(&error))?;
    let name = answer.strip_prefix(GREETING).ok_or("another server answered")?;
    Ok(name.to_owned())
}

/// Asks a server to connect, and returns the name of the server that it reached.
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
        // If a datagram was refused, sending the next one or reading the next answer fails.
        match socket.send(b"name").and_then(|_| socket.recv(&mut answer)) {
            Ok(length) => {
                return Ok(String::from_utf8_lossy(&answer[..length]).trim_end().to_owned());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Describes an error, in a word or two if its kind is a common one.
fn word(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => "closed".to_owned(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable".to_owned(),
        _ => error.to_string(),
    }
}
