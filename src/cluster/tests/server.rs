//! An API server without a mind of its own: of each collection it gives one prepared reply after the other, and
//! notes what it was asked.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::Response,
};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use serde_json::Value;
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Instant, sleep},
};

/// One answer.
pub struct Reply {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    text: String,
    then: Then,
}

/// What comes after the text.
enum Then {
    End,
    Break,
    Wait,
    Feed(tokio::sync::mpsc::UnboundedReceiver<String>),
}

/// Goes on with an answer that is being read; when dropped, the answer ends.
pub struct Feed(UnboundedSender<String>);

impl Feed {
    pub fn send(&self, line: &Value) {
        self.send_text(&line.to_string());
    }

    /// Lines that arrive at once, if anybody still reads.
    pub fn send_text(&self, lines: &str) {
        let _ = self.0.send(format!("{lines}\n"));
    }
}

impl Reply {
    /// A document.
    pub fn json(document: &Value) -> Self {
        Self::text(document.to_string())
    }

    /// Anything.
    pub fn text(text: String) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), text, then: Then::End }
    }

    /// The lines of a watch, after which it ends.
    pub fn lines(lines: impl IntoIterator<Item = Value>) -> Self {
        let lines: Vec<String> = lines.into_iter().map(|line| line.to_string() + "\n").collect();
        Self::text(lines.concat())
    }

    /// A refusal.
    pub fn refuse(status: &Value) -> Self {
        let code = u16::try_from(status["code"].as_u64().unwrap()).unwrap();
        Self::json(status).with_status(code)
    }

    /// With another status than 200.
    pub fn with_status(mut self, code: u16) -> Self {
        self.status = StatusCode::from_u16(code).unwrap();
        self
    }

    /// With a header.
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The connection breaks instead of ending.
    pub fn and_break(mut self) -> Self {
        self.then = Then::Break;
        self
    }

    /// Nothing more comes, not even an end.
    pub fn and_wait(mut self) -> Self {
        self.then = Then::Wait;
        self
    }

    /// More comes when the test says so.
    pub fn and_feed(mut self) -> (Self, Feed) {
        let (sender, receiver) = unbounded_channel();
        self.then = Then::Feed(receiver);
        (self, Feed(sender))
    }

    fn into_response(self) -> Response {
        let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from(self.text))]);
        let body = match self.then {
            Then::End => Body::from_stream(first),
            Then::Break => Body::from_stream(first.chain(stream::iter([Err(std::io::Error::other("cut"))]))),
            Then::Wait => Body::from_stream(first.chain(stream::pending())),
            Then::Feed(receiver) => {
                let more = stream::unfold(receiver, async |mut receiver| {
                    Some((Ok(Bytes::from(receiver.recv().await?)), receiver))
                });
                Body::from_stream(first.chain(more))
            }
        };
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(body).unwrap()
    }
}

#[derive(Default)]
struct Book {
    replies: HashMap<String, VecDeque<Reply>>,
    requests: Vec<(Instant, String, String)>,
}

/// The server; clones are the same one.
#[derive(Clone)]
pub struct Server(Arc<Mutex<Book>>);

impl Server {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    pub fn client(&self) -> kube::Client {
        let router = Router::new().fallback(answer).with_state(self.clone());
        kube::Client::new(router, "default")
    }

    /// Prepares the next reply of a collection. When there are none left, requests get no answer.
    pub fn reply(&self, path: &str, reply: Reply) {
        self.0.lock().unwrap().replies.entry(path.to_owned()).or_default().push_back(reply);
    }

    /// What was asked so far: method, path and query, decoded; and the document.
    pub fn requests(&self) -> Vec<String> {
        let book = self.0.lock().unwrap();
        book.requests.iter().map(|(_, head, _)| head.clone()).collect()
    }

    /// The documents that were sent.
    pub fn documents(&self) -> Vec<Value> {
        let book = self.0.lock().unwrap();
        let sent = book.requests.iter().filter(|(_, _, document)| !document.is_empty());
        sent.map(|(_, _, document)| serde_json::from_str(document).unwrap()).collect()
    }

    /// The queries of a collection so far, but for `timeoutSeconds`, and when they came.
    pub fn queries(&self, path: &str) -> Vec<(Instant, String)> {
        let book = self.0.lock().unwrap();
        let of_path = book.requests.iter().filter_map(|(at, head, _)| {
            let (head, query) = head.split_once('?').unwrap_or((head, ""));
            let parameters = query.split('&').filter(|parameter| !parameter.starts_with("timeoutSeconds="));
            let query = parameters.collect::<Vec<_>>().join("&");
            (head == format!("GET {path}")).then_some((*at, query))
        });
        of_path.collect()
    }

    /// Waits for so many queries of a collection; gives the last of them.
    pub async fn query(&self, path: &str, number: usize) -> String {
        for _ in 0..10_000 {
            if let Some((_, query)) = self.queries(path).get(number - 1) {
                return query.clone();
            }
            sleep(Duration::from_millis(2)).await;
        }
        panic!("no query {number} of {path}: {:#?}", self.requests());
    }
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let head = format!("{} {}", request.method(), decode(&request.uri().to_string()));
    let path = request.uri().path().to_owned();
    let document = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let reply = {
        let mut book = server.0.lock().unwrap();
        let document = String::from_utf8(document.to_vec()).unwrap();
        book.requests.push((Instant::now(), head, document));
        book.replies.get_mut(&path).and_then(VecDeque::pop_front)
    };
    match reply {
        Some(reply) => reply.into_response(),
        None => std::future::pending().await,
    }
}

fn decode(text: &str) -> String {
    let mut decoded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        decoded.push(u8::from_str_radix(&after[..2], 16).unwrap().into());
        rest = &after[2..];
    }
    decoded + rest
}
