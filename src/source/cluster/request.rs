//! Requests to the API server, and what comes back, part by part.

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use http::{HeaderValue, Request, header};
use http_body_util::BodyExt;
use kube::client::Body;
use tokio::time::timeout;

use super::{
    credentials::Credentials,
    failure::{Failure, Why},
    timing::Timing,
};
use crate::observe::metrics::ApiRequests;

/// Longest answer to a request that failed; what is longer says nothing more.
const LONGEST_REFUSAL: usize = 64 << 10;

/// Longest object, in bytes, alone or with what a watch says of it. etcd takes none over 1.5 MiB unless told to.
pub(super) const LONGEST_OBJECT: usize = 4 << 20;

/// Who asks, for the server's audit log.
const USER_AGENT: &str = concat!("portolan/v", env!("CARGO_PKG_VERSION"), " (linux)");

/// Appends a parameter to a path.
pub(super) fn add_parameter(path: &mut String, name: &str, value: &str) {
    path.push(if path.contains('?') { '&' } else { '?' });
    path.push_str(name);
    path.push('=');
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(byte.into()),
            // Writing to a String does not fail.
            other => _ = write!(path, "%{other:02X}"),
        }
    }
}

/// What an answer is made of.
type Parts = BoxStream<'static, Result<Vec<u8>, Failure>>;

/// The API server, reached with the right credentials.
#[derive(Clone)]
pub(super) struct Connection {
    credentials: Arc<Credentials>,
    pub timing: Timing,
    /// The server's name and port, and where requests are counted.
    counted: Option<(Arc<str>, ApiRequests)>,
}

impl Connection {
    pub fn new(credentials: Credentials, timing: Timing) -> Self {
        Self { credentials: Arc::new(credentials), timing, counted: None }
    }

    /// The same, counting requests to this server.
    pub fn counting(self, url: &http::Uri, requests: ApiRequests) -> Self {
        let host = url.authority().map_or("", |authority| authority.as_str());
        Self { counted: Some((host.into(), requests)), ..self }
    }

    /// Asks for a path, and gives what the answer begins with.
    pub async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.get_as(path, "application/json").await
    }

    /// The same, for this representation (`Accept`).
    pub async fn get_as(&self, path: &str, representation: &'static str) -> Result<Answer, Failure> {
        // Decompression would buffer events; and nodes are near their API server.
        let request = Request::get(path)
            .header(header::ACCEPT, representation)
            .header(header::ACCEPT_ENCODING, "identity");
        self.send(request.body(Body::empty())).await
    }

    /// Sends a document, and reads the answer to its end.
    pub async fn write(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        document: Vec<u8>,
    ) -> Result<(), Failure> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, kind);
        let answer = self.send(request.body(Body::from(document))).await?;
        // Read to its end, the connection can be used again.
        answer.text(LONGEST_REFUSAL).await.map(drop)
    }

    async fn send(&self, request: http::Result<Request<Body>>) -> Result<Answer, Failure> {
        let mut request = request.map_err(|error| Failure::transport(&error))?;
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let (client, token) = self.credentials.current();
        if let Some(token) = token {
            request.headers_mut().insert(header::AUTHORIZATION, token);
        }
        let limit = self.timing.response;
        let (began, method) = (Instant::now(), request.method().clone());
        let response = timeout(limit, client.send(request)).await;
        if let Some((host, requests)) = &self.counted {
            let answer = response.as_ref().ok().and_then(|response| response.as_ref().ok());
            let code = answer.map(|answer| answer.status().as_u16());
            requests.count(method.as_str(), host, code, began.elapsed());
        }
        let response = response.map_err(|_| Failure::silent(limit))?;
        let (head, body) = response.map_err(|error| Failure::client(&error))?.into_parts();
        let stream = body.into_data_stream().map_ok(|bytes| bytes.to_vec());
        let answer = Answer { stream: stream.map_err(|error| Failure::client(&error)).boxed(), limit };
        if head.status.is_success() {
            return Ok(answer);
        }
        if head.status == http::StatusCode::UNAUTHORIZED {
            self.credentials.refused();
        }
        let asked = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let text = answer.text(LONGEST_REFUSAL).await.unwrap_or_default();
        Err(Failure::answer(head.status, &text, asked.map(Duration::from_secs)))
    }
}

/// What the server answers, as it arrives.
pub(super) struct Answer {
    stream: Parts,
    limit: Duration,
}

impl Answer {
    /// What came next; nothing at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let next = timeout(self.limit, self.stream.next()).await;
        next.map_err(|_| Failure::silent(self.limit))?.transpose()
    }

    /// All of a short answer; what is longer than so many bytes is not read.
    pub async fn text(mut self, longest: usize) -> Result<Vec<u8>, Failure> {
        let mut text = Vec::new();
        while let Some(bytes) = self.next().await? {
            text.extend(bytes);
            if text.len() > longest {
                break;
            }
        }
        Ok(text)
    }

    /// The lines of a watch.
    pub fn lines(self) -> Lines {
        Lines { stream: self.stream, buffer: Vec::new(), taken: 0 }
    }
}

/// The lines of an answer that does not end.
pub(super) struct Lines {
    stream: Parts,
    buffer: Vec<u8>,
    /// How much of the buffer was given out.
    taken: usize,
}

impl Lines {
    /// The next line, without its end; nothing after the last. Can be dropped while it waits, without loss.
    pub async fn next(&mut self) -> Result<Option<&[u8]>, Failure> {
        let mut searched = self.taken;
        loop {
            let rest = self.buffer.get(searched..).unwrap_or_default();
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.taken..searched + length;
                self.taken = line.end + 1;
                return Ok(self.buffer.get(line));
            }
            self.buffer.drain(..self.taken);
            self.taken = 0;
            searched = self.buffer.len();
            if searched == 0 && self.buffer.capacity() > LONGEST_REFUSAL {
                self.buffer = Vec::new();
            }
            if searched > LONGEST_OBJECT {
                return Err(Failure::malformed("a line is longer than 4 MiB"));
            }
            match self.stream.next().await.transpose()? {
                Some(bytes) => self.buffer.extend(bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    return Err(Failure::new(Why::Unreachable, "the connection broke within an event"));
                }
            }
        }
    }
}
