//! A server, and an HTTP client that gives access to the raw answers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use portolan_integration::{ApiServer, Namespace};
use serde_json::{Value, json};
use socket2::{Domain, Type};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 6443);
/// The longest wait for an answer, which takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_mins(1);
pub const SERVICES: &str = "/api/v1/services";
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

/// A server in its own network namespace.
pub struct Scene {
    pub server: ApiServer,
    namespace: Namespace,
    /// The longest wait for an answer.
    pub patience: Duration,
}

/// An answer: the headers have come, the body may still come.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<String>,
    body: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    chunked: bool,
    line: Vec<u8>,
}

impl Scene {
    pub fn new() -> Self {
        Self::with_bookmarks(Duration::from_mins(1))
    }

    pub fn with_bookmarks(period: Duration) -> Self {
        let namespace = Namespace::new("api").unwrap_or_else(|error| panic!("{error}"));
        let server = ApiServer::with_bookmarks(&namespace, ADDRESS.into(), period).unwrap();
        Self { server, namespace, patience: PATIENCE }
    }

    pub fn get(&self, url: &str) -> Answer {
        self.request("GET", url, Some("token-of-the-test"), "")
            .unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    pub fn request(
        &self,
        method: &str,
        url: &str,
        token: Option<&str>,
        body: &str,
    ) -> std::io::Result<Answer> {
        let authority = std::fs::read(self.server.kubeconfig().with_extension("crt"))?;
        self.request_trusting(&authority, method, url, token, body)
    }

    pub fn request_trusting(
        &self,
        authority: &[u8],
        method: &str,
        url: &str,
        token: Option<&str>,
        body: &str,
    ) -> std::io::Result<Answer> {
        let headers = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        self.send(authority, method, url, &headers, body)
    }

    /// Requests a response of this content type.
    pub fn accepting(&self, kind: &str, url: &str, token: Option<&str>) -> std::io::Result<Answer> {
        let authority = std::fs::read(self.server.kubeconfig().with_extension("crt"))?;
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        self.send(&authority, "GET", url, &format!("Accept: {kind}\r\n{token}"), "")
    }

    fn send(
        &self,
        authority: &[u8],
        method: &str,
        url: &str,
        headers: &str,
        body: &str,
    ) -> std::io::Result<Answer> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = self.namespace.socket(Domain::IPV4, Type::STREAM, None)?;
        socket.connect(&std::net::SocketAddr::from(ADDRESS).into())?;
        socket.set_read_timeout(Some(self.patience))?;
        let connection = ClientConnection::new(Arc::new(config), "127.0.0.1".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::from(socket));
        write!(
            stream,
            "{method} {url} HTTP/1.1\r\nHost: api\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        Answer::begin(BufReader::new(stream))
    }
}

impl Answer {
    fn begin(mut body: BufReader<StreamOwned<ClientConnection, TcpStream>>) -> std::io::Result<Self> {
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if body.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end() {
                "" => break,
                line => headers.push(line.to_ascii_lowercase()),
            }
        }
        let status = headers[0].split(' ').nth(1).unwrap().parse().unwrap();
        let chunked = headers.contains(&"transfer-encoding: chunked".to_owned());
        Ok(Self { status, headers, body, chunked, line: Vec::new() })
    }

    /// Reads the whole body as JSON.
    pub fn json(self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// Reads the whole body as text.
    pub fn text(mut self) -> String {
        let length = self.headers.iter().find_map(|header| header.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.body.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    /// Returns the next event of a watch, or `None` at the end. It is an error if the connection breaks or nothing
    /// comes for a while.
    pub fn event(&mut self) -> std::io::Result<Option<Value>> {
        assert!(self.chunked, "a watch is an answer without a length");
        while !self.line.contains(&b'\n') {
            let mut size = String::new();
            if self.body.read_line(&mut size)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            self.body.read_exact(&mut chunk)?;
            if size == 0 {
                return Ok(None);
            }
            self.line.extend_from_slice(&chunk[..size]);
        }
        let end = self.line.iter().position(|byte| *byte == b'\n').unwrap();
        let rest = self.line.split_off(end + 1);
        let line = std::mem::replace(&mut self.line, rest);
        Ok(Some(serde_json::from_slice(&line).unwrap()))
    }

    /// Returns the next events, each as type, object name and version.
    pub fn events(&mut self, count: usize) -> Vec<String> {
        let event = |_| {
            let event = self.event().unwrap().expect("the watch goes on");
            let metadata = &event["object"]["metadata"];
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} {}",
                text(&event["type"]),
                text(&metadata["name"]),
                text(&metadata["resourceVersion"])
            )
        };
        (0..count).map(event).collect()
    }

    /// Whether nothing comes for this long.
    pub fn is_silent(&mut self, time: Duration) -> bool {
        self.body.get_ref().sock.set_read_timeout(Some(time)).unwrap();
        let outcome = self.event();
        self.body.get_ref().sock.set_read_timeout(Some(PATIENCE)).unwrap();
        matches!(outcome, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// Returns a Service with a label.
pub fn service(name: &str, label: Option<&str>) -> Value {
    let labels = label.map(|label| json!({label: "x"})).unwrap_or_default();
    json!({"apiVersion": "v1", "kind": "Service",
           "metadata": {"name": name, "namespace": "default", "labels": labels},
           "spec": {"clusterIP": "10.96.0.1"}})
}

/// Returns the names of a list's items.
pub fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}
