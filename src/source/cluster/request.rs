//! Requests to the API server, and their answers, part by part.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use form_urlencoded::Serializer;
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderValue, Request, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::timeout,
};

use super::{
    credentials::Credentials,
    error::{Reason, RequestError},
    gunzip::{Parts, gunzip},
    timing::Timing,
};
use crate::{api::protobuf, observe::metrics::ApiRequests};

/// The encoding of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// JSON; events are lines.
    Json,
    /// Kubernetes' protobuf; each event follows its length, which has four bytes.
    Protobuf,
}

/// How many bytes are read of the answer to a failed request or to a write. A watch frees a larger empty buffer.
const LONGEST_REFUSAL: usize = 64 << 10;

/// Longest object, in bytes, alone or as an event of a watch. The default limit of etcd is 1.5 MiB.
pub(super) const LONGEST_OBJECT: usize = 4 << 20;

/// Media types.
pub(super) const JSON: &str = "application/json";
const PROTOBUF_OR_JSON: &str = "application/vnd.kubernetes.protobuf,application/json";

/// The encoding in which an API server sends lists of more than 128 KiB to clients that accept it.
const GZIP: &str = "gzip";

/// The `User-Agent`, which the server's audit log shows.
const USER_AGENT: &str = concat!("portolan/v", env!("CARGO_PKG_VERSION"), " (linux)");

/// Appends parameters to a path.
///
/// kube's `Request` is not used because its `WatchParams` and `ListParams` do not allow a watch to last five minutes or
/// longer, always send a version with a watch, and drop `resourceVersion=0` if there is a limit.
pub(super) fn with_parameters(path: &str, parameters: &[(&str, &str)]) -> String {
    let start = path.len() + 1;
    Serializer::for_suffix(format!("{path}?"), start).extend_pairs(parameters).finish()
}

/// How long a request waits for another request to connect.
const TURN: Duration = Duration::from_secs(2);

/// Makes requests that begin together share one connection: while there is no connection, requests are sent one after
/// the other.
#[derive(Debug, Default)]
struct Turns {
    is_connected: AtomicBool,
    turn: Mutex<()>,
}

impl Turns {
    /// Waits until no other request is connecting, but not for long. Does not wait if there is a connection.
    async fn next(&self) -> Option<MutexGuard<'_, ()>> {
        if self.is_connected.load(Relaxed) {
            return None;
        }
        let turn = timeout(TURN, self.turn.lock()).await.ok();
        turn.filter(|_| !self.is_connected.load(Relaxed))
    }

    fn note(&self, is_connected: bool) {
        self.is_connected.store(is_connected, Relaxed);
    }
}

/// The API server, with credentials.
#[derive(Clone)]
pub(super) struct Connection {
    credentials: Arc<Credentials>,
    turns: Arc<Turns>,
    pub timing: Timing,
    /// Whether objects are read only as JSON.
    is_json: bool,
    /// The server's name and port, and the metric that counts requests.
    counted: Option<(Arc<str>, ApiRequests)>,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Value>,
}

impl Connection {
    pub fn new(credentials: Credentials, timing: Timing, is_json: bool) -> Self {
        Self { credentials: Arc::new(credentials), turns: Arc::default(), timing, is_json, counted: None }
    }

    /// Counts requests to this server.
    pub fn counting(self, url: &http::Uri, requests: ApiRequests) -> Self {
        let host = url.authority().map_or("", |authority| authority.as_str());
        Self { counted: Some((host.into(), requests)), ..self }
    }

    /// Requests a path, and returns the answer as soon as it begins.
    pub async fn get(&self, path: &str) -> Result<Answer, RequestError> {
        self.get_as(path, JSON).await
    }

    /// The objects of a collection with few objects.
    pub async fn items(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Vec<Value>, RequestError> {
        let text = self.get(&with_parameters(path, parameters)).await?.text(4 * LONGEST_OBJECT).await?;
        let list: List = serde_json::from_slice(&text).map_err(RequestError::malformed)?;
        Ok(list.items)
    }

    /// Requests a path in this representation (`Accept`), compressed if the server supports that.
    pub async fn get_as(&self, path: &str, representation: &'static str) -> Result<Answer, RequestError> {
        self.request(path, representation, GZIP).await
    }

    /// Requests a list, in protobuf if that is enabled and the server supports it.
    pub async fn list(&self, path: &str) -> Result<Answer, RequestError> {
        self.get_as(path, self.objects()).await
    }

    /// Requests a watch in the same representation, but not compressed: compression would hold back a part of an event
    /// until more events follow.
    pub async fn watch(&self, path: &str) -> Result<Lines, RequestError> {
        let Answer { stream, encoding, .. } = self.request(path, self.objects(), "identity").await?;
        Ok(Lines { stream, encoding, buffer: Vec::new(), taken: 0 })
    }

    /// The representation of objects.
    fn objects(&self) -> &'static str {
        if self.is_json { JSON } else { PROTOBUF_OR_JSON }
    }

    async fn request(
        &self,
        path: &str,
        representation: &'static str,
        encoding: &'static str,
    ) -> Result<Answer, RequestError> {
        let request = Request::get(path)
            .header(header::ACCEPT, representation)
            .header(header::ACCEPT_ENCODING, encoding);
        self.send(request.body(Body::empty())).await
    }

    /// Sends a document, and reads the whole answer.
    pub async fn write(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        document: &impl Serialize,
    ) -> Result<Vec<u8>, RequestError> {
        let document = serde_json::to_vec(document).map_err(RequestError::malformed)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, JSON)
            .header(header::CONTENT_TYPE, kind);
        let answer = self.send(request.body(Body::from(document))).await?;
        // The connection can be reused only after the whole answer was read.
        answer.text(LONGEST_REFUSAL).await
    }

    async fn send(&self, request: http::Result<Request<Body>>) -> Result<Answer, RequestError> {
        let mut request = request.map_err(|error| RequestError::transport(&error))?;
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let (client, token) = self.credentials.current();
        if let Some(token) = token {
            request.headers_mut().insert(header::AUTHORIZATION, token);
        }
        let limit = self.timing.response;
        let (began, method) = (Instant::now(), request.method().clone());
        let turn = self.turns.next().await;
        let response = timeout(limit, client.send(request)).await;
        self.turns.note(matches!(response, Ok(Ok(_))));
        drop(turn);
        if let Some((host, requests)) = &self.counted {
            let answer = response.as_ref().ok().and_then(|response| response.as_ref().ok());
            let code = answer.map(|answer| answer.status().as_u16());
            requests.count(method.as_str(), host, code, began.elapsed());
        }
        let response = response.map_err(|_| RequestError::silent(limit))?;
        let (head, body) = response.map_err(|error| RequestError::client(&error))?.into_parts();
        let stream = body.into_data_stream().map_ok(|bytes| bytes.to_vec());
        let turns = Arc::clone(&self.turns);
        let broken = move |error| {
            turns.note(false);
            RequestError::client(&error)
        };
        let is_protobuf = |kind: &HeaderValue| kind.as_bytes().starts_with(protobuf::MEDIA_TYPE.as_bytes());
        let is_protobuf = head.headers.get(header::CONTENT_TYPE).is_some_and(is_protobuf);
        let encoding = if is_protobuf { Encoding::Protobuf } else { Encoding::Json };
        let mut stream = stream.map_err(broken).boxed();
        if head.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == GZIP) {
            stream = gunzip(stream);
        }
        let answer = Answer { stream, limit, encoding };
        if head.status.is_success() {
            return Ok(answer);
        }
        if head.status == http::StatusCode::UNAUTHORIZED {
            self.credentials.refused();
        }
        let asked = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let text = answer.text(LONGEST_REFUSAL).await.unwrap_or_default();
        Err(RequestError::answer(head.status, &text, asked.map(Duration::from_secs)))
    }
}

/// An answer, as it arrives.
pub(super) struct Answer {
    stream: Parts,
    limit: Duration,
    pub encoding: Encoding,
}

impl Answer {
    /// The next part; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, RequestError> {
        let next = timeout(self.limit, self.stream.next()).await;
        next.map_err(|_| RequestError::silent(self.limit))?.transpose()
    }

    /// A short answer as a whole. Stops reading after more than `longest` bytes.
    pub async fn text(mut self, longest: usize) -> Result<Vec<u8>, RequestError> {
        let mut text = Vec::new();
        while let Some(bytes) = self.next().await? {
            text.extend(bytes);
            if text.len() > longest {
                break;
            }
        }
        Ok(text)
    }
}

/// The lines, or in protobuf the frames, of an answer that does not end.
pub(super) struct Lines {
    stream: Parts,
    pub encoding: Encoding,
    buffer: Vec<u8>,
    /// How much of the buffer has been returned.
    taken: usize,
}

impl Lines {
    /// The next line without its line break, or the next frame without its length; `None` after the last. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<&[u8]>, RequestError> {
        let mut searched = self.taken;
        loop {
            let found = match self.encoding {
                Encoding::Json => self.line(searched),
                Encoding::Protobuf => self.frame()?,
            };
            if let Some((part, end)) = found {
                self.taken = end;
                return Ok(self.buffer.get(part));
            }
            self.buffer.drain(..self.taken);
            self.taken = 0;
            searched = self.buffer.len();
            if searched == 0 && self.buffer.capacity() > LONGEST_REFUSAL {
                self.buffer = Vec::new();
            }
            if searched > LONGEST_OBJECT {
                return Err(RequestError::malformed("a line is longer than 4 MiB"));
            }
            match self.stream.next().await.transpose()? {
                Some(bytes) => self.buffer.extend(bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    return Err(RequestError::new(
                        Reason::Unreachable,
                        "the connection broke within an event",
                    ));
                }
            }
        }
    }

    /// Where the next line is, and where the line after it begins. The next line does not end before `searched`.
    fn line(&self, searched: usize) -> Option<(Range<usize>, usize)> {
        let length = self.buffer.get(searched..)?.iter().position(|byte| *byte == b'\n')?;
        Some((self.taken..searched + length, searched + length + 1))
    }

    /// Where the next frame is, and where the frame after it begins.
    fn frame(&self) -> Result<Option<(Range<usize>, usize)>, RequestError> {
        let Some((length, rest)) = self.buffer.get(self.taken..).and_then(|rest| rest.split_first_chunk())
        else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > LONGEST_OBJECT {
            return Err(RequestError::malformed("a frame is longer than 4 MiB"));
        }
        let begin = self.taken + 4;
        Ok((rest.len() >= length).then(|| (begin..begin + length, begin + length)))
    }
}
