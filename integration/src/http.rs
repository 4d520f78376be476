//! Plain HTTP requests from a namespace, as a load balancer, a kubelet or Prometheus would send them.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;
use socket2::{Domain, Type};

use crate::Namespace;

/// How long a response may take; it takes less than a millisecond on an idle machine.
const LIMIT: Duration = Duration::from_mins(1);

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub code: u16,
    /// Names, in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Response {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If the body is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

/// Requests a path; `None` without a response.
pub fn get(namespace: &Namespace, target: SocketAddr, path: &str) -> Option<Response> {
    request(namespace, target, "GET", path)
}

/// Sends a request without a body; `None` without a response.
pub fn request(namespace: &Namespace, target: SocketAddr, method: &str, path: &str) -> Option<Response> {
    send(namespace, target, method, path, None)
}

/// Sends a request with a JSON body; `None` without a response.
pub fn send(
    namespace: &Namespace,
    target: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Option<Response> {
    let socket = namespace.socket(Domain::for_address(target), Type::STREAM, None).ok()?;
    socket.connect_timeout(&target.into(), LIMIT).ok()?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    read(stream)
}

/// Reads a response, to the length that it declares or until the other end closes.
fn read(mut stream: TcpStream) -> Option<Response> {
    let mut answer = Vec::new();
    let mut part = [0; 16 << 10];
    let mut end = None;
    while end.is_none_or(|end| answer.len() < end) {
        match stream.read(&mut part).ok()? {
            0 => break,
            length => answer.extend_from_slice(part.get(..length)?),
        }
        end = end.or_else(|| {
            let body = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
            let length: usize = parse(answer.get(..body)?)?.header("content-length")?.parse().ok()?;
            Some(body + length)
        });
    }
    parse(&answer)
}

fn parse(answer: &[u8]) -> Option<Response> {
    let (head, body) = std::str::from_utf8(answer).ok()?.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let code = lines.next()?.split_whitespace().nth(1)?.parse().ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_lowercase(), value.trim().to_owned()))
    };
    Some(Response { code, headers: lines.filter_map(header).collect(), body: body.to_owned() })
}
